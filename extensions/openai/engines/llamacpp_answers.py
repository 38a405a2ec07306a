"""What llama.cpp sends while it answers, as pieces; its errors as ours.

Source: llama.cpp `tools/server`, the streamed answers of /v1/completions and /v1/chat/completions.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from ..errors import APIError, ContextLengthExceeded, EngineFailed, InvalidRequest
from .base import CUT, Finish, LikelyToken, Piece, PromptUsage, TokenLogprob, ToolCallDelta
from .vocabulary import Vocabulary

log = logging.getLogger("openedai")

LEAST_LOGPROB = -9999.0  # what OpenAI answers for a token that cannot be

Judge = Callable[[Sequence[int], int, int], TokenLogprob]
"""How likely a token is after those before it, with so many alternatives."""

Known = tuple[int, bytes, dict[str, Any] | None]
"""A token: its id, what it says, and llama.cpp's entry about it if there is one."""


class AnswerReader:
    """Turns the chunks of one answer into pieces, running totals into what each piece adds."""

    def __init__(self, limit: int | None = None) -> None:
        """`limit`: the token that reaches it ends the answer, and not one more chunk that says so."""
        self.total = 0
        """How many tokens were sampled, in all calls."""
        self._limit = limit
        self._sampled = 0  # in this call
        self._prompt_told = False
        self.read_anew = 0
        """Tokens of the prompt that were not in the cache."""
        self.finished = False
        self.enough = False
        """Whether llama.cpp is to end here, though there could be more."""

    def asks(self, chunk: dict[str, Any]) -> bool:
        """Whether it will ask the engine about tokens when it reads this chunk."""
        return False

    def read(self, chunk: dict[str, Any]) -> Piece:
        choice = choice_of(chunk)
        # /v1/completions has `text`, /v1/chat/completions a `delta`.
        delta = choice.get("delta") or {}
        tokens, prompt = self._count(chunk.get("timings"))
        finish = _finish(choice["finish_reason"])
        text = choice.get("text") or delta.get("content") or ""
        # llama.cpp holds back a character that is not complete, and then drops it.
        if finish == "length" and tokens:
            text += CUT
        self.total += tokens
        if finish is None and text and self.total == self._limit:
            finish, self.enough = "length", True
        self.finished = finish is not None
        return Piece(
            text,
            delta.get("reasoning_content") or "",
            tokens,
            prompt,
            finish,
            tool_calls=tuple(map(_tool_call, delta.get("tool_calls") or ())),
        )

    def _count(self, timings: dict[str, int] | None) -> tuple[int, PromptUsage | None]:
        if timings is None:
            return 0, None
        tokens, self._sampled = timings["predicted_n"] - self._sampled, timings["predicted_n"]
        self.read_anew = timings["prompt_n"]
        if self._prompt_told:
            return tokens, None
        self._prompt_told = True
        cached = timings["cache_n"]
        return tokens, PromptUsage(timings["prompt_n"] + cached, cached)


class TokenReader(AnswerReader):
    """The same, and knows the tokens: for an answer that is asked for with `n_probs`.

    llama.cpp tells a token only when its text is complete: of a character that is spread over several
    tokens it tells the last one. The others are found by their bytes. So that those of a character
    that `limit` cuts are known as well, llama.cpp is to be asked for TAIL tokens more.
    """

    TAIL = 3  # the longest character has four bytes

    def __init__(self, prompt: Sequence[int], vocabulary: Vocabulary, limit: int | None) -> None:
        super().__init__(limit)
        self.context = list(prompt)
        """The prompt and the tokens that are known so far."""
        self.new: tuple[int, ...] = ()
        """The tokens of the last piece."""
        self.complete = True
        """Whether all sampled tokens are known."""
        self._vocabulary = vocabulary

    @property
    def wanted(self) -> int:
        """What to ask llama.cpp for as `n_predict`, now."""
        return -1 if self._limit is None else self._limit + self.TAIL - self.total

    def go_on(self) -> None:
        """The answer goes on in a new call, whose prompt is `context`."""
        self._sampled = 0

    def read(self, chunk: dict[str, Any]) -> Piece:
        before = self.total
        piece = super().read(chunk)
        entries = (choice_of(chunk).get("logprobs") or {}).get("content") or ()
        known = self._known(entries, piece.tokens)
        room = piece.tokens if self._limit is None else self._limit - before
        cut = piece.tokens > room
        logprobs = self._judged(known[:room])
        self.new = tuple(id for id, _, _ in known)
        self.context += self.new
        if cut:
            said = b"".join(said for _, said, _ in known[:room])
            text = said.decode(errors="replace")
            piece = replace(piece, text=text, tokens=max(0, room), finish="length")
        if piece.finish and not self.finished:
            self.finished = self.enough = True
        return replace(piece, logprobs=logprobs)

    def _known(self, entries: Sequence[dict[str, Any]], count: int) -> list[Known]:
        """The tokens of a chunk: id, bytes, and llama.cpp's entry where it told one."""
        found: list[Known] = []
        for entry in entries:
            said, text = bytes(entry["bytes"]), self._vocabulary.tokens[entry["id"]]
            if count > 1 and said.endswith(text):
                found += self._hidden(said[: len(said) - len(text)], count - 1)
                said = text
            found.append((entry["id"], said, entry))
        return found

    def _hidden(self, text: bytes, count: int) -> list[Known]:
        """The tokens before the last one of a character."""
        # A token that says nothing may be among them.
        spellings = (self._vocabulary.spell(text, n) for n in range(count, 0, -1))
        ids = next((ids for ids in spellings if ids is not None), None)
        if ids is None:
            log.warning("no tokens spell a part of an answer; its tokens are not all known")
            self.complete = False
            return []
        return [(id, self._vocabulary.tokens[id], None) for id in ids]

    def _judged(self, known: Sequence[Known]) -> tuple[TokenLogprob, ...]:
        return ()


