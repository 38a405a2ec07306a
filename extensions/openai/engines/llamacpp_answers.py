"""What llama.cpp sends while it answers, as pieces; its errors as ours.

Source: llama.cpp `tools/server`, the streamed answers of /v1/completions and /v1/chat/completions.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from typing import Any

from ..errors import APIError, ContextLengthExceeded, EngineFailed, InvalidRequest
from .base import Finish, LikelyToken, Piece, PromptUsage, TokenLogprob, ToolCallDelta
from .vocabulary import Vocabulary

log = logging.getLogger("openedai")

LEAST_LOGPROB = -9999.0  # what OpenAI answers for a token that cannot be

Judge = Callable[[Sequence[int], int], TokenLogprob]
"""How likely a token is after those before it."""


class AnswerReader:
    """Turns the chunks of one answer into pieces, running totals into what each piece adds."""

    def __init__(self) -> None:
        self._sampled = 0
        self._prompt_told = False
        self.finished = False

    def read(self, chunk: dict[str, Any]) -> Piece:
        choice = choice_of(chunk)
        # /v1/completions has `text`, /v1/chat/completions a `delta`.
        delta = choice.get("delta") or {}
        tokens, prompt = self._count(chunk.get("timings"))
        finish = _finish(choice["finish_reason"])
        self.finished = finish is not None
        return Piece(
            choice.get("text") or delta.get("content") or "",
            delta.get("reasoning_content") or "",
            tokens,
            prompt,
            finish,
            self._logprobs(choice, tokens),
            tuple(map(_tool_call, delta.get("tool_calls") or ())),
        )

    def _count(self, timings: dict[str, int] | None) -> tuple[int, PromptUsage | None]:
        if timings is None:
            return 0, None
        tokens, self._sampled = timings["predicted_n"] - self._sampled, timings["predicted_n"]
        if self._prompt_told:
            return tokens, None
        self._prompt_told = True
        cached = timings["cache_n"]
        return tokens, PromptUsage(timings["prompt_n"] + cached, cached)

    def _logprobs(self, choice: dict[str, Any], tokens: int) -> tuple[TokenLogprob, ...]:
        return ()


class LogprobReader(AnswerReader):
    """The same, with log-probabilities.

    llama.cpp tells those of a token only when its text is complete: of a character that is spread over
    several tokens it tells the last one's. The others are found by their bytes, and judged anew.
    """

    def __init__(
        self,
        prompt: Sequence[int],
        alternatives: int,
        vocabulary: Vocabulary,
        judge: Judge | None,
    ) -> None:
        """Without `judge` those that llama.cpp does not tell are left out."""
        super().__init__()
        self._context = list(prompt)
        self._alternatives = alternatives
        self._vocabulary = vocabulary
        self._judge = judge

    def _logprobs(self, choice: dict[str, Any], tokens: int) -> tuple[TokenLogprob, ...]:
        found: list[TokenLogprob] = []
        for entry in (choice.get("logprobs") or {}).get("content") or ():
            said, text = bytes(entry["bytes"]), self._vocabulary.tokens[entry["id"]]
            if tokens > 1 and said.endswith(text):
                found += self._hidden(said[: len(said) - len(text)], tokens - 1)
                said = text
            self._context.append(entry["id"])
            if said:  # an end token says nothing
                found.append(token_logprob(entry, said, self._alternatives, self._vocabulary))
        return tuple(found)

    def _hidden(self, text: bytes, count: int) -> list[TokenLogprob]:
        """The tokens before the last one of a character."""
        if self._judge is None:
            return []
        # A token that says nothing may be among them.
        spellings = (self._vocabulary.spell(text, n) for n in range(count, 0, -1))
        ids = next((ids for ids in spellings if ids is not None), None)
        if ids is None:
            log.warning("no tokens spell a part of an answer; its log-probabilities are incomplete")
            return []
        found = []
        for id in ids:
            found.append(self._judge(self._context, id))
            self._context.append(id)
        return found


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
