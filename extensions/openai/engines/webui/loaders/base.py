"""How we take part in what a webui's loaders generate: what a way is. The ways are in `registry.py`.

A host calls its model itself, under its own lock and in a thread of its own; what it hands back is text.
A way wraps the call that it makes of the loaded model, recognises our requests by a number in the state that
carries them (`RequestTag`), and lets all others pass.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ...callback_bridge import Emit, iterate_callback
from ...failures import failure_from
from ...protocol import Capability, GenerateRequest, Piece, TokenLogprob
from ...tokens.tokenizer_view import TokenizerView
from ..host import Loaded
from ..sampling_steps import SamplingSession

PAUSE = 0.02  # seconds between two texts for an extension
LAST_STEP = 30.0  # seconds, at most, that a model needs to come to the end of a step

log = logging.getLogger("openedai")


@dataclass(frozen=True, slots=True)
class Job:
    """One request, ready to be generated."""

    request: GenerateRequest
    words: TokenizerView
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

    def steps(self) -> SamplingSession:
        """Its generation, where a way takes part in each step."""
        sampling = self.request.sampling
        return SamplingSession(
            self.request,
            self.words,
            self.limit,
            self.emit,
            endless=bool(sampling.get("ban_eos_token")),
            skip_special=bool(sampling.get("skip_special_tokens", True)),
        )


def as_it_grows(
    heard: Callable[[], str], produce: Callable[[Callable[[], bool]], object]
) -> Iterator[str]:
    """Yield the text so far as it grows, while `produce` makes it in a thread of its own, which asks behind
    each piece whether to stop.

    A fast model's pieces are yielded several at once: each time costs two changes of threads, and all that
    the host and its extension do with a text.
    """
    closed, over = threading.Event(), threading.Event()

    def run(emit: Emit[bool]) -> None:
        told = 0.0

        def tell() -> bool:
            nonlocal told
            now = time.monotonic()
            if now - told >= PAUSE:
                told = now
                emit(True)
            return closed.is_set()

        try:
            produce(tell)
        finally:
            over.set()

    text, grown = "", iterate_callback(run, own_thread=True)
    try:
        for _ in grown:
            if len(heard()) > len(text):
                text = heard()
                yield text
    finally:
        closed.set()
        grown.close()
        over.wait(LAST_STEP)  # the next request finds the model free
    if len(heard()) > len(text):
        yield heard()


class Part(Protocol):
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
        """What ended the generation before its time."""

    @property
    def dropped(self) -> bool:
        """Whether an extension has ended it so."""


def check_error(part: Part) -> None:
    """Raise what ended our part in a generation before its time."""
    if part.error is not None:
        raise failure_from(part.error)


class LoaderAdapter(Protocol):
    """One way in. Holds nothing: it is asked from any thread, with the model that is loaded right now."""

    exact: bool
    """Whether an extension gets the very text of our pieces (`Job.heard`), else what the host makes of the
    tokens."""

    def capabilities(self, loaded: Loaded, words: TokenizerView) -> tuple[Capability, ...]:
        """What requests may ask for beyond text, in the words of EngineInfo."""

    def words(self, loaded: Loaded) -> TokenizerView:
        """The tokens of the model. Kept as long as the tokenizer is the same object."""

    def join(self, loaded: Loaded, job: Job, state: dict[str, Any]) -> Part:
        """Take part in the generation that the host is about to be asked for with this state, which may
        be changed."""

    def scores(
        self, loaded: Loaded, words: TokenizerView, tokens: Sequence[int], alternatives: int
    ) -> Iterator[TokenLogprob]:
        """As an engine's `score`, under the host's lock; may block between two."""
