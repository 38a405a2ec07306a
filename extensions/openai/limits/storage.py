"""Storage of the counts: in memory, or in Redis, which several servers can share.

Each server counts its concurrent requests itself.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec
from typing import NamedTuple, Protocol, cast

from limits.errors import StorageError
from limits.storage import RedisStorage, storage_from_string

from ..errors import UsageUnreadable
from ..settings import Settings, SettingsError

log = logging.getLogger("openedai")

MEMORY_URL = "memory://"
STORAGE_TIMEOUT_S = 2.0  # timeout of Redis
MEMORY_MARGIN_S = 0.05
LOG_INTERVAL_S = 60.0  # between two log lines about an outage
MAX_CLOCK_SKEW_S = 1.0
MAX_REMEMBERED_ACCOUNTS = 4096  # callers and users whose last request is remembered


class Storage(Protocol):
    """The methods that are used of `limits.storage.MemoryStorage` and `RedisStorage`."""

    def clear(self, key: str) -> None: ...
    def incr(self, key: str, expiry: int, amount: int = 1) -> int: ...
    def get(self, key: str) -> int: ...
    def get_expiry(self, key: str) -> float: ...
    def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool: ...
    def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]: ...


class Entered(NamedTuple):
    """The result of an entry into a moving window."""

    admitted: bool
    entries: int
    oldest: float
    """The time of the oldest entry in the window (Unix seconds)."""
    newest: float


class Added(NamedTuple):
    """The result of an addition to a count."""

    admitted: bool
    used: int
    """The count, whether or not the addition was allowed."""
    resets: float
    """When the count ends (Unix seconds)."""


class CountStorage:
    """All counts of one server. Thread-safe; its methods raise StorageError if Redis does not answer."""

    def __init__(self, settings: Settings, *, remembered: int = MAX_REMEMBERED_ACCOUNTS) -> None:
        """Raises SettingsError for an unknown kind of storage."""
        secret = settings.limits_storage
        url = MEMORY_URL if secret is None else secret.get_secret_value()
        is_shared = url != MEMORY_URL
        self._storage = _opened(url)
        # Redis counts in one step each; the library's memory does not quite.
        self._lock: AbstractContextManager[object] = (
            nullcontext() if is_shared else threading.Lock()
        )
        # Redis reports the end of a window in whole seconds.
        self._margin_s = STORAGE_TIMEOUT_S if is_shared else MEMORY_MARGIN_S
        self._running: Counter[str] = Counter()
        self._running_lock = threading.Lock()
        self._newest: dict[str, tuple[float, float]] = {}
        self._remembered = remembered
        self._logged_at = -LOG_INTERVAL_S

    @property
    def running(self) -> dict[str, int]:
        """Concurrent requests by key, for keys with such a limit."""
        with self._running_lock:
            return dict(self._running)

    @property
    def remembered(self) -> int:
        """The number of accounts whose last request is remembered."""
        return len(self._newest)

    def begin(self, key: str, most: int) -> bool:
        """Add one concurrent request, if allowed."""
        with self._running_lock:
            if self._running[key] >= most:
                return False
            self._running[key] += 1
            return True

    def end(self, key: str) -> None:
        """Remove one concurrent request."""
        with self._running_lock:
            self._running[key] -= 1
            if not self._running[key]:
                del self._running[key]

    def enter(self, key: str, most: int, seconds: int) -> Entered:
        """Make an entry, if allowed: at most so many in any so many seconds."""
        with self._lock:
            now = time.time()
            admitted = self._storage.acquire_entry(key, most, seconds)
            oldest, count = self._storage.get_moving_window(key, most, seconds)
            if not admitted and oldest > now + MAX_CLOCK_SKEW_S:  # the clock was set back
                self._storage.clear(key)
                admitted, count = self._storage.acquire_entry(key, most, seconds), 1
            if admitted:
                if len(self._newest) >= self._remembered:
                    self._newest = {k: each for k, each in self._newest.items() if each[1] > now}
                self._newest[key] = now, now + seconds
            newest = self._newest.get(key, (now, now))[0]
        return Entered(admitted, count, oldest, newest)

    def add(self, key: str, most: int, seconds: int, amount: int) -> Added:
        """Add to a count that lasts so long from its first addition on: all of the amount, or nothing."""
        with self._lock:
            if self._storage.get_expiry(key) > time.time() + seconds + MAX_CLOCK_SKEW_S:
                self._storage.clear(key)  # the clock was set back
            used = self._storage.incr(key, seconds, amount) if amount else self._storage.get(key)
            resets = self._storage.get_expiry(key)
            if used <= most or not amount:
                return Added(True, used, resets)
            self._storage.incr(key, seconds, -amount)
            return Added(False, used - amount, resets)

    def adjust(self, key: str, seconds: int, resets: float, amount: int) -> Added:
        """Add to a count that ends at `resets`, also beyond its limit, or give back while it lasts."""
        with self._lock:
            if amount < 0 and time.time() > resets - self._margin_s:
                return Added(True, 0, resets)
            used = self._storage.incr(key, seconds, amount)
            return Added(True, used, self._storage.get_expiry(key) if amount > 0 else resets)

    def start_with(self, key: str, seconds: int, spent: Callable[[], int]) -> None:
        """Begin a count, once, with what was used before the server was started.

        Raises UsageUnreadable."""
        with self._lock:
            begun = f"{key}/begun"
            if self._storage.get(begun) or self._storage.incr(begun, seconds) > 1:
                return
            try:
                used = spent()
            except UsageUnreadable:
                self._storage.clear(begun)  # a full disk must not give a key a new month
                raise
            if used:
                self._storage.incr(key, seconds, used)

    def close(self) -> None:
        """The server has ended: let go of Redis."""
        if isinstance(self._storage, RedisStorage):
            self._storage.storage.close()

    def failed(self, error: StorageError) -> None:
        """Log that the storage does not answer, but not too often."""
        now = time.monotonic()
        if now - self._logged_at >= LOG_INTERVAL_S:
            self._logged_at = now
            # The error itself may hold the storage's address, and in it a password.
            log.error("limits cannot be counted: %s", type(error.storage_error).__name__)


def _opened(url: str) -> Storage:
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
