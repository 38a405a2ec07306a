"""A password, checked with scrypt, which is slow on purpose; so the last valid one is cached."""

from __future__ import annotations

import hmac
import secrets
import threading

from werkzeug.security import check_password_hash, generate_password_hash

from ..errors import RateLimited

HASH = "scrypt:"
"""The beginning of a hash, which the settings may have instead of the password."""

MAX_WAITING = 64
"""Concurrent checks; each occupies a server thread."""


def hashed(password: str) -> str:
    """`scrypt:N:r:p$salt$hash`, as `python -m extensions.openai password` prints it."""
    return generate_password_hash(password, method="scrypt")


class Password:
    """Checks a password. Thread-safe. Holds no password, only hashes."""

    def __init__(self, password: str, *, max_waiting: int = MAX_WAITING) -> None:
        """`password`: itself or its hash."""
        self._hash = password if password.startswith(HASH) else hashed(password)
        self._secret = secrets.token_bytes(32)
        self._valid: bytes | None = None
        self._lock = threading.Lock()
        self._waiting = threading.Semaphore(max_waiting)

    def matches(self, given: bytes) -> bool:
        """Whether this is the password. Any wrong one costs tens of milliseconds.

        Checks run one at a time; raises RateLimited if too many wait.
        """
        digest = hmac.digest(self._secret, given, "sha256")
        if self._known(digest):
            return True
        if not self._waiting.acquire(blocking=False):
            raise RateLimited("Too many keys are being checked. Please try again.", retry_after=1.0)
        try:
            with self._lock:
                # Another request may have sent the right one meanwhile.
                matches = self._known(digest) or check_password_hash(
                    self._hash, given.decode("utf-8", "replace")
                )
                if matches:
                    self._valid = digest
        finally:
            self._waiting.release()
        return matches

    def _known(self, digest: bytes) -> bool:
        return self._valid is not None and hmac.compare_digest(digest, self._valid)
