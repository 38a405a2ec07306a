"""Signatures of thoughts."""

from __future__ import annotations

import zlib
from base64 import b64decode, b64encode

import pytest

from extensions.openai.dialects.messages.signatures import ThoughtSigner
from extensions.openai.state.keyring import Keyring

KEYS = Keyring([b"k" * 32])
SIGNER = ThoughtSigner(KEYS, "local")
THOUGHT = "Two and two: 四 🙂\n"


def test_a_thought_that_comes_back_as_it_was_sent_is_known() -> None:
    assert SIGNER.thought(THOUGHT, SIGNER.sign(THOUGHT)) == THOUGHT


def test_a_thought_that_was_not_shown_comes_back_out_of_its_signature() -> None:
    signature = SIGNER.carry(THOUGHT * 100)
    assert SIGNER.thought("", signature) == THOUGHT * 100
    assert len(signature) < len(THOUGHT * 100)


@pytest.mark.parametrize("text", ["", THOUGHT + "!", THOUGHT[:-1]])
def test_another_thought_is_not(text: str) -> None:
    assert SIGNER.thought(text, SIGNER.sign(THOUGHT)) is None


@pytest.mark.parametrize("form", ["sign", "carry"])
def test_a_signature_is_that_of_one_key_and_one_owner(form: str) -> None:
    for other in (ThoughtSigner(Keyring([b"o" * 32]), "local"), ThoughtSigner(KEYS, "bob")):
        assert SIGNER.thought(THOUGHT, getattr(other, form)(THOUGHT)) is None


def test_a_thought_cannot_be_read_from_its_signature() -> None:
    assert zlib.compress(THOUGHT.encode()) not in b64decode(SIGNER.carry(THOUGHT))


@pytest.mark.parametrize("at", [0, 1, 20, 33, 40])
def test_no_byte_of_a_signature_can_be_changed(at: int) -> None:
    data = bytearray(b64decode(SIGNER.carry(THOUGHT)))
    data[at] ^= 1
    assert SIGNER.thought("", b64encode(data).decode()) is None


@pytest.mark.parametrize("signature", ["", "AA==", "no base64!", "é", "A" * 10_000])
def test_what_is_no_signature_is_none(signature: str) -> None:
    assert SIGNER.thought("", signature) is None
