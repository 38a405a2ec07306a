"""Wrong keys, counted by where they come from: an address that has sent too many is refused for a while."""

from __future__ import annotations

import hmac
import secrets
import threading
import time
from collections import OrderedDict
from ipaddress import IPv6Address, ip_network

from ..errors import TooManyWrongKeys
from .ip_addresses import as_address, is_loopback

WINDOW = 60.0  # seconds, from the first wrong key on
ADDRESSES = 4096  # of which wrong keys are counted at the same time
RIGHT_KEYS = 1024  # that are remembered


class AttemptLimiter:
    """How many wrong keys came from where. Thread-safe. Holds no key, only hashes.

    Behind one address there may be many (a company, a proxy that is not trusted), so a key already known
    to be right is accepted from it in any case. This machine is not counted: its users need not guess.
    """

    def __init__(self, *, addresses: int = ADDRESSES, right_keys: int = RIGHT_KEYS) -> None:
        self._addresses, self._right_keys = addresses, right_keys
        self._secret = secrets.token_bytes(32)
        self._wrong: OrderedDict[str, tuple[float, int]] = OrderedDict()
        """Until when each address is counted, and how many there were."""
        self._right: OrderedDict[bytes, None] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def remembered(self) -> tuple[int, int]:
        """How many addresses are counted, and how many right keys are known."""
        return len(self._wrong), len(self._right)

    def check(self, address: str, given: bytes, most: int) -> None:
        """Called before the key is checked, so that a blocked address costs no time. Raises TooManyWrongKeys.

        `most` wrong keys a minute may come from one address; 0 is no limit.
        """
        where = _where(address)
        if not most or where is None:
            return
        now, known = time.monotonic(), self._digest(given) in self._right
        until, count = self._wrong.get(where, (now, 0))
        if count >= most and now < until and not known:
            raise TooManyWrongKeys(
                "Too many wrong API keys came from your address. Please try again later.",
                retry_after=until - now,
            )

    def wrong(self, address: str) -> None:
        """A key from there was wrong."""
        where = _where(address)
        if where is None:
            return
        with self._lock:
            now = time.monotonic()
            until, count = self._wrong.pop(where, (now, 0))
            self._wrong[where] = (until, count + 1) if now < until else (now + WINDOW, 1)
            while len(self._wrong) > self._addresses:
                self._wrong.popitem(last=False)

    def right(self, address: str, given: bytes) -> None:
        """A key from there was right."""
        if _where(address) is None:
            return
        digest = self._digest(given)
        with self._lock:
            self._right[digest] = None
            self._right.move_to_end(digest)
            while len(self._right) > self._right_keys:
                self._right.popitem(last=False)

    def _digest(self, given: bytes) -> bytes:
        return hmac.digest(self._secret, given, "sha256")


def _where(address: str) -> str | None:
    """What is counted together: an address, of IPv6 the network that one customer gets; None: nothing."""
    found = as_address(address)
    if found is None or is_loopback(address):
        return None
    if isinstance(found, IPv6Address):
        return str(ip_network((found, 64), strict=False))
    return str(found)
