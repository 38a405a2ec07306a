"""A password, compared by scrypt: slow on purpose, so that it is remembered who was right."""

from __future__ import annotations

import hmac
import secrets
import threading

from werkzeug.security import check_password_hash, generate_password_hash

HASH = "scrypt:"
"""How a hash begins, which may stand in the settings in place of the password itself."""


def hashed(password: str) -> str:
    """`scrypt:N:r:p$salt$hash`, as `python -m extensions.openai password` prints it."""
    return generate_password_hash(password, method="scrypt")


class Password:
    """What is right. Thread-safe. Holds no password, only hashes."""

    def __init__(self, password: str) -> None:
        """The password, or its hash."""
        self._hash = password if password.startswith(HASH) else hashed(password)
        self._secret = secrets.token_bytes(32)
        self._right: bytes | None = None
        self._lock = threading.Lock()

    def matches(self, given: bytes) -> bool:
        """Whether it is the right one. A wrong one costs tens of milliseconds each time, whatever it is;
        guesses wait for each other."""
        digest = hmac.digest(self._secret, given, "sha256")
        if self._right is not None and hmac.compare_digest(digest, self._right):
            return True
        with self._lock:
            right = check_password_hash(self._hash, given.decode("utf-8", "replace"))
        if right:
            self._right = digest
        return right
