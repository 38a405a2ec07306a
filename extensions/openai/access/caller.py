"""Who a request comes from, and what that lets them do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Scope = Literal["read", "write", "admin"]
"""What a key allows: `read` lists and retrieves, `write` generates, `admin` controls the server."""


Priority = Literal["interactive", "batch"]
"""Batch work gets what interactive work leaves over."""


Limits = Mapping[str, int]
"""How much a caller may ask for, by the names of `settings.KEY_LIMITS`; 0 is no limit. Where a key says
nothing, the settings do."""


@dataclass(frozen=True, slots=True)
class Caller:
    """The holder of a key. The name stands in logs and metrics; the key itself is nowhere in here."""

    name: str
    scopes: frozenset[Scope]
    weight: int = 1
    """1 to 100: its share of the engine beside other callers."""
    priority: Priority = "interactive"
    limits: Limits = field(default_factory=dict)
    """Of all its requests together."""
    user_limits: Limits = field(default_factory=dict)
    """Of each `user` that its requests name."""
    is_limited: bool = field(init=False)
    """Whether there is any limit to count its requests for."""

    def __post_init__(self) -> None:
        limited = any(self.limits.values()) or any(self.user_limits.values())
        object.__setattr__(self, "is_limited", limited)

    identity: str = ""
    """Of a named key: what stays when the key is rotated, and no later key of that name has."""
    stores: bool = True
    """Whether anything may be stored that it asks to store."""

    @property
    def owner(self) -> str:
        """Whose the objects are that it stores."""
        return owner_of(self.identity) if self.identity else self.name


def owner_of(identity: str) -> str:
    """Whose the objects are that named keys with this identity store."""
    return f"key:{identity}"


ANONYMOUS = Caller("nobody", frozenset())
"""A client that has sent no valid key, or has called an endpoint that needs none."""

LOCAL = Caller("local", frozenset({"read", "write", "admin"}))
"""The caller while the server has no key: on this machine."""

RESERVED = frozenset({"nobody", "local", "api-key", "admin", "password"})
"""Names of callers that have no named key, so no named key may bear one."""
