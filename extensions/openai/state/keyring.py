"""The server's keys: they seal and sign what clients keep for the server and give back.

The file has a key on each line, 32 bytes in base64; a new one goes to the end. The last key seals and signs,
all of them open and verify. Servers that have the same file open what each other has sealed.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import logging
import os
import secrets
from base64 import b64decode, b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from ..settings import Settings, SettingsError
from ..system.data_folder import data_folder, hand_over, make_private, write_private

log = logging.getLogger("openedai")

FILE = "server.keys"
KEY_BYTES, ID_BYTES, NONCE_BYTES = 32, 4, 12
LOCK_TIMEOUT_S = 10.0
SEALED, SIGNED = b"\x01", b"\x02"

Purpose = Literal["reasoning", "compaction", "thought", "data key"]
"""What is sealed or signed for one purpose is void for another."""


class NotOurs(Exception):
    """It was not made with one of these keys, for this purpose and this owner, or was changed."""


class Keyring:
    """Keys, the newest last. Immutable.

    What is made: base64 of a byte that says the form, the key's id, and then either an HMAC-SHA256, or a
    nonce and AES-256-GCM. Each purpose and each owner has keys of its own, which are derived from these.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = {key_id(key): key for key in keys}
        self.newest = key_id(keys[-1])

    def __contains__(self, id: bytes) -> bool:
        return id in self._keys

    def seal(self, purpose: Purpose, owner: str, data: bytes) -> str:
        """Text that only `open` can read."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        head = SEALED + self.newest
        nonce = secrets.token_bytes(NONCE_BYTES)
        key = AESGCM(self._derived(self.newest, SEALED, purpose, owner))
        return b64encode(head + nonce + key.encrypt(nonce, data, head)).decode()

    def open(self, purpose: Purpose, owner: str, text: str) -> bytes:
        """What was sealed. Raises NotOurs."""
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        id, data = self._taken_apart(SEALED, text)
        key = AESGCM(self._derived(id, SEALED, purpose, owner))
        try:
            return key.decrypt(data[:NONCE_BYTES], data[NONCE_BYTES:], SEALED + id)
        except (InvalidTag, ValueError):  # the nonce may be cut off
            raise NotOurs from None

    def sign(self, purpose: Purpose, owner: str, data: bytes) -> str:
        """Text that proves that these keys have seen the data."""
        mac = self._mac(self.newest, purpose, owner, data)
        return b64encode(SIGNED + self.newest + mac).decode()

    def verify(self, purpose: Purpose, owner: str, data: bytes, text: str) -> None:
        """Raises NotOurs."""
        id, mac = self._taken_apart(SIGNED, text)
        if not hmac.compare_digest(self._mac(id, purpose, owner, data), mac):
            raise NotOurs

    def _taken_apart(self, form: bytes, text: str) -> tuple[bytes, bytes]:
        """The key's id, and what comes behind it."""
        try:
            data = b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raise NotOurs from None
        id = data[1 : 1 + ID_BYTES]
        if data[:1] != form or id not in self._keys:
            raise NotOurs
        return id, data[1 + ID_BYTES :]

    def _mac(self, id: bytes, purpose: Purpose, owner: str, data: bytes) -> bytes:
        return hmac.digest(self._derived(id, SIGNED, purpose, owner), data, "sha256")

    def _derived(self, id: bytes, form: bytes, purpose: Purpose, owner: str) -> bytes:
        # No purpose has a NUL, so no two of these texts are the same.
        return hmac.digest(self._keys[id], form + f"{purpose}\0{owner}".encode(), "sha256")


def key_id(key: bytes) -> bytes:
    """Tells keys apart, and says nothing about them."""
    return hashlib.sha256(b"openedai key " + key).digest()[:ID_BYTES]


def keyring_of(settings: Settings) -> Keyring:
    """The server's keys. Where there is none yet, one is made.

    Raises SettingsError for a file that cannot be read, or is not there although the settings name it.
    """
    return keyring_file(settings).read()


def keyring_file(settings: Settings) -> KeyringFile:
    """The file of the server's keys."""
    if settings.secret_file is not None:
        return file_at(Path(settings.secret_file).expanduser(), True)
    return file_at(data_folder(settings) / FILE, False)


