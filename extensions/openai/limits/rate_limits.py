"""How much a caller, and each user of a caller, may ask for: what a request takes of all their limits."""

from __future__ import annotations

import hashlib
import threading
import time

from limits.errors import StorageError

from ..errors import LimitsUnavailable
from ..observability.record import RequestRecord
from ..schemas.validation import RequestModel
from ..settings import KEY_LIMITS, Settings
from .counts import Account, Count, Spent, duration, kind_of
from .storage import CountStorage
from .units import UNITS, Unit

MAX_USER_CHARACTERS = 64

BY_LENGTH = sorted(KEY_LIMITS, key=lambda name: KEY_LIMITS[name].seconds)
ON_ARRIVAL = tuple(name for name in BY_LENGTH if KEY_LIMITS[name].unit == "requests")
"""Limits that count a request as such, before its body is read. The shortest first, so that what one refuses
is not counted in a longer one."""
LATER = tuple(name for name in ON_ARRIVAL if KEY_LIMITS[name].period != "at once")
OF_BODIES = {
    name: UNITS[KEY_LIMITS[name].unit] for name in reversed(BY_LENGTH) if name not in ON_ARRIVAL
}
"""Limits on what a body asks for. The longest first, as what is refused for a month is refused for good; what
was taken of it by a request that another one refuses is given back."""
KINDS = {name: kind_of(limit) for name, limit in KEY_LIMITS.items()}
HEADER_UNITS = dict.fromkeys(limit.unit for limit in KEY_LIMITS.values() if limit.has_headers)
HEADERS = tuple(
    f"x-ratelimit-{what}-{unit}"
    for what in ("limit", "remaining", "reset")
    for unit in HEADER_UNITS
)
"""All that answers may have."""


class Limiter:
    """The limits of all callers of one server. Thread-safe."""

    def __init__(
        self,
        settings: Settings,
        spent: Spent = lambda name, user, since: 0,
        storage: CountStorage | None = None,
    ) -> None:
        """Raises SettingsError where the settings' storage is none that there is."""
        self.storage = storage or CountStorage(settings)
        self.spent = spent

    def admission(self, record: RequestRecord) -> Admission:
        """For one request of a caller who is known."""
        return Admission(self, record)


class Admission:
    """What one request has taken. `close` gives back what it must, however the request ended."""

    def __init__(self, limiter: Limiter, record: RequestRecord) -> None:
        self._limiter = limiter
        self._record = record
        self._accounts: list[Account] = []
        self._counts: list[Count] = []
        self._lock = threading.Lock()

    @property
    def needs_user(self) -> bool:
        """Whether the body has to be read first, as each user has limits of its own."""
        return any(self._record.caller.user_limits.values())

    def count_request(self, user: str | None, *, beside: bool = False) -> None:
        """The key is right: count the request, of its user first, so that a user who asks too often takes
        nothing away from the others. `beside`: it is about one that is under way, and may come while that
        is. Raises RateLimited, LimitsUnavailable."""
        caller = self._record.caller
        if user and caller.user_limits:
            self._accounts.append(Account(caller.name, short_user(user), caller.user_limits))
        self._accounts.append(Account(caller.name, None, caller.limits))
        for account in self._accounts:
            for name in LATER if beside else ON_ARRIVAL:
                self._take(account, name, 1)

    def take(self, body: RequestModel | None) -> None:
        """Take what the request may need. Raises RateLimited, QuotaExceeded, LimitsUnavailable,
        UsageUnreadable."""
        needs: dict[Unit, int] = {}
        for account in self._accounts:
            for name, unit in OF_BODIES.items():
                if account.limits.get(name):
                    if unit not in needs:
                        needs[unit] = 0 if body is None else unit.expected(body)
                    self._take(account, name, needs[unit])

    def settle(self) -> None:
        """Count exactly what was used so far; may be called again when it is more."""
        with self._lock:
            try:
                for count in self._counts:
                    unit = UNITS.get(count.limit.unit)
                    if unit is not None and unit.used is not None:
                        count.settle(unit.used(self._record))
            except StorageError as error:
                self._limiter.storage.failed(error)

    def close(self) -> None:
        """The request has ended."""
        self.settle()
        self.release_concurrency()

    def release_concurrency(self) -> None:
        """It is not under way any more, so another one may be. Asks no storage; may be called again."""
        with self._lock:
            for count in self._counts:
                count.release()

    @property
    def headers(self) -> dict[str, str]:
        """`x-ratelimit-*` as OpenAI's, of what is limited."""
        headers, now = {}, time.time()
        levels = [
            (count.limit.unit, count.level) for count in self._counts if count.level is not None
        ]
        # Of a key and its user, those of the one that has less left.
        for unit, level in sorted(levels, key=lambda each: -each[1].remaining):
            headers[f"x-ratelimit-limit-{unit}"] = str(level.limit)
            headers[f"x-ratelimit-remaining-{unit}"] = str(
                min(level.limit, max(0, level.remaining))
            )
            headers[f"x-ratelimit-reset-{unit}"] = duration(level.resets - now)
        return headers

    def _take(self, account: Account, name: str, amount: int) -> None:
        if not account.limits.get(name):
            return
        limiter = self._limiter
        count = KINDS[name](name, KEY_LIMITS[name], account, limiter.storage, limiter.spent)
        self._counts.append(count)
        try:
            count.take(amount)
        except StorageError as error:
            limiter.storage.failed(error)
            raise LimitsUnavailable(
                "The server cannot count requests now. Please try again shortly."
            ) from None


def short_user(user: str) -> str:
    """A user's name of bounded length; different users stay different."""
    if len(user) <= MAX_USER_CHARACTERS:
        return user
    digest = hashlib.sha256(user.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{user[: MAX_USER_CHARACTERS - 17]}~{digest[:16]}"
