"""Counts wrong keys by address: an address that sends too many is refused for a while."""

from __future__ import annotations

import hmac
import secrets
import threading
import time
from collections import OrderedDict
from ipaddress import IPv6Address, ip_network

from ..errors import TooManyWrongKeys
from .ip_addresses import as_address, is_loopback

WINDOW_S = 60.0  # from the first wrong key on
MAX_ADDRESSES = 4096  # that are counted at the same time
MAX_VALID_KEYS = 1024  # that are cached


class AttemptLimiter:
    """Counts wrong keys per address. Thread-safe. Holds no keys, only hashes.

    Many clients may share an address (a company, an untrusted proxy), so a key already known to be valid is
    always accepted. This machine is not counted: its users need not guess.
    """

    def __init__(
        self, *, max_addresses: int = MAX_ADDRESSES, max_valid_keys: int = MAX_VALID_KEYS
    ) -> None:
        self._max_addresses, self._max_valid_keys = max_addresses, max_valid_keys
        self._secret = secrets.token_bytes(32)
        self._wrong: OrderedDict[str, tuple[float, int]] = OrderedDict()
        """The end of each address's window, and its wrong keys so far."""
        self._valid: OrderedDict[bytes, None] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def remembered(self) -> tuple[int, int]:
        """How many addresses are counted, and how many valid keys are cached."""
        return len(self._wrong), len(self._valid)

    def check(self, address: str, key: bytes, limit: int) -> None:
        """Call before checking the key, so that a blocked address costs no time. Raises TooManyWrongKeys.

        `limit`: wrong keys a minute from one address; 0 is no limit.
        """
        source = _source(address)
        if not limit or source is None:
            return
        now, known = time.monotonic(), self._digest(key) in self._valid
        until, count = self._wrong.get(source, (now, 0))
        if count >= limit and now < until and not known:
            raise TooManyWrongKeys(
                "Too many wrong API keys came from your address. Please try again later.",
                retry_after=until - now,
            )

    def add_wrong(self, address: str) -> None:
        """Count a wrong key from this address."""
        source = _source(address)
        if source is None:
            return
        with self._lock:
            now = time.monotonic()
            until, count = self._wrong.pop(source, (now, 0))
            self._wrong[source] = (until, count + 1) if now < until else (now + WINDOW_S, 1)
            while len(self._wrong) > self._max_addresses:
                self._wrong.popitem(last=False)

    def add_valid(self, address: str, key: bytes) -> None:
        """Remember a valid key."""
        if _source(address) is None:
            return
        digest = self._digest(key)
        with self._lock:
            self._valid[digest] = None
            self._valid.move_to_end(digest)
            while len(self._valid) > self._max_valid_keys:
                self._valid.popitem(last=False)

    def _digest(self, key: bytes) -> bytes:
        return hmac.digest(self._secret, key, "sha256")


def _source(address: str) -> str | None:
    """What is counted together: an IPv4 address, or the IPv6 network of one customer; None: not counted."""
    found = as_address(address)
    if found is None or is_loopback(address):
        return None
    if isinstance(found, IPv6Address):
        return str(ip_network((found, 64), strict=False))
    return str(found)
