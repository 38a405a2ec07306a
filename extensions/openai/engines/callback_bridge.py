"""Turns a back end that pushes items through callbacks into a generator that is pulled.

A generator cannot be resumed from inside the call that feeds it, so `iterate_callback` runs that call in its
own thread. Switching threads costs more than all our other work for a token. `run_inline` as the outermost
reader avoids it: the reader's thread makes the call and passes items on inside the callbacks.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")

TICK_S = 0.2  # of silence, after which None is yielded
MAX_WAITING_ITEMS = 256  # for a slow reader, before the producer is held
IDLE_TICKS = 50  # without work, after which the clock's thread ends

Emit = Callable[[Item], bool]
"""Pass an item on; True means the reader has left: stop."""

Produce = Callable[[Emit[Item]], None]


def iterate_callback(
    produce: Produce[Item], *, own_thread: bool = False
) -> Generator[Item | None, None, None]:
    """Yield what `produce(emit)` emits, None after each TICK_S of silence.

    An exception in `produce` is raised where the items are read. Closing the generator makes the next
    `emit` return True. In its own thread, `produce` may be MAX_WAITING_ITEMS items ahead of the reader, then
    `emit` blocks. `own_thread`: always use a separate thread, and never block in `emit`.
    """
    return _CallbackIterator(produce, own_thread=own_thread).read()


def run_inline(
    items: Generator[Item | None, None, None], deliver: Callable[[Item | None], object]
) -> None:
    """Read `items` to the end, pass each to `deliver` (Nones too), then close them.

    An `iterate_callback` in the generator chain runs its producer in this call. `deliver` may be called
    from several threads, never concurrently; it gets None at least every TICK_S, and whenever the next
    item may take long. An exception from `items` or `deliver` ends the work, and is raised here once the
    producer has ended.
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
        self._inline: _InlineRun[Any] | None = None
        self.is_inline = False
        """Whether an inline run calls the producer or is about to."""

    def emit(self, item: Item) -> bool:
        self._items.put(item)
        if self._inline is not None:
            self._inline.advance()
        elif not self._own_thread:
            while self._items.qsize() > MAX_WAITING_ITEMS and not self._closed:
                self._drained.clear()
                self._drained.wait(TICK_S)
        return self._closed

    def run(self) -> None:
        try:
            self._produce(self.emit)
        except BaseException as error:  # raised again where the items are read
            # Unread, it would keep what its frames hold (a whole model) until the next collection.
            self._items.put(_End(None if self._closed else error))
        else:
            self._items.put(_End(None))

    def read(self) -> Generator[Item | None, None, None]:
        try:
            yield from self._begin()
            while True:
                if self.is_inline and self._items.empty():
                    yield None
                    continue
                try:
                    item = self._items.get(timeout=TICK_S)
                except Empty:
                    yield None
                    continue
                if isinstance(item, _End):
                    if item.error is not None:
                        raise item.error
                    return
                yield item
                if not self._drained.is_set() and self._items.qsize() < MAX_WAITING_ITEMS // 2:
                    self._drained.set()
        finally:
            self._closed = True
            self._drained.set()

    def _begin(self) -> Generator[None, None, None]:
        """Let the inline run that reads this iterator call the producer, or start a thread for it."""
        self._inline = None if self._own_thread else _here.run
        if self._inline is not None:
            self._inline.offer(self)
            yield None
        if not self.is_inline:  # there is no inline run, or a stage in between swallowed the None
            self._inline = None
            threading.Thread(target=self.run, name="openai-engine", daemon=True).start()


class _InlineRun(Generic[Item]):
    """Reads in the thread that has something new, one thread at a time."""

    def __init__(
        self,
        items: Generator[Item | None, None, None],
        deliver: Callable[[Item | None], object],
    ) -> None:
        self._items = items
        self._deliver = deliver
        self._turn = threading.Lock()
        self._offered: _CallbackIterator[Any] | None = None
        self._is_producing = False
        """Whether a producer is running, so that None comes before a reader has to wait."""
        self._over = False
        self._error: BaseException | None = None

    def offer(self, producer: _CallbackIterator[Any]) -> None:
        """Called by an iterator on its first read, that is inside `advance`."""
        self._offered = producer

    def run(self) -> None:
        while not self.advance():
            producer, self._offered = self._offered, None
            if producer is not None:
                self._is_producing = True
                _clock.add(self)
                try:
                    producer.run()
                finally:
                    self._is_producing = False
                    _clock.remove(self)
        if self._error is not None:
            raise self._error

    def advance(self) -> bool:
        """Deliver the available items, up to a None; True at the end of the items."""
        with self._turn:
            return self._advance()

    def tick(self) -> None:
        """The same, unless another thread is doing it right now."""
        if self._turn.acquire(blocking=False):
            try:
                self._advance()
            finally:
                self._turn.release()

    def _advance(self) -> bool:
        if self._over:
            return True
        outer, _here.run = _here.run, self
        try:
            for item in self._items:
                self._deliver(item)
                if item is None:
                    if self._offered is not None:
                        self._offered.is_inline = True
                    return False
                if not self._is_producing:
                    self._deliver(None)
        except BaseException as error:  # raised again in `run`
            self._error = error
        finally:
            _here.run = outer
        self._over = True
        try:
            self._items.close()
        except BaseException as error:  # this may be the clock's thread, which other runs need
            self._error = self._error or error
        return True


class _Here(threading.local):
    """The inline run that is reading in this thread."""

    run: _InlineRun[Any] | None = None


class _Clock:
    """Ticks for all inline runs with a running producer. Its thread ends when there are none."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inlines: set[_InlineRun[Any]] = set()
        self._running = False

    def add(self, run: _InlineRun[Any]) -> None:
        with self._lock:
            self._inlines.add(run)
            if not self._running:
                self._running = True
                threading.Thread(target=self._run, name="openai-clock", daemon=True).start()

    def remove(self, run: _InlineRun[Any]) -> None:
        with self._lock:
            self._inlines.discard(run)

    def _run(self) -> None:
        idle = 0
        while True:
            time.sleep(TICK_S)
            with self._lock:
                runs = tuple(self._inlines)
                idle = 0 if runs else idle + 1
                if idle > IDLE_TICKS:
                    self._running = False
                    return
            for each in runs:
                each.tick()


_here = _Here()
_clock = _Clock()
