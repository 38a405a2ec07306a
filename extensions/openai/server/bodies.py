"""Request bodies: in memory, with a limit on all of them together. Only those with files are on disk."""

from __future__ import annotations

import io
import logging
import threading
from collections import deque
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, BinaryIO, cast

from waitress.utilities import Error

log = logging.getLogger("openedai")

NO_DISK = "the disk has no room"
"""The detail of the error for a body with files."""
SHORT_BODY_BYTES = 64 << 10  # bodies up to this may use the last quarter of the limit, too


class BodyMemoryFull(Error):
    """waitress's error for a body that exceeds the memory for bodies, or what the disk has room for."""

    code = 503
    reason = "Service Unavailable"


class BodyMemory:
    """Counts the bytes of all bodies in memory. Thread-safe."""

    def __init__(self, limit: int) -> None:
        """`limit`: bytes of all bodies. Long bodies leave a quarter of them to short ones, so that a few
        large requests do not lock others out."""
        self._limit = limit
        self._used = 0
        self._lock = threading.Lock()

    @property
    def used(self) -> int:
        """Bytes in use."""
        return self._used

    def would_fit(self, count: int) -> bool:
        """Whether a body of `count` bytes would fit now."""
        return self._used + count <= self._limit_for(count)

    def reserve(self, count: int, size: int) -> bool:
        """Reserve `count` more bytes for a body that then has `size`; False if they do not fit."""
        with self._lock:
            if self._used + count > self._limit_for(size):
                return False
            self._used += count
            return True

    def release(self, count: int) -> None:
        with self._lock:
            self._used -= count

    def _limit_for(self, size: int) -> int:
        return self._limit if size <= SHORT_BODY_BYTES else self._limit - self._limit // 4


class Body:
    """One body while it arrives; waitress's interface of a buffer.

    Its bytes count until it is closed, when its request is answered: parsed data stays in memory until then.
    """

    problem = ""
    """The detail of the error where `append` fails."""

    def __init__(self, memory: BodyMemory) -> None:
        self._memory = memory
        self._parts: deque[bytes] = deque()
        self._size = 0
        self._closed = False
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return self._size

    def append(self, data: bytes) -> bool:
        """Add data; False if there is no memory for it."""
        with self._lock:
            if self._closed or not self._memory.reserve(len(data), self._size + len(data)):
                return False
            self._size += len(data)
            self._parts.append(bytes(data))
            return True

    def getfile(self) -> io.RawIOBase:
        return _Reader(self._parts)

    def close(self) -> None:
        """Free it. Thread-safe, and safe to call again."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._memory.release(self._size)
                self._parts.clear()


class FileBody:
    """A body with files while it arrives; waitress's interface of a buffer. Its file has no name, so that
    nothing is left of it when the process ends."""

    problem = NO_DISK

    def __init__(self, folder: Path | None) -> None:
        """`folder`: for the file; None: where temporary files are."""
        self._folder = folder
        self._file: BinaryIO | None = None
        self._size = 0
        self._closed = False
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return self._size

    def append(self, data: bytes) -> bool:
        """Add data; False if there is no place for it."""
        with self._lock:
            if self._closed:
                return False
            try:
                file = self._opened()
                file.seek(
                    0, io.SEEK_END
                )  # the head is looked at meanwhile, which asks for the file
                file.write(data)
                file.flush()  # else it is found out later, or never
            except OSError as error:
                log.error("an uploaded file cannot be written: %s", error.strerror)
                return False
            self._size += len(data)
        return True

    def getfile(self) -> BinaryIO:
        with self._lock:
            file = self._opened()
            file.seek(0)
            return file

    def close(self) -> None:
        """Free it. Thread-safe, and safe to call again."""
        with self._lock:
            self._closed = True
            if self._file is not None:
                with suppress(OSError):  # what found no room finds none now
                    self._file.close()

    def _opened(self) -> BinaryIO:
        if self._file is None:
            # Closed with the body.
            self._file = cast(BinaryIO, TemporaryFile(dir=self._folder))  # noqa: SIM115
        return self._file


class _Reader(io.RawIOBase):
    """Reads a body's parts and frees each, so that no body is in memory twice."""

    def __init__(self, parts: deque[bytes]) -> None:
        self._parts = parts

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view, at = memoryview(buffer), 0
        while at < len(view) and self._parts:
            part = self._parts.popleft()
            taken = min(len(part), len(view) - at)
            view[at : at + taken] = part[:taken]
            if taken < len(part):
                self._parts.appendleft(part[taken:])
            at += taken
        return at


class FixedBody:
    """A body with a Content-Length; waitress's interface of a receiver."""

    completed = False
    error: Error | None = None

    def __init__(self, length: int, body: Body | FileBody) -> None:
        self._remaining = length
        self._body = body

    def __len__(self) -> int:
        return len(self._body)

    def received(self, data: bytes) -> int:
        """Consume data of the body; return how many bytes."""
        part = data[: self._remaining]
        if not self._body.append(part):
            self.error = BodyMemoryFull(self._body.problem)
        self._remaining -= len(part)
        self.completed = not self._remaining
        return len(part)

    def getfile(self) -> io.RawIOBase | BinaryIO:
        return self._body.getfile()

    def getbuf(self) -> Body | FileBody:
        return self._body
