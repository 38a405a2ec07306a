"""Engines that read texts and write none: into vectors, or into scores of pairs.

They stand beside the chat model, under names of their own. `EncoderEngine` is an engine as all others are, so
that it is served, counted and closed like them; what continues prompts is refused before it gets here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from ..errors import NotSupported
from .protocol import ChatRequest, EngineInfo, GenerateRequest, Pieces

Input = str | tuple[int, ...]
"""A text, which gets the special tokens that the model wants around it; or token ids, as they are."""


@dataclass(frozen=True, slots=True)
class Vectors:
    """The vectors of the next inputs."""

    vectors: tuple[Sequence[float], ...]
    """One for each input, of length 1."""
    tokens: int
    """Of all these inputs together, special ones included."""


@dataclass(frozen=True, slots=True)
class Scores:
    """The scores of the next documents."""

    scores: tuple[float, ...]
    """As the model's head writes them: logits, higher is better."""
    tokens: int
    """Of the query with each document."""
    are_relevances: bool = False
    """Whether they are from 0 to 1 in place of logits, as other servers answer."""


VectorBatches = Generator["Vectors | None", None, None]
"""Batches in the order of the inputs. None as in `protocol.Pieces`; closing it ends the work after the batch
that is being computed."""
ScoreBatches = Generator["Scores | None", None, None]


@runtime_checkable
class Embedder(Protocol):
    """Capability `embeddings`."""

    def embed(self, inputs: Sequence[Input]) -> VectorBatches:
        """The vector of each input, the same whatever else is computed.

        Each input has at most `info.context_length` tokens. Raises EngineFailed.
        """


@dataclass(frozen=True, slots=True)
class EmbeddingTask:
    """Inputs for a model that another server has, which cuts and shortens by itself."""

    inputs: tuple[Input, ...]
    dimensions: int | None = None
    truncate_to: int | None = None
    """Tokens to cut inputs to; -1: as many as the model reads; None: they are not cut."""


@runtime_checkable
class RemoteEmbedder(Protocol):
    """Capability `embeddings`, where `info.is_remote`."""

    def embed_remotely(self, task: EmbeddingTask) -> VectorBatches:
        """The vector of each input. Raises InvalidRequest, EngineFailed."""


@runtime_checkable
class Reranker(Protocol):
    """Capability `rerank`."""

    def score_documents(self, query: str, documents: Sequence[str]) -> ScoreBatches:
        """How well each document answers the query. Each fits into the context together with the query.
        Raises EngineFailed."""

    def pair_tokens(self, query: str, document: str) -> int:
        """The tokens of both together, special ones included; an upper bound."""


class EncoderEngine(ABC):
    """The rest of an engine, for those that only read."""

    @property
    @abstractmethod
    def info(self) -> EngineInfo: ...

    def generate(self, request: GenerateRequest) -> Pieces:
        raise self._refusal()

    def render(self, request: ChatRequest) -> str:
        raise self._refusal()

    def turn_ends(self, request: ChatRequest) -> tuple[str, ...]:
        return ()

    @abstractmethod
    def tokenize(self, text: str) -> tuple[int, ...]: ...

    @abstractmethod
    def detokenize(self, tokens: Sequence[int]) -> str: ...

    @abstractmethod
    def close(self) -> None: ...

    def _refusal(self) -> NotSupported:
        return NotSupported(f"The model {self.info.model} answers no chats and continues no texts.")
