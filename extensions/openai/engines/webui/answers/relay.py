"""Answers that pass through another extension of the host (`custom_generate_reply`).

Such an extension stands between the host and its model. Many pass on what the host's own function says, and
do something else only now and then. So ours goes on as if it were not there, with exact tokens and
log-probabilities, but what the model says is held back until the extension has said the same. From the first
difference on, what the extension says is the answer.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ....errors import APIError, ExtensionFailed, InvalidRequest
from ...callback_bridge import TICK_S, Emit
from ...failures import taken_away
from ...protocol import CUT, Finish, GenerateRequest, Piece, PromptUsage
from ..host import Loaded, host_module, host_reply
from ..loaders.base import LoaderGeneration, LoaderJob, TokenAdapter, check_error

log = logging.getLogger("openedai")

contradicting: set[str] = set()
"""Extensions that have changed what was sent already: their answers are sent when they are whole."""


def answer_through(
    extension: str,
    adapter: TokenAdapter,
    loaded: Loaded,
    job: LoaderJob,
    state: dict[str, Any],
    count: Callable[[str], int],
) -> bool:
    """Answer a request through an extension that generates in the model's place, or passes it on.

    `count`: the tokens of a text. Whether the answer is whole; if not, the reader has left.
    """
    relay = Relay(extension, job.request, job.emit, exact=adapter.exact, count=count)
    relayed = replace(job, emit=relay.take, heard=lambda: relay.text)
    generation = adapter.attach(loaded, relayed, state)
    replies = host_reply(job.text, state)
    try:
        for said in replies:
            if relay.hear(str(said), generation):
                return False
    except APIError:
        raise
    except Exception as error:
        log.exception("the extension %s failed in custom_generate_reply", extension)
        raise ExtensionFailed(
            f"The extension '{extension}' failed in its custom_generate_reply "
            f"({type(error).__name__}). Turn it off in the web UI."
        ) from None
    finally:
        replies.close()
    if generation.left:
        return False
    if relay.passes and not generation.dropped:
        check_error(generation)
    if not (relay.heard or generation.begun) and host_module("shared").model is not loaded.model:
        raise taken_away()
    relay.end(generation, len(job.tokens))
    return True


@dataclass(slots=True)
class _Held:
    """A piece that the model has said, and the extension not yet."""

    end: int
    """The letters of the answer up to its end."""
    piece: Piece


class Relay:
    """One answer. `take` may be called from the model's thread while `hear` is from the host's."""

    def __init__(
        self,
        extension: str,
        request: GenerateRequest,
        emit: Emit[Piece | None],
        *,
        exact: bool,
        count: Callable[[str], int],
    ) -> None:
        """`exact`: the host says what the model says letter by letter, else it makes its own text of the
        tokens, with other blanks, and loses characters that are incomplete. `count`: the tokens of a text."""
        self.extension = extension
        self._request, self._emit, self._count = request, emit, count
        self._exact = exact
        self._live = not request.whole and extension not in contradicting
        self._lock = threading.Lock()
        self._held: deque[_Held] = deque()
        self._finish: Finish | None = None
        self._tokens = 0
        self._prompt: PromptUsage | None = None
        self.text = ""
        """What the model has said so far."""
        self._model = ""
        """The same, as far as it can be compared."""
        self._lost: set[int] = set()
        """Where in that a character is incomplete."""
        self._sent = 0
        """How much of the extension's text was sent, likewise."""
        self.heard = ""
        """What the extension has said so far."""
        self._differs = False
        self._left = False
        self._emitted_at = time.monotonic()

    @property
    def passes(self) -> bool:
        """Whether the extension has said nothing else than the model."""
        return not self._differs

    # The model's side

    def take(self, piece: Piece | None) -> bool:
        """A piece of the model's answer; whether to stop."""
        with self._lock:
            if piece is not None:
                self._add(piece)
            if time.monotonic() - self._emitted_at >= TICK_S:  # the extension is silent
                self._emit_counts()
            return self._left

    def _add(self, piece: Piece) -> None:
        self.text += piece.text
        self._model += self._comparable(piece.text)
        if CUT in piece.text:
            self._lost.add(len(self._model))
        self._finish = self._finish or piece.finish
        self._tokens += piece.tokens
        self._prompt = self._prompt or piece.prompt
        # How the answer ends, the extension decides.
        self._held.append(_Held(len(self._model), replace(piece, finish=None)))

    def _comparable(self, text: str) -> str:
        if self._exact:
            return text
        if self._request.sampling.get("skip_special_tokens", True):
            for mark in self._request.marks:
                text = text.replace(mark, "")
        return "".join(text.replace(CUT, "").split())

    def _emit_piece(self, piece: Piece | None) -> None:
        self._emitted_at = time.monotonic()
        self._left = self._emit(piece) or self._left

    def _emit_counts(self) -> None:
        """Report what is counted, though its text is held back; so it is seen whether the reader has left."""
        counts = Piece(
            tokens=sum(held.piece.tokens for held in self._held),
            prompt=next((held.piece.prompt for held in self._held if held.piece.prompt), None),
        )
        for held in self._held:
            held.piece = replace(held.piece, tokens=0, prompt=None)
        self._emit_piece(counts if counts.tokens or counts.prompt else None)

    # The host's side

    def hear(self, said: str, generation: LoaderGeneration) -> bool:
        """All that the extension has said so far; whether to stop.

        Raises InvalidRequest where it generates by itself and the request needs the model's own answer.
        """
        with self._lock:
            self.heard = said
            heard = said if self._exact else self._comparable(said)
            if heard and not generation.begun:
                self._refuse(("grammar", "logprobs", "logit_bias"))
            if not self._model.startswith(heard):
                added = self._finish is not None and heard.startswith(self._model)
                self._differs = True
                self._refuse(("grammar",) if added else ("grammar", "logprobs"))
            elif self._live and not self._differs:
                self._pass_on(len(heard))
            if time.monotonic() - self._emitted_at >= TICK_S:
                self._emit_counts()
            return self._left

    def _pass_on(self, end: int) -> None:
        while self._held and self._held[0].end <= end:
            held = self._held.popleft()
            self._sent = held.end
            self._emit_piece(held.piece)

    def _refuse(self, wanted: Sequence[str]) -> None:
        request = self._request
        asked = {
            "grammar": request.grammar is not None,
            "logprobs": request.logprobs is not None,
            "logit_bias": bool(request.logit_bias),
        }
        found = next((name for name in wanted if asked[name]), None)
        if found is None:
            return
        why = (
            f"The extension '{self.extension}' generates this answer itself (custom_generate_reply), so "
            f"{REFUSED_FIELDS[found]} cannot be had. Turn the extension off in the web UI."
        )
        if self._sent:
            raise ExtensionFailed(why)
        raise InvalidRequest(why, param=None if found == "grammar" else found)

    def end(self, generation: LoaderGeneration, prompt_tokens: int) -> None:
        """The extension has said all that it says."""
        with self._lock:
            heard = self.heard if self._exact else self._comparable(self.heard)
            passed = self._model.startswith(heard) and not self._differs
            if (
                passed
                and generation.finished
                and (heard == self._model or len(heard) in self._lost)
            ):
                self._pass_on(len(self._model))
                self._emit(Piece(finish=self._finish))
                return
            same = _alike(heard, self._model)
            added = generation.finished and same == len(self._model)
            if not added:
                self._refuse(("grammar", "logprobs"))
            self._pass_on(same)
            if heard[: self._sent] != self._model[: self._sent]:
                contradicting.add(self.extension)
                log.warning(
                    "the extension %s changed text that was sent already; its answers are not streamed "
                    "from now on",
                    self.extension,
                )
            self._emit_counts()
            rest = self._behind(min(same, self._sent))
            counted = self._count(self.heard) if self.heard else 0
            prompt = None if self._prompt else PromptUsage(prompt_tokens)
            finish = self._finish if added and self._finish else "stop"
            tokens = max(0, counted - self._tokens)
            self._emit(Piece(rest, tokens=tokens, prompt=prompt, finish=finish))

    def _behind(self, letters: int) -> str:
        """What the extension has said behind so many letters."""
        if self._exact or not letters:
            return self.heard[letters:]
        left = letters
        for at, character in enumerate(self.heard):
            if not (character.isspace() or character == CUT):
                left -= 1
                if left == 0:
                    return self.heard[at + 1 :]
        return ""


REFUSED_FIELDS = {
    "grammar": "the answer cannot be kept to a form: what the request demands",
    "logprobs": "log-probabilities",
    "logit_bias": "a bias on tokens",
}


def _alike(one: str, other: str) -> int:
    """How many characters two texts begin with alike."""
    if other.startswith(one):
        return len(one)
    pairs = zip(one, other, strict=False)
    return next((at for at, (a, b) in enumerate(pairs) if a != b), len(other))
