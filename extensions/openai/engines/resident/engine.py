"""A resident model as an engine: each answer waits until the model is loaded, and holds it until it ends."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, TypeVar

from ...errors import EngineUnreachable, ModelChanged, NotSupported, UpstreamFailed
from ..encoders import (
    EmbeddingTask,
    EncoderEngine,
    RemoteEmbedder,
    Reranker,
    ScoreBatches,
    VectorBatches,
)
from ..protocol import (
    ChatAnswerer,
    ChatRequest,
    Engine,
    EngineInfo,
    GenerateRequest,
    Pieces,
    RemoteChat,
    run_on,
)
from ..remote.estimates import tokens_in

if TYPE_CHECKING:
    from .residents import Residents

T = TypeVar("T")

ENDING_S = 0.5
"""Within this time of a broken connection a process that crashed is gone."""
NO_TOKENIZER = "The tokens of this model are known to its own process only."


class Leased:
    """What all resident models have in common. Thread-safe."""

    def __init__(self, residents: Residents, name: str) -> None:
        self._residents, self._name = residents, name

    @property
    def info(self) -> EngineInfo:
        return self._residents.info(self._name)

    def leased(
        self, begin: Callable[[Engine], Generator[T | None, None, None]]
    ) -> Generator[T | None, None, None]:
        """Yield from `begin` once the model is loaded. Raises EngineUnreachable if its process ends, and
        ModelChanged if it is unloaded meanwhile."""
        with self._residents.lease(self._name) as lease:
            while (child := lease.wait()) is None:
                yield None
            pieces = begin(child.engine)
            try:
                for piece in pieces:
                    if lease.is_revoked:
                        raise self._unloaded()
                    yield piece
            except UpstreamFailed as error:
                if lease.is_revoked:
                    raise self._unloaded() from error
                if child.has_ended(ENDING_S):
                    raise EngineUnreachable(
                        f"The process of {self._name} has ended; it is started again."
                    ) from error
                raise
            finally:
                pieces.close()

    def _unloaded(self) -> ModelChanged:
        return ModelChanged(f"{self._name} was unloaded while this answer was being written.")

    def tokenize(self, text: str) -> tuple[int, ...]:
        """Raises NotSupported."""
        raise NotSupported(NO_TOKENIZER)

    def detokenize(self, tokens: Sequence[int]) -> str:
        """Raises NotSupported."""
        raise NotSupported(NO_TOKENIZER)

    def close(self) -> None:
        """End all resident models: they share what loads them."""
        self._residents.close()


class ResidentEngine(Leased):
    """One that writes text."""

    def answer(self, chat: RemoteChat) -> Pieces:
        """As in ChatAnswerer."""
        return self.leased(
            lambda engine: run_on(engine, ChatAnswerer, lambda answerer: answerer.answer(chat))
        )

    def generate(self, request: GenerateRequest) -> Pieces:
        return self.leased(lambda engine: engine.generate(request))

    def render(self, request: ChatRequest) -> str:
        """Raises NotSupported: the model's process has the chat template."""
        raise NotSupported(NO_TOKENIZER)

    def turn_ends(self, request: ChatRequest) -> tuple[str, ...]:
        return ()


class ResidentEncoder(Leased, EncoderEngine):
    """One that makes vectors, or scores."""

    def embed_remotely(self, task: EmbeddingTask) -> VectorBatches:
        """As in RemoteEmbedder."""
        return self.leased(
            lambda engine: run_on(engine, RemoteEmbedder, lambda other: other.embed_remotely(task))
        )

    def score_documents(self, query: str, documents: Sequence[str]) -> ScoreBatches:
        """As in Reranker."""
        return self.leased(
            lambda engine: run_on(
                engine, Reranker, lambda other: other.score_documents(query, documents)
            )
        )

    def pair_tokens(self, query: str, document: str) -> int:
        """An estimate."""
        return tokens_in(query) + tokens_in(document)
