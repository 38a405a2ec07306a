"""From a back end that pushes (callbacks, in its own thread) to a generator that is pulled."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

Item = TypeVar("Item")

TICK = 0.2  # seconds of silence after which None is yielded
CAPACITY = 256  # items that may wait for a slow reader before the producer is held

Emit = Callable[[Item], bool]
"""Hand an item over; True means: nobody reads any more, stop."""


class _End:
    """Crosses the thread as the last item: how production ended."""

    __slots__ = ("error",)

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


class _Pump(Generic[Item]):
    """One producer thread, one reader."""

    def __init__(self, produce: Callable[[Emit[Item]], None], capacity: float) -> None:
        self._produce = produce
        self._capacity = capacity
        self._items: SimpleQueue[Item | _End] = SimpleQueue()
        self._closed = threading.Event()
        self._drained = threading.Event()

    def emit(self, item: Item) -> bool:
        self._items.put(item)
        while self._items.qsize() > self._capacity and not self._closed.is_set():
            self._drained.clear()
            self._drained.wait(TICK)
        return self._closed.is_set()

    def run(self) -> None:
        try:
            self._produce(self.emit)
        except BaseException as error:  # it is raised again where the items are read
            self._items.put(_End(error))
        else:
            self._items.put(_End(None))

    def read(self) -> Generator[Item | None, None, None]:
        threading.Thread(target=self.run, name="openai-engine", daemon=True).start()
        try:
            while True:
                try:
                    item = self._items.get(timeout=TICK)
                except Empty:
                    yield None
                    continue
                if isinstance(item, _End):
                    if item.error is not None:
                        raise item.error
                    return
                yield item
                if not self._drained.is_set() and self._items.qsize() < self._capacity / 2:
                    self._drained.set()
        finally:
            self._closed.set()
            self._drained.set()


def pump(
    produce: Callable[[Emit[Item]], None], capacity: float = CAPACITY
) -> Generator[Item | None, None, None]:
    """Yield what `produce(emit)` emits from a thread of its own, None after each TICK of silence.

    An exception of `produce` is raised where the items are read. Closing the generator makes the next
    `emit` return True. At most `capacity` items wait: then `emit` blocks until the reader catches up.
    """
    return _Pump(produce, capacity).read()
