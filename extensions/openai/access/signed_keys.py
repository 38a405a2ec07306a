"""Named keys: `sk-NAME-` and the key's grant, signed, so that no lookup is needed.

The text is `sk-NAME-PAYLOAD.SIGNATURE`. PAYLOAD is JSON in base32, which has no hyphen, so that a name may
have some. SIGNATURE is an HMAC-SHA256 (itsdangerous) of everything before it. The key's holder can read the
grant but not change it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Annotated, Any

import orjson
from itsdangerous import Signer
from pydantic import BeforeValidator

from ..settings import KEY_LIMITS
from .caller import Limits, Priority, Scope

NAME = r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,38}[A-Za-z0-9])?"
LETTERS: dict[Scope, str] = {"read": "r", "write": "w", "admin": "a"}
SALT = b"openedai named key 1"


def _given(limits: Any) -> Any:
    """Without those that say nothing, which older lists of keys have."""
    if not isinstance(limits, dict):
        return limits
    return {name: most for name, most in limits.items() if most is not None}


ListedLimits = Annotated[Limits, BeforeValidator(_given)]


@dataclass(frozen=True, slots=True)
class Grant:
    """What one key allows."""

    id: str
    """Distinguishes keys with the same name, for revocation."""
    name: str
    scopes: frozenset[Scope]
    expires: int | None = None
    """Unix seconds."""
    limits: ListedLimits = field(default_factory=dict)
    user_limits: ListedLimits = field(default_factory=dict)
    weight: int = 1
    priority: Priority = "interactive"
    stores: bool = True
    """Whether anything may be stored that it asks to store."""
    first_id: str = ""
    """The id of the first key in a chain of rotations; empty: this is the first."""

    @property
    def identity(self) -> str:
        """The same for all keys in a chain of rotations."""
        return self.first_id or self.id


def new_id() -> str:
    return base64.b32encode(secrets.token_bytes(5)).decode().lower()


def sign(grant: Grant, secret: bytes) -> str:
    """The text of the key."""
    payload: dict[str, Any] = {
        "i": grant.id,
        "s": "".join(LETTERS[scope] for scope in LETTERS if scope in grant.scopes),
        "x": grant.expires,
        "l": _short(grant.limits),
        "u": _short(grant.user_limits),
        "w": grant.weight if grant.weight != 1 else None,
        "b": 1 if grant.priority == "batch" else None,
        "n": None if grant.stores else 1,
        "o": grant.first_id,
    }
    packed = orjson.dumps({name: value for name, value in payload.items() if value})
    text = base64.b32encode(packed).decode().lower().rstrip("=")
    return _signer(secret).sign(f"sk-{grant.name}-{text}").decode()


def verify(key: bytes, secret: bytes) -> Grant | None:
    """The key's grant; None if it was not signed with this secret.

    The same work is done for any input: the time does not reveal how close a wrong key is.
    """
    value = key.rpartition(b".")[0]
    if not hmac.compare_digest(_signer(secret).sign(value), key):
        return None
    start, _, text = value.decode().rpartition("-")
    try:
        payload = orjson.loads(base64.b32decode(text.upper() + "=" * (-len(text) % 8)))
        limits, user_limits = (_named(payload.get(letter, ())) for letter in "lu")
    except (binascii.Error, ValueError):
        return None  # signed with the same secret, but not a named key, or one of a later version
    return Grant(
        payload["i"],
        start.removeprefix("sk-"),
        frozenset(scope for scope, letter in LETTERS.items() if letter in payload["s"]),
        payload.get("x"),
        limits,
        user_limits,
        payload.get("w", 1),
        "batch" if payload.get("b") else "interactive",
        not payload.get("n"),
        payload.get("o", ""),
    )


def _short(limits: Limits) -> list[int | None]:
    """The values in the order of KEY_LIMITS, without those at the end that say nothing."""
    values = [limits.get(name) for name in KEY_LIMITS]
    while values and values[-1] is None:
        values.pop()
    return values


def _named(values: Sequence[int | None]) -> Limits:
    """What `_short` was given. Raises ValueError for more limits than there are here: a key must not be good
    for more than it says."""
    if len(values) > len(KEY_LIMITS):
        raise ValueError
    return {name: most for name, most in zip(KEY_LIMITS, values, strict=False) if most is not None}


@lru_cache(4)
def _signer(secret: bytes) -> Signer:
    return Signer(secret, salt=SALT, key_derivation="hmac", digest_method=hashlib.sha256)
