"""An engine in front of another one: everything that engines can do, passed on, in one place.

A class that changes a part of what an engine does derives from this and overrides that part.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Sequence
from typing import TypeVar

from .protocol import (
    ChatRequest,
    Engine,
    EngineInfo,
    GenerateRequest,
    Pieces,
    Scores,
    infill_of,
    scorer_of,
)

T = TypeVar("T")


class EngineWrapper(ABC):
    """Passes everything on to the engine behind it. What that one cannot do raises EngineFailed; as always,
    `info.capabilities` says what there is."""

    @property
    @abstractmethod
    def _inner(self) -> Engine:
        """The engine behind this one, at this moment."""

    def _run(self, begin: Callable[[Engine], Generator[T, None, None]]) -> Generator[T, None, None]:
        """What `begin` makes of the engine: an answer under way, or scores."""
        return begin(self._inner)

    @property
    def info(self) -> EngineInfo:
        return self._inner.info

    def generate(self, request: GenerateRequest) -> Pieces:
        return self._run(lambda engine: engine.generate(request))

    def render(self, request: ChatRequest) -> str:
        return self._inner.render(request)

    def turn_ends(self, request: ChatRequest) -> tuple[str, ...]:
        return self._inner.turn_ends(request)

    def tokenize(self, text: str) -> tuple[int, ...]:
        return self._inner.tokenize(text)

    def detokenize(self, tokens: Sequence[int]) -> str:
        return self._inner.detokenize(tokens)

    def score(self, tokens: Sequence[int], alternatives: int) -> Scores:
        return self._run(lambda engine: scorer_of(engine).score(tokens, alternatives))

    def infill(self, before: str | tuple[int, ...], after: str) -> tuple[int, ...]:
        return infill_of(self._inner).infill(before, after)

    def close(self) -> None:
        self._inner.close()
