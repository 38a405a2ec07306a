"""How each kind of limit is counted: what one request takes of one limit of one account.

Requests are counted in a window that moves: never more than so many in any 60 seconds. Other units are
counted in periods that begin with the first one that is taken; what a request may need is taken when it
comes, and set right when it has ended. A month is one of the calendar, in UTC.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import NamedTuple

from ..access.caller import Limits
from ..configuration.key_limits import DAY_S, KeyLimit
from ..errors import QuotaExceeded, RateLimited, UnitsLimited
from .storage import CountStorage
from .units import UNITS

MONTH_COUNT_TTL_S = 5 * DAY_S  # that a month's count outlives it
STORED_AS: Mapping[str, str] = {"rpm": "requests", "tpm": "tokens", "monthly_tokens": "month"}
"""Limits that the storage has under another name: servers of several versions may share one."""
SHORT_PERIODS = {"minute": "min"}

Spent = Callable[[str, "str | None", float], int]
"""Tokens that a caller (of its user, if one is named) has used since a time in Unix seconds."""


@dataclass(frozen=True, slots=True)
class Account:
    """Whose requests are counted together."""

    name: str
    user: str | None
    limits: Limits

    @property
    def key(self) -> str:
        """Its part of the storage's keys; two accounts never have the same."""
        return self.name if self.user is None else f"{self.name}:{self.user}"

    @property
    def description(self) -> str:
        return f"the key {self.name}" if self.user is None else f"this user of the key {self.name}"


class Level(NamedTuple):
    """Where a count stands, as headers report it."""

    limit: int
    remaining: int
    resets: float
    """Unix seconds at which all of it is free again."""


class Count:
    """What one request takes of one limit. Used by one thread at a time."""

    level: Level | None = None
    """For the headers; None where they do not report it."""

    def __init__(
        self, name: str, limit: KeyLimit, account: Account, storage: CountStorage, spent: Spent
    ) -> None:
        self.limit = limit
        self._name = name
        self._account = account
        self._most = account.limits[name]
        self._storage = storage
        self._spent = spent
        self._key = f"{STORED_AS.get(name, name)}/{account.key}"

    def take(self, amount: int) -> None:
        """Raises RateLimited where it is too much, and StorageError."""
        raise NotImplementedError

    def settle(self, used: int) -> None:
        """Let what was used take the place of what was taken. Raises StorageError."""

    def release(self) -> None:
        """The request is not under way any more; may be called again."""

    @property
    def _description(self) -> str:
        period = SHORT_PERIODS.get(self.limit.period, self.limit.period)
        limit = f"{self.limit.unit} per {period} ({self._name.upper()})"
        return f"for {self._account.description} on {limit}"


class AtOnce(Count):
    """Requests under way at the same time."""

    _is_held = False

    def take(self, amount: int) -> None:
        if not self._storage.begin(self._key, self._most):
            raise RateLimited(
                f"Rate limit reached for {self._account.description} on concurrent requests: "
                f"Limit {self._most}. Please try again when one of them has ended.",
                retry_after=1.0,
            )
        self._is_held = True

    def release(self) -> None:
        if self._is_held:
            self._is_held = False
            self._storage.end(self._key)


class MovingWindow(Count):
    """Requests in any period of so many seconds."""

    def take(self, amount: int) -> None:
        most, seconds = self._most, self.limit.seconds
        entered = self._storage.enter(self._key, most, seconds)
        if entered.admitted:
            self.level = Level(most, max(0, most - entered.entries), entered.newest + seconds)
            return
        # It has to wait for the oldest one to leave the window, not for all.
        now = time.time()
        wait = entered.oldest + seconds - now
        self.level = Level(most, 0, max(entered.oldest, min(entered.newest, now)) + seconds)
        raise RateLimited(
            f"Rate limit reached {self._description}: Limit {most}, Used {most}, Requested 1. "
            f"Please try again in {duration(wait)}.",
            retry_after=wait,
        )


class FixedWindow(Count):
    """Units in a period that begins with the first of them."""

    _taken = 0
    _resets = 0.0

    def take(self, amount: int) -> None:
        most, seconds = self._most, self.limit.seconds
        added = self._storage.add(self._key, most, seconds, amount)
        self.level = Level(most, most - added.used, added.resets)
        if added.admitted:
            self._taken, self._resets = amount, added.resets
            return
        unit, asked = self.limit.unit, f"Limit {most}, Used {added.used}, Requested {amount}."
        if amount > most:
            raise UnitsLimited(
                f"Request too large {self._description}: {asked} {UNITS[unit].advice}", unit=unit
            )
        wait = added.resets - time.time()
        raise UnitsLimited(
            f"Rate limit reached {self._description}: {asked} "
            f"Please try again in {duration(wait)}.",
            unit=unit,
            retry_after=wait,
        )

    def settle(self, used: int) -> None:
        if used == self._taken:
            return
        most, seconds = self._most, self.limit.seconds
        added = self._storage.adjust(self._key, seconds, self._resets, used - self._taken)
        self._taken, self._resets = used, added.resets
        self.level = Level(most, most - added.used, added.resets)


class CalendarMonth(Count):
    """Tokens in a month; it begins with what was used before the server was started."""

    _taken = 0
    _ends = 0.0
    _seconds = 0

    def take(self, amount: int) -> None:
        """Raises UsageUnreadable, too."""
        account, now = self._account, time.time()
        begins, self._ends = _month(now)
        self._key = f"{self._key}/{begins:.0f}"
        self._seconds = int(self._ends - now + MONTH_COUNT_TTL_S)
        self._storage.start_with(
            self._key, self._seconds, lambda: self._spent(account.name, account.user, begins)
        )
        added = self._storage.add(self._key, self._most, self._seconds, amount)
        if added.admitted:
            self._taken = amount
            return
        day = time.strftime("%Y-%m-%d", time.gmtime(self._ends))
        raise QuotaExceeded(
            f"You exceeded the current quota of {account.description}: {self._most} "
            f"{self.limit.words}, of which {added.used} are used and this request may need {amount}. "
            f"The next month begins on {day} (UTC)."
        )

    def settle(self, used: int) -> None:
        if used != self._taken:
            self._storage.adjust(self._key, self._seconds, self._ends, used - self._taken)
            self._taken = used


def kind_of(limit: KeyLimit) -> type[Count]:
    """How a limit is counted."""
    if limit.period == "at once":
        return AtOnce
    if limit.period == "month":
        return CalendarMonth
    return MovingWindow if limit.unit == "requests" else FixedWindow


def duration(seconds: float) -> str:
    """As OpenAI's headers have it: `850ms`, `1s`, `6m0s`, `1h0m0s`."""
    milliseconds = max(0, math.ceil(seconds * 1000))
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, 60_000)
    text = f"{rest / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes}m{text}"
    return f"{minutes}m{text}" if minutes else text


def _month(now: float) -> tuple[float, float]:
    """Where the calendar month (UTC) begins and ends."""
    first = datetime.fromtimestamp(now, timezone.utc).replace(
        day=1, hour=0, minute=0, second=0, microsecond=0
    )
    year, month = divmod(first.year * 12 + first.month, 12)
    return first.timestamp(), first.replace(year=year, month=month + 1).timestamp()
