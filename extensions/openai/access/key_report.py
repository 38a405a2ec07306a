"""Formats named keys, as text and tables, for the operator's commands. Never contains a key."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, get_args

from ..settings import KEY_LIMITS
from .caller import Limits, Scope
from .key_files import Entry
from .signed_keys import Grant

SCOPES: tuple[Scope, ...] = get_args(Scope)
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows as aligned columns; columns of numbers are aligned right."""
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    numbers = [
        len(rows) > 1 and all(row[at].replace(",", "").isdecimal() for row in rows[1:])
        for at in range(len(rows[0]))
    ]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if is_number else cell.ljust(width)
            for cell, width, is_number in zip(row, widths, numbers, strict=True)
        ).rstrip()
        for row in rows
    )


def allowed(grant: Grant, *, with_end: bool = True) -> str:
    """What the key allows, as text."""
    parts = [", ".join(scope for scope in SCOPES if scope in grant.scopes)]
    parts += _limit_words(grant.limits, "")
    parts += _limit_words(grant.user_limits, " for each user")
    if grant.weight != 1:
        parts.append(f"weight {grant.weight}")
    if grant.priority == "batch":
        parts.append("batch")
    if not grant.stores:
        parts.append("stores nothing")
    if with_end:
        parts.append(f"until {day(grant.expires)}" if grant.expires else "does not expire")
    return "; ".join(parts)


def _limit_words(limits: Limits, suffix: str) -> list[str]:
    return [
        f"{limits[name] or 'any number of'} {limit.words}{suffix}"
        for name, limit in KEY_LIMITS.items()
        if name in limits
    ]


def described(entry: Entry, now: float, last_used: int | None) -> dict[str, Any]:
    """The entry as JSON."""
    grant = entry.grant
    return {
        "name": grant.name,
        "id": grant.id,
        "state": state_of(entry, now),
        "scopes": [scope for scope in SCOPES if scope in grant.scopes],
        "created_at": entry.created,
        "expires_at": grant.expires,
        "ends_at": end_of(entry),
        "last_used_at": last_used,
        "limits": {name: grant.limits.get(name) for name in KEY_LIMITS},
        "user_limits": {name: grant.user_limits.get(name) for name in KEY_LIMITS},
        "weight": grant.weight,
        "priority": grant.priority,
        "stores": grant.stores,
    }


def state_of(entry: Entry, now: float) -> str:
    """valid, replaced (by a newer one from a rotation), revoked or expired."""
    if entry.valid(now):
        return "valid" if entry.ends is None else "replaced"
    if entry.ends is not None and (entry.grant.expires is None or now < entry.grant.expires):
        return "revoked"
    return "expired"


def end_of(entry: Entry) -> int | None:
    """When it ends or ended, in Unix seconds; None: never, or it was revoked."""
    ends = [end for end in (entry.ends, entry.grant.expires) if end]
    return min(ends, default=None)


def day(seconds: float | None) -> str:
    """A time for people to read."""
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds)) if seconds else "-"


def duration(seconds: int) -> str:
    """Seconds in the largest whole unit: `90d`."""
    for unit, size in reversed(UNITS.items()):
        if seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
