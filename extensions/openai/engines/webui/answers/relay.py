"""Answers that pass through another extension of the host (`custom_generate_reply`).

Such an extension sits between the host and its model. Many relay the output of the host's own function, and
change it only now and then. So we generate as if it did not exist, with exact tokens and log-probabilities,
but hold the model's pieces back until the extension has yielded the same text. From the first difference on,
the extension's text is the answer.
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
from ...failures import model_changed
from ...protocol import CUT, Finish, GenerateRequest, Piece, PromptUsage
from ..host import Loaded, host_module, host_reply
from ..loaders.base import LoaderGeneration, LoaderJob, TokenAdapter, check_error

log = logging.getLogger("openedai")

contradicting: set[str] = set()
"""Extensions that changed text that was already sent: their answers are sent when complete."""


def answer_through(
    extension: str,
    adapter: TokenAdapter,
    loaded: Loaded,
    job: LoaderJob,
    state: dict[str, Any],
    count: Callable[[str], int],
) -> bool:
    """Answer a request through an extension that generates in the model's place, or relays the model.

    `count` returns the number of tokens of a text. False: incomplete, because the reader has left.
    """
    relay = Relay(extension, job.request, job.emit, exact=adapter.exact, count=count)
    relayed = replace(job, emit=relay.on_model_piece, text_so_far=lambda: relay.model_text)
    generation = adapter.attach(loaded, relayed, state)
    replies = host_reply(job.text, state)
    try:
        for text in replies:
            if relay.on_extension_text(str(text), generation):
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
    if generation.reader_left:
        return False
    if relay.agrees and not generation.aborted_by_extension:
        check_error(generation)
    answered = relay.extension_text or generation.started
    if not answered and host_module("shared").model is not loaded.model:
        raise model_changed()
    relay.end(generation, len(job.tokens))
    return True


@dataclass(slots=True)
class _Held:
    """A piece of the model that the extension has not yielded yet."""

    end: int
    """Its end, as an offset in the model's comparable text."""
    piece: Piece


