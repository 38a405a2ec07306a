"""The streams that clients may resume: bounded for each owner in bytes, and in time once they have ended."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from ..errors import StreamInUse

STREAM_OVERHEAD_BYTES = 4096
"""What a stream counts besides its events."""


class KeptStream(Protocol):
    """One stream, under way or ended."""

    @property
    def size(self) -> int:
        """Bytes of its events."""

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""


Stream = TypeVar("Stream", bound=KeptStream)


class KeptStreams(Generic[Stream]):
    """Those of one server. Thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._condition = threading.Condition()
        self._streams: dict[tuple[str, str], Stream] = {}
        """Of each owner the oldest first."""
        self._until: dict[tuple[str, str], float] = {}
        """When those that have ended are dropped."""
        self._dropping = False

    def __len__(self) -> int:
        """How many are in memory."""
        return len(self._streams)

    def add(self, owner: str, id: str, stream: Stream) -> None:
        """In place of an ended one with the same id. Raises StreamInUse if that is under way."""
        key = owner, id
        with self._condition:
            earlier = self._streams.get(key)
            if earlier is not None and not earlier.is_over:
                raise StreamInUse(id)
            self._forget(key)
            self._streams[key] = stream

    def find(self, owner: str, id: str) -> Stream | None:
        with self._condition:
            self._drop_old()
            return self._streams.get((owner, id))

    def of(self, owner: str) -> dict[str, Stream]:
        """The owner's, by id, the latest first."""
        with self._condition:
            self._drop_old()
            mine = {id: stream for (each, id), stream in self._streams.items() if each == owner}
        return dict(reversed(mine.items()))

    def keep(self, owner: str, id: str, stream: Stream, *, seconds: float, most: int) -> None:
        """It has ended: keep it so long, in at most so many bytes of the owner's; the owner's oldest ended
        ones make room."""
        key = owner, id
        with self._condition:
            if self._streams.get(key) is not stream:
                return
            self._until[key] = self._clock() + seconds
            mine = [key for key in self._streams if key[0] == owner]
            size = sum(self._size(key) for key in mine)
            for each in mine:
                if size > most and each in self._until and each != key:
                    size -= self._size(each)
                    self._forget(each)
            if not self._dropping:
                self._dropping = True
                threading.Thread(
                    target=self._keep_dropping, name="openai-kept-streams", daemon=True
                ).start()
            self._condition.notify_all()

    def forget(self, owner: str, id: str, stream: Stream) -> None:
        """Nobody wants this one any more."""
        with self._condition:
            if self._streams.get((owner, id)) is stream:
                self._forget((owner, id))

    def _size(self, key: tuple[str, str]) -> int:
        return self._streams[key].size + STREAM_OVERHEAD_BYTES

    def _forget(self, key: tuple[str, str]) -> None:
        self._streams.pop(key, None)
        self._until.pop(key, None)

    def _drop_old(self) -> None:
        now = self._clock()
        for key in [key for key, until in self._until.items() if until <= now]:
            self._forget(key)

    def _keep_dropping(self) -> None:
        """As long as any that have ended are there."""
        with self._condition:
            while self._until:
                self._condition.wait(max(0.0, min(self._until.values()) - self._clock()))
                self._drop_old()
            self._dropping = False
