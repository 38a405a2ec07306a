"""What an adapter of a webui's loader is; `registry.py` has a row for each.

A host calls its model itself, under its own lock and in a thread of its own; what it hands back is text.
A `TokenAdapter` wraps the call that the host makes of the loaded model, recognises our requests by a value in
the state that carries them (`RequestTag`), and lets all others pass.
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
    """Gets the answer's pieces; True: stop. It may be asked with None at any time."""
    encode: Callable[[str], tuple[int, ...]]
    """The tokens that the host makes of a text, remembered for the prompt."""
    heard: Callable[[], str] | None = None
    """All that the model has said so far, where an extension reads what the host yields; else None."""

    def session(self) -> SamplingSession:
        """Its generation, where an adapter takes part in each step."""
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
    """Our part in one generation. What the host yields of it is not looked at."""

    @property
    def begun(self) -> bool:
        """Whether the model was asked at all."""

    @property
    def finished(self) -> bool:
        """Whether the answer's last piece was emitted."""

    @property
    def left(self) -> bool:
        """Whether the reader has left."""

    @property
    def error(self) -> BaseException | None:
        """What ended the generation too early."""

    @property
    def dropped(self) -> bool:
        """Whether an extension ended it too early."""


def check_error(generation: LoaderGeneration) -> None:
    """Raise what ended a generation too early."""
    if generation.error is not None:
        raise failure_from(generation.error)


class LoaderAdapter:
    """One loader, as far as all loaders are alike. Holds nothing: it is asked from any thread, with the model
    that is loaded right now."""

    model_class: ClassVar[str] = ""
    """The name of the class that the host has for this loader's models."""

    def fits(self, model: Any) -> bool:
        """Whether a loaded model is one of this loader's."""
        return type(model).__name__ == self.model_class

    def parallel(self, loaded: Loaded) -> int:
        """How many requests the host lets this loader answer at once, in versions that let any do so."""
        return 1

    def context_limit(self, loaded: Loaded) -> int | None:
        """The most tokens that a request may use, where the loader says so."""
        most = getattr(getattr(loaded.model, "config", None), "max_position_embeddings", None)
        return most if isinstance(most, int) else None

    def view(self, loaded: Loaded) -> TokenizerView:
        """The tokens of the model. Kept as long as the tokenizer is the same object."""
        return host_view(loaded)

    def encode(self, loaded: Loaded, text: str) -> tuple[int, ...]:
        """A text's tokens as a prompt, special ones recognised."""
        return host_encode(text)

    def findings(self, loaded: Loaded) -> tuple[str, ...]:
        """What was found out about this loader by looking at the host's source, for the operator."""
        return ()


class TokenAdapter(LoaderAdapter, ABC):
    """A loader whose generations we take part in: exact tokens, log-probabilities, grammars, and an end that
    touches no other answer."""

    exact: ClassVar[bool]
    """Whether an extension gets the very text of our pieces (`LoaderJob.heard`), else what the host makes of
    the tokens."""

    def capabilities(self, view: TokenizerView) -> tuple[Capability, ...]:
        """What requests may ask for beyond text."""
        can = (Capability.LOGPROBS,)
        return can if view.matching is None else (*can, Capability.GRAMMAR)

    @abstractmethod
    def attach(self, loaded: Loaded, job: LoaderJob, state: dict[str, Any]) -> LoaderGeneration:
        """Take part in the generation that the host is about to be asked for with this state, which may
        be changed."""

    @abstractmethod
    def scores(
        self, loaded: Loaded, view: TokenizerView, tokens: Sequence[int], alternatives: int
    ) -> Iterator[TokenLogprob]:
        """As an engine's `score`, under the host's lock; may block between two."""


class TextAdapter(LoaderAdapter):
    """A loader that hands over the whole text so far, and that is all. By itself it is any such loader that
    has no row of its own."""

    banned: ClassVar[float | bool] = float("-inf")
    """The bias by which the loader never samples a token."""

    def fits(self, model: Any) -> bool:
        if self.model_class:
            return super().fits(model)
        return hasattr(model, "generate_with_streaming")

    def findings(self, loaded: Loaded) -> tuple[str, ...]:
        return (bias_finding(loaded),)


Adapter = TokenAdapter | TextAdapter
"""A loader's adapter is one of the two."""


def server_slots() -> int:
    """The slots that llama.cpp's server was started with."""
    return int(getattr(host_args(), "parallel", 1) or 1)
