"""The engine that comes and goes: a host loads, changes and unloads models while the server answers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from typing import TypeVar

from ..errors import ModelChanged, ModelLoading
from .protocol import Engine, EngineInfo, snapshot_of
from .wrapper import EngineWrapper

LOADING = "The model is still being loaded. Please try again in a moment."
CHANGING = "The model is being changed. Please try again in a moment."
NOTHING = "No model is loaded."

EVICTION_TIMEOUT_S = 5.0
"""In which answers that have to end have ended, or their clients do not read."""

T = TypeVar("T")


class SwappableEngine(EngineWrapper):
    """Passes everything on to the engine that was `set`; while there is none every call raises
    ModelLoading."""

    def __init__(self) -> None:
        self._engine: Engine | None = None
        self._missing = LOADING
        self._changed = threading.Condition()
        self._switching = threading.Lock()
        self._suspended = False
        self._evicting = False
        self._running = 0

    def set(self, engine: Engine) -> None:
        """Serve from this engine from now on; the one before, if any, is closed."""
        with self._changed:
            before, self._engine = self._engine, engine
        if before is not None and before is not engine:
            before.close()

    def clear(self) -> None:
        """Serve from none from now on; the one before, if any, is closed."""
        with self._changed:
            before, self._engine = self._engine, None
            self._missing = NOTHING
        if before is not None:
            before.close()

    @contextmanager
    def suspended(self, drain_timeout: float) -> Iterator[None]:
        """While the block runs no work begins, and none is under way.

        Before, answers may end for `drain_timeout` seconds; those that have not are ended with ModelChanged.
        Blocks of several threads wait for each other.
        """
        with self._switching:
            with self._changed:
                self._suspended = True
                if not self._changed.wait_for(lambda: self._running == 0, drain_timeout):
                    self._evicting = True
                    self._changed.wait_for(lambda: self._running == 0, EVICTION_TIMEOUT_S)
            try:
                yield
            finally:
                with self._changed:
                    self._suspended = self._evicting = False

    @property
    def _inner(self) -> Engine:
        engine = self._engine
        if self._suspended:
            raise ModelLoading(CHANGING)
        if engine is None:
            raise ModelLoading(self._missing)
        return engine

    def snapshot(self) -> Engine:
        """As the engine that is set now. Once there is another one, all goes on with that."""
        engine = self._inner
        return _Snapshot(self, engine, snapshot_of(engine))

    def close(self) -> None:
        self.clear()

    def run(self, begin: Callable[[Engine], Generator[T, None, None]]) -> Generator[T, None, None]:
        """What `begin` yields, counted as under way, and ended when the model is taken away."""
        with self._changed:
            engine = self._inner
            self._running += 1
        try:
            with closing(begin(engine)) as work:
                for piece in work:
                    if self._evicting:
                        raise ModelChanged(
                            "The model was changed while this answer was being written."
                        )
                    yield piece
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()


class _Snapshot(EngineWrapper):
    """What one request sees: its work counts as that of the engine in front."""

    def __init__(self, front: SwappableEngine, engine: Engine, pinned: Engine) -> None:
        """`pinned` is the snapshot of `engine`, which was set when the request came."""
        self._front, self._engine, self._pinned = front, engine, pinned
        self._info = pinned.info

    def _seen(self, engine: Engine) -> Engine:
        return self._pinned if engine is self._engine else engine

    @property
    def _inner(self) -> Engine:
        return self._seen(self._front._inner)

    @property
    def info(self) -> EngineInfo:
        engine = self._front._inner
        return self._info if engine is self._engine else engine.info

    def run(self, begin: Callable[[Engine], Generator[T, None, None]]) -> Generator[T, None, None]:
        return self._front.run(lambda engine: begin(self._seen(engine)))
