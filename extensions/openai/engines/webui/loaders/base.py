"""The adapter of a webui's loader; `registry.py` has a row for each.

A host calls its model itself, under its own lock and in its own thread, and yields text. A `TokenAdapter`
wraps the host's call to the loaded model, recognises our requests by a value in the state that carries them
(`RequestTag`), and passes all others through.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from ...callback_bridge import Emit
from ...failures import failure_from
from ...protocol import Capability, GenerateRequest, Piece, TokenLogprob
from ...tokens.tokenizer_view import TokenizerView
from ..findings import bias_finding
from ..host import Loaded, host_args
from ..sampling.session import SamplingSession
from ..tokenizers import host_encode, host_view


@dataclass(frozen=True, slots=True)
class LoaderJob:
    """One request, ready to be generated."""

    request: GenerateRequest
    view: TokenizerView
    text: str
    """The prompt."""
    tokens: tuple[int, ...]
    """The prompt's exact tokens."""
    limit: int
    """The most tokens to sample."""
    emit: Emit[Piece | None]
    """Gets the answer's pieces; True: stop. May be called with None at any time."""
    encode: Callable[[str], tuple[int, ...]]
    """The host's tokens of a text, cached for the prompt."""
    text_so_far: Callable[[], str] | None = None
    """The model's text so far, if an extension reads what the host yields; else None."""

    def session(self) -> SamplingSession:
        """A session for adapters that take part in each step."""
        sampling = self.request.sampling
        return SamplingSession(
            self.request,
            self.view,
            self.limit,
            self.emit,
            endless=bool(sampling.get("ban_eos_token")),
            skip_special=bool(sampling.get("skip_special_tokens", True)),
        )


class LoaderGeneration(Protocol):
    """Our part in one generation. What the host yields of it is ignored."""

    @property
    def started(self) -> bool:
        """Whether the model was called."""

    @property
    def finished(self) -> bool:
        """Whether the answer's last piece was emitted."""

    @property
    def reader_left(self) -> bool: ...

    @property
    def error(self) -> BaseException | None:
        """What ended the generation too early."""

    @property
    def aborted_by_extension(self) -> bool:
        """Whether an extension ended it too early."""


def check_error(generation: LoaderGeneration) -> None:
    """Raise what ended a generation too early."""
    if generation.error is not None:
        raise failure_from(generation.error)


class LoaderAdapter:
    """What all loaders have in common. Stateless and thread-safe: methods get the currently loaded model."""

    model_class: ClassVar[str] = ""
    """The host's name of this loader's model class."""
    host_reports_samplers: ClassVar[bool] = False
    """Whether the host's `modules.logits` knows the probabilities that this loader's samplers leave."""

    def fits(self, model: Any) -> bool:
        """Whether a loaded model belongs to this loader."""
        return type(model).__name__ == self.model_class

    def parallel(self, loaded: Loaded) -> int:
        """How many requests this loader answers at once, if the host's version allows more than one."""
        return 1

    def context_limit(self, loaded: Loaded) -> int | None:
        """The most tokens that a request may use; None: unknown."""
        limit = getattr(getattr(loaded.model, "config", None), "max_position_embeddings", None)
        return limit if isinstance(limit, int) else None

    def view(self, loaded: Loaded) -> TokenizerView:
        """A view of the model's tokenizer. Cached as long as the tokenizer is the same object."""
        return host_view(loaded)

    def encode(self, loaded: Loaded, text: str) -> tuple[int, ...]:
        """The tokens of a prompt; special tokens are recognised."""
        return host_encode(text)

    def findings(self, loaded: Loaded) -> tuple[str, ...]:
        """What the host's source code says about this loader, for the operator."""
        return ()


class TokenAdapter(LoaderAdapter, ABC):
    """A loader whose generation we take part in: exact tokens, log-probabilities, grammars, and an end that
    affects no other answer."""

    exact: ClassVar[bool]
    """Whether an extension gets exactly the text of our pieces (`LoaderJob.text_so_far`); else the host
    decodes the tokens itself."""

    def capabilities(self, view: TokenizerView) -> tuple[Capability, ...]:
        """What requests may use beyond text."""
        found = (Capability.LOGPROBS,)
        return found if view.matching is None else (*found, Capability.GRAMMAR)

    @abstractmethod
    def attach(self, loaded: Loaded, job: LoaderJob, state: dict[str, Any]) -> LoaderGeneration:
        """Prepare to take part in the host's generation with this state; may modify the state."""

    @abstractmethod
    def scores(
        self, loaded: Loaded, view: TokenizerView, tokens: Sequence[int], alternatives: int
    ) -> Iterator[TokenLogprob]:
        """As an engine's `score`, under the host's lock; may block between two."""


class TextAdapter(LoaderAdapter):
    """A loader that only yields the whole text so far. Not subclassed, it stands for any such loader without
    a row of its own."""

    banned: ClassVar[float | bool] = float("-inf")
    """The loader's bias for a banned token."""

    def fits(self, model: Any) -> bool:
        if self.model_class:
            return super().fits(model)
        return hasattr(model, "generate_with_streaming")

    def findings(self, loaded: Loaded) -> tuple[str, ...]:
        return (bias_finding(loaded),)


Adapter = TokenAdapter | TextAdapter


def server_slots() -> int:
    """How many slots llama.cpp's server was started with."""
    return int(getattr(host_args(), "parallel", 1) or 1)