class KeyringFile:
    """Thread-safe. It is read again when it has changed."""

    def __init__(self, path: Path, given: bool) -> None:
        """`given`: the operator has named it, so that it must be there."""
        self.path = path
        self._given = given
        self._read: tuple[tuple[int, int, int], Keyring] | None = None
        self._makeshift: Keyring | None = None

    def read(self) -> Keyring:
        """Raises SettingsError."""
        found = self.find()
        if found is None and self._given:
            raise self._missing()
        return found or self._made()

    def lasts(self) -> bool:
        """Whether there are keys that are there after a restart; they are made where there are none. Raises
        SettingsError."""
        return self.read() is not self._makeshift

    def check(self) -> None:
        """Raises SettingsError where the keys cannot be read. Makes nothing."""
        if self.find() is None and self._given:
            raise self._missing()

    def find(self) -> Keyring | None:
        """None where there is no file. What was read once stays in force whatever becomes of the file.
        Raises SettingsError."""
        known = self._read
        try:
            there = self.path.stat()
            state = (there.st_ino, there.st_mtime_ns, there.st_size)
            if known is None or known[0] != state:
                known = self._read = (state, Keyring(self._keys()))
            return known[1]
        except (OSError, ValueError) as error:
            if known is not None:
                return known[1]
            if isinstance(error, (FileNotFoundError, NotADirectoryError)):
                return None
            raise SettingsError(f"cannot read {self.path}: {_reason(error)}") from None

    def rotate(self) -> None:
        """Put a new key to those that are there; make the file if there is none. Raises SettingsError."""
        with self._locked():
            keys = self._keys() if self.path.exists() else []
            self._write([*keys, secrets.token_bytes(KEY_BYTES)])

    def forget(self) -> int:
        """Leave only the newest key; how many went. Raises SettingsError."""
        with self._locked():
            *old, newest = self._keys()
            self._write([newest])
        return len(old)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Exclude other processes that change the file. Raises SettingsError, also for what fails within."""
        try:
            make_private(self.path.parent)
            with FileLock(f"{self.path}.lock", timeout=LOCK_TIMEOUT_S, mode=0o600):
                yield
        except (OSError, ValueError) as error:
            raise SettingsError(f"cannot change {self.path}: {_reason(error)}") from None

    def _missing(self) -> SettingsError:
        return SettingsError(
            f"setting secret_file: there is no file {self.path} (openedai store rotate makes one)"
        )

    def _keys(self) -> list[bytes]:
        """Raises ValueError, OSError."""
        lines = self.path.read_text(encoding="ascii").split()
        keys = [b64decode(line, validate=True) for line in lines]
        if not keys or {len(key) for key in keys} != {KEY_BYTES}:
            raise ValueError
        return keys

    def _write(self, keys: Sequence[bytes]) -> None:
        write_private(self.path, _lines(keys))

    def _made(self) -> Keyring:
        """A new file, or where none can be written, a key that ends with the process."""
        if self._makeshift is not None:
            return self._makeshift
        key = secrets.token_bytes(KEY_BYTES)
        try:
            make_private(self.path.parent)
            _create(self.path, _lines([key]))
            return Keyring(self._keys())
        except (OSError, ValueError) as error:
            log.warning(
                "no %s in the data folder (%s): what is signed or sealed is void after a restart",
                FILE,
                _reason(error),
            )
            self._makeshift = Keyring([key])
            return self._makeshift


@cache
def file_at(path: Path, given: bool) -> KeyringFile:
    """The same object for all who use the file."""
    return KeyringFile(path, given)


def _reason(error: Exception) -> str:
    """Why the file cannot be read or written, without anything of what is in it."""
    if isinstance(error, Timeout):
        return "another process has locked it"
    return (
        error.strerror or type(error).__name__ if isinstance(error, OSError) else "it holds no keys"
    )


def _lines(keys: Sequence[bytes]) -> bytes:
    return b"".join(b64encode(key) + b"\n" for key in keys)


def _create(path: Path, data: bytes) -> None:
    """Put a new file in place; where another process was faster, its file stays."""
    draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    try:
        hand_over(draft)
        os.link(draft, path)
    except FileExistsError:
        log.debug("another process has made %s", path.name)
    finally:
        draft.unlink()