class LogprobReader(TokenReader):
    """The same, with log-probabilities; those that llama.cpp does not tell are judged anew."""

    def __init__(
        self,
        prompt: Sequence[int],
        vocabulary: Vocabulary,
        limit: int | None,
        alternatives: int,
        judge: Judge | None,
    ) -> None:
        """Without `judge` those that llama.cpp does not tell are left out."""
        super().__init__(prompt, vocabulary, limit)
        self._alternatives = alternatives
        self._judge = judge

    def asks(self, chunk: dict[str, Any]) -> bool:
        timings = chunk.get("timings")
        several = timings is not None and timings["predicted_n"] - self._sampled > 1
        return self._judge is not None and several

    def _judged(self, known: Sequence[Known]) -> tuple[TokenLogprob, ...]:
        found: list[TokenLogprob] = []
        context = list(self.context) if any(entry is None for _, _, entry in known) else []
        for id, said, entry in known:
            if entry is None:
                if self._judge is not None:
                    found.append(self._judge(context, id, self._alternatives))
            elif said:
                found.append(token_logprob(entry, said, self._alternatives, self._vocabulary))
            context.append(id)
        return tuple(found)


def choice_of(chunk: dict[str, Any]) -> dict[str, Any]:
    """The choice in a chunk; one of llama.cpp's own /completion becomes as of /v1/completions."""
    if "choices" in chunk:
        return chunk["choices"][0]  # type: ignore[no-any-return]
    reason = None
    if chunk["stop"]:
        reason = "length" if chunk["stop_type"] == "limit" else "stop"
    return {
        "text": chunk["content"],
        "finish_reason": reason,
        "logprobs": {"content": chunk.get("completion_probabilities")},
    }


def token_logprob(
    entry: dict[str, Any], said: bytes, alternatives: int, vocabulary: Vocabulary
) -> TokenLogprob:
    """One entry of llama.cpp's list, whose token adds `said` to the text."""
    top = tuple(
        LikelyToken(vocabulary.name(other["id"]), _finite(other["logprob"]))
        for other in entry["top_logprobs"][:alternatives]
    )
    return TokenLogprob(said, _finite(entry["logprob"]), top)


def _finite(logprob: float | None) -> float:
    """JSON has no minus infinity."""
    if logprob is None or not math.isfinite(logprob):
        return LEAST_LOGPROB
    return max(logprob, LEAST_LOGPROB)


def _tool_call(delta: dict[str, Any]) -> ToolCallDelta:
    function = delta.get("function") or {}
    return ToolCallDelta(
        delta["index"], function.get("arguments") or "", delta.get("id"), function.get("name")
    )


def _finish(reason: str | None) -> Finish | None:
    if reason is None or reason == "length" or reason == "tool_calls":
        return reason  # type: ignore[return-value]  # mypy does not narrow strings to literals
    return "stop"


def error_of(error: dict[str, Any], param: str) -> APIError:
    """llama.cpp's error object as one of ours; `param` is the field the prompt was made of."""
    if error.get("type") == "exceed_context_size_error":
        return ContextLengthExceeded(
            prompt_tokens=error["n_prompt_tokens"],
            max_tokens=0,
            context_length=error["n_ctx"],
            param=param,
        )
    if error.get("code") == 400:
        return InvalidRequest(f"The model cannot take this: {error.get('message')}", param=param)
    log.error("llama.cpp failed: %s", error.get("message"))
    return EngineFailed("The engine failed while it worked on this request.")
