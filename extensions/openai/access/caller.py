"""Who a request comes from, and what that lets them do."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Literal

Scope = Literal["read", "write", "admin"]
"""What a key allows: `read` lists and retrieves, `write` generates, `admin` controls the server."""


Priority = Literal["interactive", "batch"]
"""Batch work gets what interactive work leaves over."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a caller may ask for; 0 is no limit. None is what the server's settings say."""

    rpm: int | None = None
    """Requests in any minute."""
    tpm: int | None = None
    """Tokens a minute, of prompts and of answers."""
    concurrent: int | None = None
    """Requests under way at the same time."""
    monthly_tokens: int | None = None
    """Tokens in a calendar month (UTC)."""

    def over(self, other: Limits) -> Limits:
        """These, and the other's where these say nothing."""
        return Limits(
            *(
                theirs if (mine := getattr(self, field.name)) is None else mine
                for field in fields(self)
                for theirs in [getattr(other, field.name)]
            )
        )

    def __bool__(self) -> bool:
        """Whether there is any limit."""
        return bool(self.rpm or self.tpm or self.concurrent or self.monthly_tokens)


UNSPECIFIED = Limits()


@dataclass(frozen=True, slots=True)
class Caller:
    """The holder of a key. The name stands in logs and metrics; the key itself is nowhere in here."""

    name: str
    scopes: frozenset[Scope]
    weight: int = 1
    """1 to 100: its share of the engine beside other callers."""
    priority: Priority = "interactive"
    limits: Limits = UNSPECIFIED
    """Of all its requests together."""
    user_limits: Limits = UNSPECIFIED
    """Of each `user` that its requests name."""
    is_limited: bool = field(init=False)
    """Whether there is any limit to count its requests for."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "is_limited", bool(self.limits or self.user_limits))

    identity: str = ""
    """Of a named key: what stays when the key is rotated, and no later key of that name has."""
    stores: bool = True
    """Whether anything may be stored that it asks to store."""

    @property
    def owner(self) -> str:
        """Whose the objects are that it stores."""
        return f"key:{self.identity}" if self.identity else self.name


ANONYMOUS = Caller("nobody", frozenset())
"""A client that has sent no valid key, or has called an endpoint that needs none."""

LOCAL = Caller("local", frozenset({"read", "write", "admin"}))
"""The caller while the server has no key: on this machine."""

RESERVED = frozenset({"nobody", "local", "api-key", "admin", "password"})
"""Names of callers that have no named key, so no named key may bear one."""
