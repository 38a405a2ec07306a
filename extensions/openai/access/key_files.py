"""The files of named keys: the secret that signs them, and the list of keys.

`keys.secret` makes keys valid, `keys.json` lists them and which are revoked; both are read again when they
change. The list contains no key itself. If it exists, a key that is not on it is not valid; if it never
existed, because a server has only the secret, the signature is enough. A writer takes `keys.lock` and
replaces the whole file, so that readers need no lock.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, TypeVar

from filelock import FileLock, Timeout
from pydantic import TypeAdapter, ValidationError

from ..settings import Settings
from ..system.data_folder import data_folder, hand_over, make_private, write_private
from .caller import RESERVED, USER_PREFIX, owner_of
from .signed_keys import Grant, new_id, sign

T = TypeVar("T")
SECRET, LIST, LOCK = "keys.secret", "keys.json", "keys.lock"
LOCK_TIMEOUT_S = 10.0  # for another process that writes


class KeysError(Exception):
    """The files cannot be read or written, or a name is wrong; the message is one clear line."""


class NoSuchKey(KeysError):
    """No key that is valid has this name."""


class KeyExists(KeysError):
    """A key that is valid has this name."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One key, without the key itself."""

    grant: Grant
    created: int
    ends: int | None = None
    """When it becomes invalid (Unix seconds); 0: it is revoked; None: when it expires."""

    def valid(self, now: float) -> bool:
        ends = [end for end in (self.ends, self.grant.expires) if end is not None]
        return not ends or now < min(ends)


_entries = TypeAdapter(tuple[Entry, ...])


class _CachedFile(Generic[T]):
    """A file's parsed content, read again when the file is replaced."""

    def __init__(self, path: Path, read: Callable[[bytes], T]) -> None:
        self.path = path
        self._read = read
        self._cached: tuple[tuple[int, int, int], T] | None = None

    def get(self) -> T | None:
        """The content; None if there is no file. Raises KeysError."""
        try:
            found = self.path.stat()
            state = (found.st_ino, found.st_mtime_ns, found.st_size)
            cached = self._cached
            if cached is None or cached[0] != state:
                cached = self._cached = (state, self._read(self.path.read_bytes()))
            return cached[1]
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is damaged"
            raise KeysError(f"{self.path.name} cannot be read: {reason}") from None


_seen: set[str] = set()
"""Paths of secrets that existed since the process started."""


def named_keys_exist(settings: Settings) -> bool:
    """Whether there is a secret, or was since this process started, so that there can be keys.

    Deleting the secret of a running server invalidates all keys; it does not open the server.
    """
    if settings.keys_secret is not None:
        return True
    # Called for each request; pathlib would cost more than the system call.
    path = f"{data_folder(settings)}/{SECRET}"
    if path not in _seen and os.path.exists(path):  # noqa: PTH110
        _seen.add(path)
    return path in _seen


