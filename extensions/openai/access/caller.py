"""The caller of a request, and its permissions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Scope = Literal["read", "write", "admin"]
"""What a key allows: `read` lists and retrieves, `write` generates, `admin` controls the server."""


Priority = Literal["interactive", "batch"]
"""Batch requests get the capacity that interactive ones leave."""


Limits = Mapping[str, int]
"""A caller's limits by the names of `settings.KEY_LIMITS`; 0 is no limit. The settings supply missing
ones."""


@dataclass(frozen=True, slots=True)
class Caller:
    """The holder of a key. The name appears in logs and metrics; the key itself is not in here."""

    name: str
    scopes: frozenset[Scope]
    weight: int = 1
    """1 to 100: its share of the engine relative to other callers."""
    priority: Priority = "interactive"
    limits: Limits = field(default_factory=dict)
    """For all its requests together."""
    user_limits: Limits = field(default_factory=dict)
    """For each `user` of its requests."""
    is_limited: bool = field(init=False)
    """Whether its requests must be counted for a limit."""

    def __post_init__(self) -> None:
        limited = any(self.limits.values()) or any(self.user_limits.values())
        object.__setattr__(self, "is_limited", limited)

    identity: str = ""
    """Of a named key: stays the same when the key is rotated; a later key of that name has another."""
    stores: bool = True
    """Whether its requests may store objects."""

    @property
    def owner(self) -> str:
        """The owner of the objects that it stores."""
        return owner_of(self.identity) if self.identity else self.name


USER_PREFIX = "user:"
"""Of the names and identities of a proxy's users; no named key has such a name."""


def owner_of(identity: str) -> str:
    """The owner of objects that named keys with this identity store, or that user of a proxy."""
    return f"key:{identity}"


ANONYMOUS = Caller("nobody", frozenset())
"""A client that has sent no valid key, or has called an endpoint that needs none."""

LOCAL = Caller("local", frozenset({"read", "write", "admin"}))
"""The caller on this machine while the server has no key."""

RESERVED = frozenset({"nobody", "local", "api-key", "admin", "password"})
"""Names of callers without a named key; named keys cannot have these names."""
