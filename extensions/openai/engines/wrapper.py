"""An engine that forwards every method to another one.

What only some engines can do goes through `run` and `ask` (see `protocol.run_on`). A class that changes part
of an engine's behaviour derives from this and overrides that part.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Sequence
from typing import TypeVar

from .protocol import ChatRequest, Engine, EngineInfo, GenerateRequest, Pieces

T = TypeVar("T")


class EngineWrapper(ABC):
    """Forwards everything to an inner engine."""

    @property
    @abstractmethod
    def _inner(self) -> Engine:
        """The current inner engine."""

    def run(self, begin: Callable[[Engine], Generator[T, None, None]]) -> Generator[T, None, None]:
        """As in Forwarding."""
        return begin(self._inner)

    def ask(self, question: Callable[[Engine], T]) -> T:
        """As in Forwarding."""
        return question(self._inner)

    @property
    def info(self) -> EngineInfo:
        return self._inner.info

    def generate(self, request: GenerateRequest) -> Pieces:
        return self.run(lambda engine: engine.generate(request))

    def render(self, request: ChatRequest) -> str:
        return self._inner.render(request)

    def turn_ends(self, request: ChatRequest) -> tuple[str, ...]:
        return self._inner.turn_ends(request)

    def tokenize(self, text: str) -> tuple[int, ...]:
        return self._inner.tokenize(text)

    def detokenize(self, tokens: Sequence[int]) -> str:
        return self._inner.detokenize(tokens)

    def close(self) -> None:
        self._inner.close()
