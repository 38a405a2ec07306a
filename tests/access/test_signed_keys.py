"""What a named key says, and that nobody else can say it."""

from __future__ import annotations

import base64
import re

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from itsdangerous import Signer

from extensions.openai.access.caller import Limits
from extensions.openai.access.signed_keys import NAME, Grant, new_id, sign, verify

SECRET, OTHER = b"a secret of the server", b"a secret of another one"
GRANT = Grant("k3v9d2xq", "alice", frozenset({"read", "write"}), 1_900_000_000, Limits(60, 40_000))

limits = st.builds(Limits, *[st.none() | st.integers(0, 10**12)] * 4)
grants = st.builds(
    Grant,
    st.builds(new_id),
    st.from_regex(NAME, fullmatch=True),
    st.sets(st.sampled_from(["read", "write", "admin"]), min_size=1).map(frozenset),
    st.none() | st.integers(1, 10**11),
    limits,
    limits,
    st.integers(1, 100),
    st.sampled_from(["interactive", "batch"]),
    st.booleans(),
)


@given(grants)
def test_what_was_signed_is_read(grant: Grant) -> None:
    key = sign(grant, SECRET)
    assert verify(key.encode(), SECRET) == grant
    assert key.startswith(f"sk-{grant.name}-")
    assert re.fullmatch(r"[A-Za-z0-9_.-]+", key)


def test_keys_are_short() -> None:
    assert len(sign(GRANT, SECRET)) < 160
    assert len(sign(Grant("k3v9d2xq", "bob", frozenset({"read"})), SECRET)) < 110


def test_every_single_changed_letter_is_found() -> None:
    key = sign(GRANT, SECRET)
    for at in range(len(key)):
        for other in "aZ9_-.=":
            if key[at] != other:
                assert verify((key[:at] + other + key[at + 1 :]).encode(), SECRET) is None
    # The last letter of the signature has bits to spare; they, too, are as they were signed.
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    right = [each for each in letters if verify((key[:-1] + each).encode(), SECRET)]
    assert right == [key[-1]]


def test_parts_of_a_key_and_more_than_a_key_are_none() -> None:
    key = sign(GRANT, SECRET)
    for at in range(len(key)):
        assert verify(key[:at].encode(), SECRET) is None
        assert verify(key[at + 1 :].encode(), SECRET) is None
    for text in (key + "=", key + " ", " " + key, key.upper(), key + "." + key.rpartition(".")[2]):
        assert verify(text.encode(), SECRET) is None


def test_another_secret_another_salt_and_no_signature() -> None:
    assert verify(sign(GRANT, OTHER).encode(), SECRET) is None
    value, _, _ = sign(GRANT, SECRET).rpartition(".")
    assert verify(value.encode(), SECRET) is None
    assert verify(value.encode() + b".", SECRET) is None
    assert verify(Signer(SECRET, salt=b"another").sign(value), SECRET) is None


def test_one_key_cannot_take_on_another_ones_name_or_rights() -> None:
    alice, bob = (sign(Grant(new_id(), name, GRANT.scopes), SECRET) for name in ("alice", "bob"))
    swapped = alice.replace("sk-alice-", "sk-bob-")
    assert verify(swapped.encode(), SECRET) is None
    payload, signature = alice.removeprefix("sk-alice-").split(".")
    said = orjson.loads(base64.b32decode(payload.upper() + "=" * (-len(payload) % 8)))
    more = base64.b32encode(orjson.dumps(said | {"s": "rwa"})).decode().lower().rstrip("=")
    assert verify(f"sk-alice-{more}.{signature}".encode(), SECRET) is None
    assert verify(f"{alice.rpartition('.')[0]}.{bob.rpartition('.')[2]}".encode(), SECRET) is None


@given(st.binary(max_size=300))
def test_nothing_else_is_a_key(data: bytes) -> None:
    assert verify(data, SECRET) is None


@pytest.mark.parametrize("value", [b"", b"sk-", b"sk-alice-!!!", b"sk-alice-mfrgg", b"nothing"])
def test_what_is_signed_but_no_key_is_none(value: bytes) -> None:
    from extensions.openai.access.signed_keys import _signer

    assert verify(_signer(SECRET).sign(value), SECRET) is None
