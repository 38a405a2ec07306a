"""An engine that can be replaced: a host loads, changes and unloads models while the server runs."""

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
"""How long evicted answers may take to end; longer only if their clients do not read."""

T = TypeVar("T")


class SwappableEngine(EngineWrapper):
    """Forwards to the engine that was `set`; without one, every call raises ModelLoading."""

    def __init__(self) -> None:
        self._engine: Engine | None = None
        self._missing = LOADING
        self._changed = threading.Condition()
        self._switching = threading.Lock()
        self._suspended = False
        self._evicting = False
        self._running = 0

    def set(self, engine: Engine) -> None:
        """Serve from this engine from now on; close the previous one."""
        with self._changed:
            before, self._engine = self._engine, engine
        if before is not None and before is not engine:
            before.close()

    def clear(self) -> None:
        """Serve from no engine; close the previous one."""
        with self._changed:
            before, self._engine = self._engine, None
            self._missing = NOTHING
        if before is not None:
            before.close()

    @contextmanager
    def suspended(self, drain_timeout: float) -> Iterator[None]:
        """No work runs or starts inside the block.

        Running answers get `drain_timeout` seconds to end, then they fail with ModelChanged. Only one thread
        at a time is in such a block.
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
        """The engine that is set now. Once another one is set, the snapshot forwards to that."""
        engine = self._inner
        return _Snapshot(self, engine, snapshot_of(engine))

    def close(self) -> None:
        self.clear()

    def run(self, begin: Callable[[Engine], Generator[T, None, None]]) -> Generator[T, None, None]:
        """Yield from `begin`, counted as running work, and end it when the model is unloaded."""
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
    """The engine as one request sees it; its work is counted by the SwappableEngine."""

    def __init__(self, front: SwappableEngine, engine: Engine, pinned: Engine) -> None:
        """`pinned` is the snapshot of `engine`, the engine when the request came."""
        self._front, self._engine, self._pinned = front, engine, pinned
        self._info = pinned.info

    def _resolve(self, engine: Engine) -> Engine:
        return self._pinned if engine is self._engine else engine

    @property
    def _inner(self) -> Engine:
        return self._resolve(self._front._inner)

    @property
    def info(self) -> EngineInfo:
        engine = self._front._inner
        return self._info if engine is self._engine else engine.info

    def run(self, begin: Callable[[Engine], Generator[T, None, None]]) -> Generator[T, None, None]:
        return self._front.run(lambda engine: begin(self._resolve(engine)))
