"""Bodies of requests: in memory, never in files, and all of them together within one bound."""

from __future__ import annotations

import io
import threading
from collections import deque
from typing import Any

from waitress.utilities import Error

SHORT = 64 << 10  # bytes of a body that may also take the last quarter of the bound


class NoRoom(Error):
    """waitress's form of a body for which there is no memory now."""

    code = 503
    reason = "Service Unavailable"


class HeldBytes:
    """How many bytes of bodies there are. Thread-safe."""

    def __init__(self, most: int) -> None:
        """`most` bytes for all together. Long bodies leave a quarter of them to short ones, so that a few
        large requests do not keep others out."""
        self._most = most
        self._held = 0
        self._lock = threading.Lock()

    @property
    def held(self) -> int:
        """Bytes that are held now."""
        return self._held

    def has_room(self, count: int) -> bool:
        """Whether a body of `count` bytes would fit now."""
        return self._held + count <= self._bound(count)

    def take(self, count: int, size: int) -> bool:
        """Hold `count` bytes more for a body that has `size` with them; False where they do not fit."""
        with self._lock:
            if self._held + count > self._bound(size):
                return False
            self._held += count
            return True

    def give_back(self, count: int) -> None:
        with self._lock:
            self._held -= count

    def _bound(self, size: int) -> int:
        return self._most if size <= SHORT else self._most - self._most // 4


class Body:
    """One body, as it comes; what waitress calls a buffer.

    Its bytes count as held until it is closed, when its request is answered: what was read out of it is
    held in another form until then.
    """

    def __init__(self, held: HeldBytes) -> None:
        self._held = held
        self._parts: deque[bytes] = deque()
        self._size = 0
        self._closed = False
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return self._size

    def append(self, data: bytes) -> bool:
        """Take more; False where there is no room for it."""
        with self._lock:
            if self._closed or not self._held.take(len(data), self._size + len(data)):
                return False
            self._size += len(data)
            self._parts.append(bytes(data))
            return True

    def getfile(self) -> io.RawIOBase:
        return _Reader(self._parts)

    def close(self) -> None:
        """Forget it. From any thread, and as often as one likes."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._held.give_back(self._size)
                self._parts.clear()


class _Reader(io.RawIOBase):
    """Reads a body's parts and lets go of each, so that it is not in memory twice."""

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
    """A body whose length is known; what waitress calls a receiver."""

    completed = False
    error: Error | None = None

    def __init__(self, length: int, body: Body) -> None:
        self._remaining = length
        self._body = body

    def __len__(self) -> int:
        return len(self._body)

    def received(self, data: bytes) -> int:
        """Take what belongs to the body; how many bytes that was."""
        part = data[: self._remaining]
        if not self._body.append(part):
            self.error = NoRoom("")
        self._remaining -= len(part)
        self.completed = not self._remaining
        return len(part)

    def getfile(self) -> io.RawIOBase:
        return self._body.getfile()

    def getbuf(self) -> Body:
        return self._body