class Relay:
    """One answer. `on_model_piece` may be called from the model's thread, `on_extension_text` from the
    host's."""

    def __init__(
        self,
        extension: str,
        request: GenerateRequest,
        emit: Emit[Piece | None],
        *,
        exact: bool,
        count: Callable[[str], int],
    ) -> None:
        """`exact`: the host relays our text unchanged; else it decodes the tokens itself, with other blanks,
        and drops incomplete characters. `count` counts the tokens of a text."""
        self.extension = extension
        self._request, self._emit, self._count = request, emit, count
        self._exact = exact
        self._live = not request.unstreamed and extension not in contradicting
        self._lock = threading.Lock()
        self._held: deque[_Held] = deque()
        self._finish: Finish | None = None
        self._tokens = 0
        self._prompt: PromptUsage | None = None
        self.model_text = ""
        """The model's text so far."""
        self._comparable_text = ""
        """The parts of `model_text` that the host leaves unchanged."""
        self._cuts: set[int] = set()
        """Offsets in `_comparable_text` at which a character is incomplete."""
        self._sent = 0
        """How much of `_comparable_text` was sent."""
        self.extension_text = ""
        """The extension's text so far."""
        self._differs = False
        self._reader_left = False
        self._emitted_at = time.monotonic()

    @property
    def agrees(self) -> bool:
        """Whether the extension's text is the model's so far."""
        return not self._differs

    # The model's side

    def on_model_piece(self, piece: Piece | None) -> bool:
        """Add a piece of the model's answer; True: stop."""
        with self._lock:
            if piece is not None:
                self._add(piece)
            if time.monotonic() - self._emitted_at >= TICK_S:  # the extension is silent
                self._emit_counts()
            return self._reader_left

    def _add(self, piece: Piece) -> None:
        self.model_text += piece.text
        self._comparable_text += self._comparable(piece.text)
        if CUT in piece.text:
            self._cuts.add(len(self._comparable_text))
        self._finish = self._finish or piece.finish
        self._tokens += piece.tokens
        self._prompt = self._prompt or piece.prompt
        # The extension decides how the answer ends.
        self._held.append(_Held(len(self._comparable_text), replace(piece, finish=None)))

    def _comparable(self, text: str) -> str:
        if self._exact:
            return text
        if self._request.sampling.get("skip_special_tokens", True):
            for mark in self._request.marks:
                text = text.replace(mark, "")
        return "".join(text.replace(CUT, "").split())

    def _emit_piece(self, piece: Piece | None) -> None:
        self._emitted_at = time.monotonic()
        self._reader_left = self._emit(piece) or self._reader_left

    def _emit_counts(self) -> None:
        """Emit the counts of held pieces without their text, and so check whether the reader has left."""
        counts = Piece(
            tokens=sum(held.piece.tokens for held in self._held),
            prompt=next((held.piece.prompt for held in self._held if held.piece.prompt), None),
        )
        for held in self._held:
            held.piece = replace(held.piece, tokens=0, prompt=None)
        self._emit_piece(counts if counts.tokens or counts.prompt else None)

    # The host's side

    def on_extension_text(self, text: str, generation: LoaderGeneration) -> bool:
        """Handle the extension's whole text so far; True: stop.

        Raises InvalidRequest if it generates itself and the request needs the model's own answer.
        """
        with self._lock:
            self.extension_text = text
            comparable = text if self._exact else self._comparable(text)
            if comparable and not generation.started:
                self._refuse(("grammar", "logprobs", "logit_bias"))
            if not self._comparable_text.startswith(comparable):
                added = self._finish is not None and comparable.startswith(self._comparable_text)
                self._differs = True
                self._refuse(("grammar",) if added else ("grammar", "logprobs"))
            elif self._live and not self._differs:
                self._pass_on(len(comparable))
            if time.monotonic() - self._emitted_at >= TICK_S:
                self._emit_counts()
            return self._reader_left

    def _pass_on(self, end: int) -> None:
        while self._held and self._held[0].end <= end:
            held = self._held.popleft()
            self._sent = held.end
            self._emit_piece(held.piece)

    def _refuse(self, fields: Sequence[str]) -> None:
        """Raise an error if the request uses one of these fields."""
        request = self._request
        used = {
            "grammar": request.grammar is not None,
            "logprobs": request.logprobs is not None,
            "logit_bias": bool(request.logit_bias),
        }
        found = next((name for name in fields if used[name]), None)
        if found is None:
            return
        why = (
            f"The extension '{self.extension}' generates this answer itself (custom_generate_reply), so "
            f"{REFUSED_FIELDS[found]} cannot be provided. Turn the extension off in the web UI."
        )
        if self._sent:
            raise ExtensionFailed(why)
        raise InvalidRequest(why, param=None if found == "grammar" else found)

    def end(self, generation: LoaderGeneration, prompt_tokens: int) -> None:
        """Emit the rest of the answer: the extension has ended."""
        with self._lock:
            final, model = self.extension_text, self._comparable_text
            comparable = final if self._exact else self._comparable(final)
            is_prefix = model.startswith(comparable) and not self._differs
            is_all = comparable == model or len(comparable) in self._cuts
            if is_prefix and is_all and generation.finished:
                self._pass_on(len(model))
                self._emit(Piece(finish=self._finish))
                return
            same = _common_prefix_length(comparable, model)
            added = generation.finished and same == len(model)
            if not added:
                self._refuse(("grammar", "logprobs"))
            self._pass_on(same)
            if comparable[: self._sent] != model[: self._sent]:
                contradicting.add(self.extension)
                log.warning(
                    "the extension %s changed text that was already sent; from now on its answers are "
                    "not streamed",
                    self.extension,
                )
            self._emit_counts()
            rest = self._extension_text_after(min(same, self._sent))
            counted = self._count(final) if final else 0
            prompt = None if self._prompt else PromptUsage(prompt_tokens)
            finish = self._finish if added and self._finish else "stop"
            tokens = max(0, counted - self._tokens)
            self._emit(Piece(rest, tokens=tokens, prompt=prompt, finish=finish))

    def _extension_text_after(self, offset: int) -> str:
        """The extension's text after an offset in comparable text."""
        if self._exact or not offset:
            return self.extension_text[offset:]
        remaining = offset
        for at, character in enumerate(self.extension_text):
            if not (character.isspace() or character == CUT):
                remaining -= 1
                if remaining == 0:
                    return self.extension_text[at + 1 :]
        return ""


REFUSED_FIELDS = {
    "grammar": "the required format of the answer",
    "logprobs": "log-probabilities",
    "logit_bias": "a bias on tokens",
}


def _common_prefix_length(one: str, other: str) -> int:
    if other.startswith(one):
        return len(one)
    pairs = zip(one, other, strict=False)
    return next((at for at, (a, b) in enumerate(pairs) if a != b), len(other))
