"""The engine that is not there yet: a host loads its model while the server already answers."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from ..errors import ModelLoading
from .base import ChatRequest, Engine, EngineInfo, GenerateRequest, Pieces, Scores


class DeferredEngine:
    """Passes everything on to the engine that was `set`; before that every call raises ModelLoading."""

    def __init__(self) -> None:
        self._engine: Engine | None = None
        self._lock = threading.Lock()

    def set(self, engine: Engine) -> None:
        """Serve from this engine from now on; the one before, if any, is closed."""
        with self._lock:
            before, self._engine = self._engine, engine
        if before is not None and before is not engine:
            before.close()

    @property
    def _ready(self) -> Engine:
        engine = self._engine
        if engine is None:
            raise ModelLoading("The model is still being loaded. Please try again in a moment.")
        return engine

    @property
    def info(self) -> EngineInfo:
        return self._ready.info

    def generate(self, request: GenerateRequest) -> Pieces:
        return self._ready.generate(request)

    def chat(self, request: ChatRequest) -> Pieces:
        return self._ready.chat(request)

    def render(self, request: ChatRequest) -> str:
        return self._ready.render(request)

    def score(self, tokens: Sequence[int], alternatives: int) -> Scores:
        return self._ready.score(tokens, alternatives)

    def infill(self, before: str | tuple[int, ...], after: str) -> tuple[int, ...]:
        return self._ready.infill(before, after)

    def tokenize(self, text: str) -> tuple[int, ...]:
        return self._ready.tokenize(text)

    def detokenize(self, tokens: Sequence[int]) -> str:
        return self._ready.detokenize(tokens)

    def close(self) -> None:
        with self._lock:
            engine, self._engine = self._engine, None
        if engine is not None:
            engine.close()
