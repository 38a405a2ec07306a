"""How much a caller, and each user of a caller, may ask for: requests, tokens, at once, and in a month.

Requests are counted in a moving window: never more than so many in any 60 seconds. Tokens are counted in
minutes that begin with the first token asked for; what a request may need is taken when it comes, and set
right to the token when it has ended. A month is one of the calendar, in UTC. The counts lie in memory, or in
Redis where several servers share them (the library `limits`); how many run at once is counted by each server
for itself.
"""

from __future__ import annotations

import hashlib
import logging
import math
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.util import find_spec
from typing import Literal, Protocol, cast

from limits.errors import StorageError
from limits.storage import storage_from_string

from ..access.caller import Limits
from ..errors import LimitsUnavailable, QuotaExceeded, RateLimited, TokensLimited, UsageUnreadable
from ..observability.record import RequestRecord
from ..settings import Settings, SettingsError

log = logging.getLogger("openedai")

MINUTE_S = 60
DAY_S = 86400
MONTH_COUNT_TTL_S = 5 * DAY_S  # that a month's count outlives it
MEMORY_URL = "memory://"
STORAGE_TIMEOUT_S = 2.0  # for an answer of Redis
LOG_INTERVAL_S = 60.0  # between two log lines about it
MAX_CLOCK_SKEW_S = 1.0
MAX_USER_CHARACTERS = 64
MAX_REMEMBERED_ACCOUNTS = 4096  # callers and users of whom it is known when they asked last


class Storage(Protocol):
    """The part of `limits.storage.MemoryStorage` and `RedisStorage` that is used here."""

    def clear(self, key: str) -> None: ...
    def incr(self, key: str, expiry: int, amount: int = 1) -> int: ...
    def get(self, key: str) -> int: ...
    def get_expiry(self, key: str) -> float: ...
    def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool: ...
    def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]: ...


Kind = Literal["requests", "tokens"]
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


@dataclass(frozen=True, slots=True)
class Level:
    """Where a count stands, as headers report it."""

    limit: int
    remaining: int
    resets: float
    """Unix seconds at which all of it is free again."""


@dataclass(slots=True)
class _Taken:
    """Tokens that a request has taken from one count."""

    key: str
    limit: int
    window: int
    tokens: int
    resets: float
    minute: bool


