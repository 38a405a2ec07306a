"""What a named key contains, and that it cannot be forged."""

from __future__ import annotations

import base64
import hashlib
import re

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from itsdangerous import Signer

from extensions.openai.access.signed_keys import NAME, Grant, new_id, sign, verify
from extensions.openai.settings import KEY_LIMITS

SECRET, OTHER = b"a secret of the server", b"a secret of another one"
GRANT = Grant(
    "k3v9d2xq", "alice", frozenset({"read", "write"}), 1_900_000_000, {"rpm": 60, "tpm": 40_000}
)

limits = st.dictionaries(st.sampled_from(list(KEY_LIMITS)), st.integers(0, 10**12))
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


SIGNER = Signer(
    SECRET, salt=b"openedai named key 1", key_derivation="hmac", digest_method=hashlib.sha256
)


def signed(**payload: object) -> bytes:
    """A key that was made by another version."""
    packed = orjson.dumps({"i": "k3v9d2xq", "s": "r", **payload})
    text = base64.b32encode(packed).decode().lower().rstrip("=")
    return SIGNER.sign(f"sk-alice-{text}")


def test_limits_of_a_key_have_their_places() -> None:
    """As keys have them that were made by versions before."""
    key = signed(l=[60, None, 2], u=[None, None, None, 9])
    grant = verify(key, SECRET)
    assert grant is not None
    assert grant.limits == {"rpm": 60, "concurrent": 2}
    assert grant.user_limits == {"monthly_tokens": 9}
    assert sign(grant, SECRET).encode() == key


def test_a_key_with_a_limit_that_is_not_known_is_none() -> None:
    assert verify(signed(l=[None] * len(KEY_LIMITS)), SECRET) is not None
    assert verify(signed(l=[*[None] * len(KEY_LIMITS), 1]), SECRET) is None


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
    output = orjson.loads(base64.b32decode(payload.upper() + "=" * (-len(payload) % 8)))
    more = base64.b32encode(orjson.dumps(output | {"s": "rwa"})).decode().lower().rstrip("=")
    assert verify(f"sk-alice-{more}.{signature}".encode(), SECRET) is None
    assert verify(f"{alice.rpartition('.')[0]}.{bob.rpartition('.')[2]}".encode(), SECRET) is None


@given(st.binary(max_size=300))
def test_nothing_else_is_a_key(data: bytes) -> None:
    assert verify(data, SECRET) is None


@pytest.mark.parametrize("value", [b"", b"sk-", b"sk-alice-!!!", b"sk-alice-mfrgg", b"nothing"])
def test_what_is_signed_but_no_key_is_none(value: bytes) -> None:
    assert verify(SIGNER.sign(value), SECRET) is None
