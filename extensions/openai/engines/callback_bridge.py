"""From a back end that pushes (callbacks, in its own time) to a generator that is pulled.

A generator cannot be resumed from inside of the very call that feeds it, so `iterate_callback` gives that
call a thread of its own. Changing threads costs more than all else that we do for a token. Where the
outermost reader is `run_inline` it is spared: the reader's thread makes the call, and items are passed on
inside of its callbacks.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")

TICK = 0.2  # seconds of silence after which None is yielded
CAPACITY = 256  # items that may wait for a slow reader before the producer is held
LINGER = 50  # ticks without work after which the clock's thread ends

Emit = Callable[[Item], bool]
"""Hand an item over; True means: the reader has left, stop."""

Produce = Callable[[Emit[Item]], None]


def iterate_callback(
    produce: Produce[Item], *, own_thread: bool = False
) -> Generator[Item | None, None, None]:
    """Yield what `produce(emit)` emits, None after each TICK of silence.

    An exception of `produce` is raised where the items are read. Closing the generator makes the next
    `emit` return True. In a thread of its own `produce` may be CAPACITY items ahead of the reader: then
    `emit` blocks until it catches up. `own_thread`: always in a thread of its own, and never held up by a
    slow reader.
    """
    return _CallbackIterator(produce, own_thread=own_thread).read()


def run_inline(
    items: Generator[Item | None, None, None], deliver: Callable[[Item | None], object]
) -> None:
    """Read `items` to the end and hand each to `deliver`, Nones too; then close them.

    A pump among what they are made of runs its producer in here. `deliver` may be called from several
    threads, never twice at once; it gets None at least every TICK, and whenever the next item may be long
    in coming. What `items` or `deliver` raises ends the work, and is raised here as soon as the producer
    has ended.
    """
    _InlineRun(items, deliver).run()


class _End:
    """The last item: how production ended."""

    __slots__ = ("error",)

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


class _CallbackIterator(Generic[Item]):
    """One producer, one reader."""

    def __init__(self, produce: Produce[Item], *, own_thread: bool) -> None:
        self._produce = produce
        self._own_thread = own_thread
        self._items: SimpleQueue[Item | _End] = SimpleQueue()
        self._closed = False
        self._drained = threading.Event()
        self._drive: _InlineRun[Any] | None = None
        self.driven = False
        """Whether a drive runs the producer, or is about to."""

    def emit(self, item: Item) -> bool:
        self._items.put(item)
        if self._drive is not None:
            self._drive.advance()
        elif not self._own_thread:
            while self._items.qsize() > CAPACITY and not self._closed:
                self._drained.clear()
                self._drained.wait(TICK)
        return self._closed

    def run(self) -> None:
        try:
            self._produce(self.emit)
        except BaseException as error:  # it is raised again where the items are read
            # Unread, it would keep what its frames hold (a whole model) until the next collection.
            self._items.put(_End(None if self._closed else error))
        else:
            self._items.put(_End(None))

    def read(self) -> Generator[Item | None, None, None]:
        try:
            yield from self._begin()
            while True:
                if self.driven and self._items.empty():
                    yield None
                    continue
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
                if not self._drained.is_set() and self._items.qsize() < CAPACITY // 2:
                    self._drained.set()
        finally:
            self._closed = True
            self._drained.set()

    def _begin(self) -> Generator[None, None, None]:
        """Let the drive that reads this take the producer, or start a thread for it."""
        self._drive = None if self._own_thread else _here.run_inline
        if self._drive is not None:
            self._drive.offer(self)
            yield None
        if not self.driven:  # none drives it, or a stage in between has kept the None
            self._drive = None
            threading.Thread(target=self.run, name="openai-engine", daemon=True).start()


class _InlineRun(Generic[Item]):
    """Reads from whatever thread has something new, one at a time."""

    def __init__(
        self,
        items: Generator[Item | None, None, None],
        deliver: Callable[[Item | None], object],
    ) -> None:
        self._items = items
        self._deliver = deliver
        self._turn = threading.Lock()
        self._offered: _CallbackIterator[Any] | None = None
        self._pumped = False  # a pump is at work, and says None before anybody has to wait
        self._over = False
        self._error: BaseException | None = None

    def offer(self, iterate_callback: _CallbackIterator[Any]) -> None:
        """Called by a pump that is read for the first time, so inside of `advance`."""
        self._offered = iterate_callback

    def run(self) -> None:
        while not self.advance():
            iterate_callback, self._offered = self._offered, None
            if iterate_callback is not None:
                self._pumped = True
                _clock.add(self)
                try:
                    iterate_callback.run()
                finally:
                    self._pumped = False
                    _clock.remove(self)
        if self._error is not None:
            raise self._error

    def advance(self) -> bool:
        """Deliver what there is, up to a None; True when nothing more will come."""
        with self._turn:
            return self._advance()

    def tick(self) -> None:
        """The same, unless it is being done right now."""
        if self._turn.acquire(blocking=False):
            try:
                self._advance()
            finally:
                self._turn.release()

    def _advance(self) -> bool:
        if self._over:
            return True
        outer, _here.run_inline = _here.run_inline, self
        try:
            for item in self._items:
                self._deliver(item)
                if item is None:
                    if self._offered is not None:
                        self._offered.driven = True
                    return False
                if not self._pumped:
                    self._deliver(None)
        except BaseException as error:  # it is raised again where the drive was begun
            self._error = error
        finally:
            _here.run_inline = outer
        self._over = True
        try:
            self._items.close()
        except BaseException as error:  # the clock's thread may be here, and ticks for others too
            self._error = self._error or error
        return True


class _Here(threading.local):
    """The drive that is reading in this thread."""

    run_inline: _InlineRun[Any] | None = None


class _Clock:
    """Ticks for all drives whose producers are at work. Its thread ends when there is nothing to do."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._drives: set[_InlineRun[Any]] = set()
        self._running = False

    def add(self, run_inline: _InlineRun[Any]) -> None:
        with self._lock:
            self._drives.add(run_inline)
            if not self._running:
                self._running = True
                threading.Thread(target=self._run, name="openai-clock", daemon=True).start()

    def remove(self, run_inline: _InlineRun[Any]) -> None:
        with self._lock:
            self._drives.discard(run_inline)

    def _run(self) -> None:
        idle = 0
        while True:
            time.sleep(TICK)
            with self._lock:
                drives = tuple(self._drives)
                idle = 0 if drives else idle + 1
                if idle > LINGER:
                    self._running = False
                    return
            for each in drives:
                each.tick()


_here = _Here()
_clock = _Clock()