class Limiter:
    """All counts of one server. Thread-safe."""

    def __init__(
        self,
        settings: Settings,
        spent: Spent = lambda name, user, since: 0,
        *,
        remembered: int = MAX_REMEMBERED_ACCOUNTS,
    ) -> None:
        """Raises SettingsError where the storage is none that there is."""
        url = (
            MEMORY_URL
            if settings.limits_storage is None
            else settings.limits_storage.get_secret_value()
        )
        self._shared = url != MEMORY_URL
        self._storage = _storage(url)
        self._spent = spent
        # Redis counts in one step each; the library's memory does not quite.
        self._lock: AbstractContextManager[object] = (
            nullcontext() if self._shared else threading.Lock()
        )
        self._running: Counter[str] = Counter()
        self._running_lock = threading.Lock()
        self._asked: dict[str, float] = {}
        self._remembered = remembered
        self._logged_at = -LOG_INTERVAL_S

    def admission(self, record: RequestRecord) -> Admission:
        """For one request of a caller who is known."""
        return Admission(self, record)

    def acquire_concurrency(self, account: Account) -> None:
        """One more runs. Raises RateLimited."""
        most = account.limits.concurrent
        if not most:
            return
        with self._running_lock:
            if self._running[account.key] >= most:
                raise RateLimited(
                    f"Rate limit reached for {account.description} on concurrent requests: Limit {most}. "
                    "Please try again when one of them has ended.",
                    retry_after=1.0,
                )
            self._running[account.key] += 1

    def release_concurrency(self, account: Account) -> None:
        """One of those that run has ended."""
        if account.limits.concurrent:
            with self._running_lock:
                self._running[account.key] -= 1
                if not self._running[account.key]:
                    del self._running[account.key]

    def ask(self, account: Account) -> tuple[bool, Level] | None:
        """Count a request; whether it may be, and where the count stands then. None without a limit."""
        most = account.limits.rpm
        if not most:
            return None
        key = f"requests/{account.key}"
        with self._lock:
            now = time.time()
            taken = self._storage.acquire_entry(key, most, MINUTE_S)
            oldest, count = self._storage.get_moving_window(key, most, MINUTE_S)
            if not taken and oldest > now + MAX_CLOCK_SKEW_S:  # the clock was set back
                self._storage.clear(key)
                taken, count = self._storage.acquire_entry(key, most, MINUTE_S), 1
            if taken:
                if len(self._asked) >= self._remembered:
                    self._asked = {k: at for k, at in self._asked.items() if at > now - MINUTE_S}
                self._asked[key] = now
        newest = self._asked.get(key, now)
        if taken:
            return True, Level(most, max(0, most - count), newest + MINUTE_S)
        # A request that is refused has to wait for the oldest one to leave the window, not for all.
        return False, Level(most, 0, max(oldest, min(newest, now)) + MINUTE_S)

    def free_at(self, account: Account) -> float:
        """When the oldest request leaves the window (Unix seconds)."""
        key = f"requests/{account.key}"
        with self._lock:
            return (
                self._storage.get_moving_window(key, account.limits.rpm or 1, MINUTE_S)[0]
                + MINUTE_S
            )

    def take(self, key: str, limit: int, window: int, tokens: int) -> tuple[bool, int, float]:
        """Take tokens of a count, all or none; whether it was so, what is used, and when it ends."""
        with self._lock:
            if (
                self._storage.get_expiry(key) > time.time() + window + MAX_CLOCK_SKEW_S
            ):  # the clock was set back
                self._storage.clear(key)
            used = self._storage.incr(key, window, tokens) if tokens else self._storage.get(key)
            resets = self._storage.get_expiry(key)
            if used <= limit or not tokens:
                return True, used, resets
            self._storage.incr(key, window, -tokens)
            return False, used - tokens, resets

    def adjust(self, taken: _Taken, tokens: int) -> int:
        """Add tokens to what was taken, or give some back where the window still lasts; what is used."""
        margin = (
            STORAGE_TIMEOUT_S if self._shared else 0.05
        )  # Redis reports the end of a window in whole seconds
        with self._lock:
            if tokens < 0 and time.time() > taken.resets - margin:
                return 0
            used = self._storage.incr(taken.key, taken.window, tokens)
            if tokens > 0:
                taken.resets = self._storage.get_expiry(taken.key)
            return used

    def begin_month(self, account: Account, key: str, window: int, since: float) -> None:
        """Start a month's count with what was used before the server was started.

        Raises UsageUnreadable."""
        with self._lock:
            if self._storage.get(f"{key}/begun") or self._storage.incr(f"{key}/begun", window) > 1:
                return
            try:
                spent = self._spent(account.name, account.user, since)
            except UsageUnreadable:
                self._storage.clear(
                    f"{key}/begun"
                )  # no key gets a new month because of a full disk
                raise
            if spent:
                self._storage.incr(key, window, spent)

    def failed(self, error: StorageError) -> None:
        """Say, not too often, that the storage does not answer."""
        now = time.monotonic()
        if now - self._logged_at >= LOG_INTERVAL_S:
            self._logged_at = now
            # The error itself may hold the storage's address, and in it a password.
            log.error("limits cannot be counted: %s", type(error.storage_error).__name__)