class KeyFiles:
    """The keys of one data folder. Thread-safe."""

    def __init__(self, folder: Path, secret: str | None = None) -> None:
        """`secret` replaces the one in the file."""
        self.folder = folder
        self._given = None if secret is None else secret.encode()
        self._secret = _CachedFile(folder / SECRET, _read_secret)
        self._list = _CachedFile(folder / LIST, _read_list)
        self._ends: Mapping[str, int | None] | None = None
        self._ends_of: tuple[Entry, ...] | None = None

    @classmethod
    def of(cls, settings: Settings) -> KeyFiles:
        secret = settings.keys_secret
        return cls(data_folder(settings), secret.get_secret_value() if secret else None)

    def secret(self) -> bytes | None:
        """The secret that signs keys; None if no key was made yet. Raises KeysError."""
        return self._given or self._secret.get()

    def ends(self, id: str) -> int | None:
        """When the key with this id becomes invalid; 0: it is revoked, or not on the list.

        Raises KeysError."""
        entries = self._list.get()
        if entries is not None and entries is not self._ends_of:
            self._ends = {each.grant.id: each.ends for each in entries}
            self._ends_of = entries
        # If the list was deleted, its last content stays in force.
        if self._ends is not None:
            return self._ends.get(id, 0)
        if self._given is None or (self.folder / LOCK).exists():
            raise KeysError(f"{LIST} was lost, so it is not known which keys were revoked")
        return None

    def entries(self) -> tuple[Entry, ...]:
        """All keys, oldest first. Raises KeysError."""
        return self._list.get() or ()

    def owners(self, name: str) -> frozenset[str]:
        """Whose objects the keys of a name have stored, also keys without a file, and a proxy's users. Raises
        KeysError for a name that no key ever had."""
        if name in RESERVED:
            return frozenset({name})
        if name.startswith(USER_PREFIX):
            return frozenset({owner_of(name)})
        found = {each.grant.identity for each in self.entries() if each.grant.name == name}
        if not found:
            raise NoSuchKey(_none(name, ()))
        return frozenset(map(owner_of, found))

    def create(self, grant: Grant) -> str:
        """Make a key; its text is returned only here. Raises KeysError if the name is taken."""
        with self._writing():
            entries, now = self.entries(), time.time()
            if any(each.grant.name == grant.name and each.valid(now) for each in entries):
                raise KeyExists(
                    f"there is a key {grant.name} already: rotate it, or revoke it first"
                )
            return self._add(entries, grant)

    def rotate(
        self, name: str, change: Callable[[Entry], Grant], grace: int = 0
    ) -> tuple[str, Grant]:
        """Make a new key with this name; the old one ends after `grace` seconds.

        `change` gets the newest key and returns the new one's grant. Raises KeysError.
        """
        self._check_exists(name)
        with self._writing():
            entries, now = self.entries(), time.time()
            valid = [each for each in entries if each.grant.name == name and each.valid(now)]
            if not valid:
                raise NoSuchKey(_none(name, entries))
            grant = replace(change(valid[-1]), first_id=valid[-1].grant.identity)
            ends = int(now) + grace if grace else 0
            kept = tuple(
                replace(each, ends=ends if each.ends is None else min(ends, each.ends))
                if each in valid
                else each
                for each in entries
            )
            return self._add(kept, grant), grant

    def revoke(self, name: str) -> int:
        """End all keys with this name at once; return how many. Raises KeysError."""
        self._check_exists(name)
        with self._writing():
            entries = self.entries()
            valid = [
                each for each in entries if each.grant.name == name and each.valid(time.time())
            ]
            if not valid:
                raise NoSuchKey(_none(name, entries))
            self._write(
                tuple(
                    replace(each, ends=0) if each.grant.name == name else each for each in entries
                )
            )
            return len(valid)

    def _check_exists(self, name: str) -> None:
        """Raise KeysError if no key was made yet, before keys.lock is written: its existence means that there
        was a list."""
        if not self.entries():
            raise NoSuchKey(_none(name, ()))

    def _add(self, entries: tuple[Entry, ...], grant: Grant) -> str:
        taken = {each.grant.id for each in entries}
        while not grant.id or grant.id in taken:
            grant = replace(grant, id=new_id())
        secret = self.secret()
        if secret is None:
            secret = secrets.token_urlsafe(32).encode()
            write_private(self._secret.path, secret + b"\n")
        self._write((*entries, Entry(grant, int(time.time()))))
        return sign(grant, secret)

    def _write(self, entries: tuple[Entry, ...]) -> None:
        write_private(self._list.path, _entries.dump_json(entries, indent=1) + b"\n")

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            make_private(self.folder)
            with FileLock(self.folder / LOCK, timeout=LOCK_TIMEOUT_S, mode=0o600):
                hand_over(self.folder / LOCK)
                yield
        except Timeout:
            raise KeysError("another process is writing keys and does not end") from None
        except OSError as error:
            raise KeysError(f"cannot write to {self.folder}: {error.strerror}") from None


def _read_secret(data: bytes) -> bytes:
    secret = data.strip()
    if len(secret) < 16:
        raise ValueError
    return secret


def _read_list(data: bytes) -> tuple[Entry, ...]:
    try:
        return _entries.validate_json(data)
    except ValidationError:
        raise ValueError from None


def _none(name: str, entries: tuple[Entry, ...]) -> str:
    if any(each.grant.name == name for each in entries):
        return f"the key {name} is revoked or has expired"
    return f"there is no key {name}"
