"""A password, compared by scrypt: slow on purpose, so that it is remembered who was right."""

from __future__ import annotations

import hmac
import secrets
import threading

from werkzeug.security import check_password_hash, generate_password_hash

from ..errors import RateLimited

HASH = "scrypt:"
"""How a hash begins, which may stand in the settings in place of the password itself."""

WAITING = 64
"""Checks under way at the same time; each one holds a thread of the server."""


def hashed(password: str) -> str:
    """`scrypt:N:r:p$salt$hash`, as `python -m extensions.openai password` prints it."""
    return generate_password_hash(password, method="scrypt")


class Password:
    """What is right. Thread-safe. Holds no password, only hashes."""

    def __init__(self, password: str, *, waiting: int = WAITING) -> None:
        """The password, or its hash."""
        self._hash = password if password.startswith(HASH) else hashed(password)
        self._secret = secrets.token_bytes(32)
        self._right: bytes | None = None
        self._lock = threading.Lock()
        self._places = threading.Semaphore(waiting)

    def matches(self, given: bytes) -> bool:
        """Whether it is the right one. A wrong one costs tens of milliseconds each time, whatever it is.

        Guesses wait for each other; raises RateLimited where too many wait.
        """
        digest = hmac.digest(self._secret, given, "sha256")
        if self._known(digest):
            return True
        if not self._places.acquire(blocking=False):
            raise RateLimited("Too many keys are being checked. Please try again.", retry_after=1.0)
        try:
            with self._lock:
                # Many may bring the right one at once, before the first of them was checked.
                right = self._known(digest) or check_password_hash(
                    self._hash, given.decode("utf-8", "replace")
                )
                if right:
                    self._right = digest
        finally:
            self._places.release()
        return right

    def _known(self, digest: bytes) -> bool:
        return self._right is not None and hmac.compare_digest(digest, self._right)