class Admission:
    """What one request has taken. `close` gives back what it must, however the request ended."""

    def __init__(self, limiter: Limiter, record: RequestRecord) -> None:
        self._limiter = limiter
        self._record = record
        self._counted: list[Account] = []
        self._taken: list[_Taken] = []
        self._levels: dict[tuple[Kind, str], Level] = {}
        self._lock = threading.Lock()

    @property
    def needs_user(self) -> bool:
        """Whether the body has to be read first, as each user has limits of its own."""
        return bool(self._record.caller.user_limits)

    def count_request(self, user: str | None) -> None:
        """The key is right: count the request, of its user first, so that a user who asks too often takes
        nothing away from the others. Raises RateLimited, LimitsUnavailable."""
        caller = self._record.caller
        if user and caller.user_limits:
            self._count(Account(caller.name, short_user(user), caller.user_limits))
        self._count(Account(caller.name, None, caller.limits))

    def take(self, tokens: int) -> None:
        """Take what tokens the request may need. Raises RateLimited, QuotaExceeded,
        LimitsUnavailable, UsageUnreadable."""
        for account in self._counted:
            try:
                self._month(account, tokens)
                self._minute(account, tokens)
            except StorageError as error:
                raise self._unavailable(error) from None

    def settle(self) -> None:
        """Count exactly what was used so far; may be called again when it is more."""
        used = self._record.prompt_tokens + self._record.completion_tokens
        with self._lock:
            for taken in self._taken:
                more = used - taken.tokens
                if not more:
                    continue
                try:
                    count = self._limiter.adjust(taken, more)
                except StorageError as error:
                    self._limiter.failed(error)
                    return
                taken.tokens = used
                if taken.minute:
                    level = Level(taken.limit, taken.limit - count, taken.resets)
                    self._levels["tokens", taken.key] = level

    def close(self) -> None:
        """The request has ended."""
        self.settle()
        self.release_concurrency()

    def release_concurrency(self) -> None:
        """It is not under way any more, so another one may be. Asks no storage; may be called again."""
        with self._lock:
            counted, self._counted = self._counted, []
        for account in counted:
            self._limiter.release_concurrency(account)

    @property
    def headers(self) -> dict[str, str]:
        """`x-ratelimit-*` as OpenAI's, of what is limited."""
        headers, now = {}, time.time()
        # Of a key and its user, those of the one that has less left.
        levels = sorted(self._levels.items(), key=lambda each: -each[1].remaining)
        for (kind, _), level in levels:
            headers[f"x-ratelimit-limit-{kind}"] = str(level.limit)
            headers[f"x-ratelimit-remaining-{kind}"] = str(
                min(level.limit, max(0, level.remaining))
            )
            headers[f"x-ratelimit-reset-{kind}"] = duration(level.resets - now)
        return headers

    def _count(self, account: Account) -> None:
        self._limiter.acquire_concurrency(account)
        self._counted.append(account)
        try:
            counted = self._limiter.ask(account)
        except StorageError as error:
            raise self._unavailable(error) from None
        if counted is None:
            return
        admitted, level = counted
        self._levels["requests", account.key] = level
        if not admitted:
            wait = self._limiter.free_at(account) - time.time()
            raise RateLimited(
                f"Rate limit reached for {account.description} on requests per min (RPM): "
                f"Limit {level.limit}, Used {level.limit}, Requested 1. "
                f"Please try again in {duration(wait)}.",
                retry_after=wait,
            )

    def _minute(self, account: Account, tokens: int) -> None:
        limit = account.limits.tpm
        if not limit:
            return
        key = f"tokens/{account.key}"
        taken, used, resets = self._limiter.take(key, limit, MINUTE_S, tokens)
        self._levels["tokens", key] = Level(limit, limit - used, resets)
        if taken:
            self._taken.append(_Taken(key, limit, MINUTE_S, tokens, resets, minute=True))
            return
        wait = resets - time.time()
        asked = f"Limit {limit}, Used {used}, Requested {tokens}."
        if tokens > limit:
            raise TokensLimited(
                f"Request too large for {account.description} on tokens per min (TPM): {asked} "
                "The prompt or `max_tokens` must be smaller."
            )
        raise TokensLimited(
            f"Rate limit reached for {account.description} on tokens per min (TPM): {asked} "
            f"Please try again in {duration(wait)}.",
            retry_after=wait,
        )

    def _month(self, account: Account, tokens: int) -> None:
        limit = account.limits.monthly_tokens
        if not limit:
            return
        begins, ends = _month(time.time())
        key = f"month/{account.key}/{begins:.0f}"
        window = int(ends - time.time() + MONTH_COUNT_TTL_S)
        self._limiter.begin_month(account, key, window, begins)
        taken, used, _ = self._limiter.take(key, limit, window, tokens)
        if not taken:
            day = time.strftime("%Y-%m-%d", time.gmtime(ends))
            raise QuotaExceeded(
                f"You exceeded the current quota of {account.description}: {limit} tokens a month, of which "
                f"{used} are used and this request may need {tokens}. The next month begins on {day} (UTC)."
            )
        self._taken.append(_Taken(key, limit, window, tokens, ends, minute=False))

    def _unavailable(self, error: StorageError) -> LimitsUnavailable:
        self._limiter.failed(error)
        return LimitsUnavailable("The server cannot count requests now. Please try again shortly.")


def duration(seconds: float) -> str:
    """As OpenAI's headers have it: `850ms`, `1s`, `6m0s`, `1h0m0s`."""
    milliseconds = max(0, math.ceil(seconds * 1000))
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, MINUTE_S * 1000)
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


def short_user(user: str) -> str:
    """A user's name of bounded length; different users stay different."""
    if len(user) <= MAX_USER_CHARACTERS:
        return user
    digest = hashlib.sha256(user.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{user[: MAX_USER_CHARACTERS - 17]}~{digest[:16]}"


def _storage(url: str) -> Storage:
    if url == MEMORY_URL:
        return cast(Storage, storage_from_string(url))
    if url.partition("://")[0] not in ("redis", "rediss", "redis+unix"):
        raise SettingsError(
            "setting limits_storage: must begin with redis://, rediss:// or redis+unix://"
        )
    if find_spec("redis") is None:
        raise SettingsError("setting limits_storage: needs the package redis: pip install redis")
    options = {"socket_timeout": STORAGE_TIMEOUT_S, "socket_connect_timeout": STORAGE_TIMEOUT_S}
    try:
        return cast(Storage, storage_from_string(url, wrap_exceptions=True, **options))
    except (ValueError, TypeError):
        raise SettingsError("setting limits_storage: this address is malformed") from None
