"""Who a request comes from, and what that lets them do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Scope = Literal["read", "write", "admin"]
"""What a page needs: `read` lists and looks up, `write` generates, `admin` rules over the server."""


Priority = Literal["interactive", "batch"]
"""Batch work gets what interactive work leaves over."""


@dataclass(frozen=True, slots=True)
class Caller:
    """The holder of a key. The name is told in logs and metrics; the key itself is nowhere in here."""

    name: str
    scopes: frozenset[Scope]
    weight: int = 1
    """1 to 100: its share of the engine beside other callers."""
    priority: Priority = "interactive"


NOBODY = Caller("nobody", frozenset())
"""Who calls a page that needs no key, and who has not shown a right one."""

LOCAL = Caller("local", frozenset({"read", "write", "admin"}))
"""Who calls while the server has no key: somebody on this machine."""
