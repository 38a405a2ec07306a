"""Turns llama.cpp's streamed chunks into pieces, and its errors into APIErrors.

Source: llama.cpp `tools/server`, streamed responses of /v1/completions and /v1/chat/completions.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ...errors import APIError, ContextLengthExceeded, InvalidRequest
from ..failures import failure_of
from ..protocol import CUT, Finish, Piece, PromptUsage, TokenLogprob, ToolCallDelta
from ..tokens.character_buffer import CharacterBuffer
from ..tokens.vocabulary import Vocabulary

log = logging.getLogger("openedai")

MIN_LOGPROB = -9999.0  # OpenAI's value for an impossible token

Place = Mapping[str, Any]
"""llama.cpp's fields for the slot that a query uses."""

ScoreToken = Callable[[Sequence[int], int, int, Place], TokenLogprob]
"""Scores a token: takes the tokens before it, the token, the number of alternatives to report, and where."""

HiddenText = Callable[[str, int, Place], str]
"""The text of unreported tokens of an incomplete character: takes the answer's text so far, their number, and
where to query."""

Known = tuple[int, bytes, dict[str, Any] | None]
"""An identified token: its id, its text, and llama.cpp's entry for it, if any."""


@dataclass(frozen=True, slots=True)
class Spelling:
    """The texts of an answer's tokens."""

    vocabulary: Vocabulary
    ends: frozenset[int]
    """The tokens that end an answer; they have no text, whatever llama.cpp reports."""
    marks: frozenset[str] = frozenset()
    """Special tokens whose names are text."""
    reported: frozenset[str] = frozenset()
    """Further special tokens that llama.cpp was asked to report by name."""

    def text(self, token: int) -> bytes:
        """A token's text."""
        if token in self.ends:
            return b""
        name = self.vocabulary.names[token]
        return name.encode() if name in self.marks else self.vocabulary.tokens[token]

    def report(self, token: int) -> bytes:
        """What llama.cpp reports as a token's text."""
        name = self.vocabulary.names[token]
        if name in self.marks or name in self.reported:
            return name.encode()
        return self.vocabulary.tokens[token]

    def end_texts(self) -> tuple[str, ...]:
        """The non-empty texts that llama.cpp reports for end tokens, longest first."""
        texts = {self.report(end).decode(errors="replace") for end in self.ends}
        return tuple(sorted(texts - {""}, key=len, reverse=True))


class AnswerReader:
    """Turns the chunks of one answer into pieces, and running totals into increments."""

    def __init__(
        self,
        limit: int | None = None,
        end_texts: Sequence[str] = (),
        hidden_text: HiddenText | None = None,
    ) -> None:
        """`limit`: the answer ends with the token that reaches it, without waiting for a final chunk.
        `end_texts`: of end tokens that llama.cpp reports as text. Without `hidden_text` an incomplete
        character becomes U+FFFD, and the text before it in its first token is lost."""
        self.total = 0
        """How many tokens were sampled in all calls."""
        self._limit = limit
        self._end_texts = tuple(end_texts)
        self._hidden_text = hidden_text
        self._texts: list[str] = []
        self._held = ""
        """Text of the last token, which may be an end token: the next chunk decides."""
        self._sampled = 0  # in this call
        self._is_prompt_reported = False
        self.reread = 0
        """Prompt tokens that were not in the cache."""
        self.cached: int | None = None
        """How many tokens of the prompt were known before this answer began to read it; None: as many as
        llama.cpp reports."""
        self.place: Place = {}
        """Where queries about tokens go."""
        self.finished = False
        self.should_stop = False
        """Whether to stop llama.cpp here, though it could continue."""

    def needs_scoring(self, chunk: dict[str, Any]) -> bool:
        """Whether reading this chunk will query the engine about tokens."""
        timings, reason = chunk.get("timings"), choice_of(chunk)["finish_reason"]
        if self._hidden_text is None or timings is None:
            return False
        return bool(_cut_tokens(timings["predicted_n"] - self._sampled, _finish(reason)))

    def read(self, chunk: dict[str, Any]) -> Piece:
        choice = choice_of(chunk)
        # /v1/completions has `text`, /v1/chat/completions a `delta`.
        delta = choice.get("delta") or {}
        tokens, prompt = self._count(chunk.get("timings"))
        finish = _finish(choice["finish_reason"])
        text = choice.get("text") or delta.get("content") or ""
        if self._end_texts:
            text = self._without_end(text, tokens, finish)
        hidden = _cut_tokens(tokens, finish)
        if self._hidden_text is not None:
            self._texts.append(text)
        if hidden:
            text += (
                CUT
                if self._hidden_text is None
                else self._hidden_text("".join(self._texts), hidden, self.place)
            )
        self.total += tokens
        if finish is None and text and self.total == self._limit:
            finish, self.should_stop = "length", True
        self.finished = finish is not None
        return Piece(
            text,
            delta.get("reasoning_content") or "",
            tokens,
            prompt,
            finish,
            tool_calls=tuple(map(_tool_call, delta.get("tool_calls") or ())),
        )

    def _without_end(self, text: str, tokens: int, finish: Finish | None) -> str:
        """The text without that of an end token at its end; the text of the last token is held back."""
        held, self._held = self._held, ""
        if finish == "stop" and not (tokens or text):
            return ""  # the last token was the end
        if finish is None:
            end = next((end for end in self._end_texts if text.endswith(end)), "")
            self._held, text = end, text.removesuffix(end)
        return held + text

    def _count(self, timings: dict[str, int] | None) -> tuple[int, PromptUsage | None]:
        if timings is None:
            return 0, None
        tokens, self._sampled = timings["predicted_n"] - self._sampled, timings["predicted_n"]
        self.reread = timings["prompt_n"]
        if self._is_prompt_reported:
            return tokens, None
        self._is_prompt_reported = True
        size, cached = timings["prompt_n"] + timings["cache_n"], timings["cache_n"]
        return tokens, PromptUsage(
            size, cached if self.cached is None else min(self.cached, cached)
        )


class TokenReader(AnswerReader):
    """The same, and identifies each token, for a request with `n_probs`.

    llama.cpp reports a token only when its text is complete: of a character that spans several tokens it
    reports the last one. The others are found by their bytes. To identify also those of a character that
    `limit` cuts, request TAIL more tokens from llama.cpp; to exclude special tokens, request their names.
    """

    TAIL = 8  # three complete the longest character; a broken model may begin several

    def __init__(self, prompt: Sequence[int], spelling: Spelling, limit: int | None) -> None:
        super().__init__(limit, spelling.end_texts())
        self.context = list(prompt)
        """The prompt and the tokens identified so far."""
        self.new: tuple[int, ...] = ()
        """The tokens of the last piece."""
        self.complete = True
        """Whether all sampled tokens are identified."""
        self._spelling = spelling
        self._characters = CharacterBuffer()

    @property
    def wanted(self) -> int:
        """The `n_predict` of the next call."""
        return -1 if self._limit is None else self._limit + self.TAIL - self.total

    def start_new_call(self) -> None:
        """Continue the answer in a new call, whose prompt is `context`."""
        self._sampled = 0

    def read(self, chunk: dict[str, Any]) -> Piece:
        before = self.total
        piece = super().read(chunk)
        entries = (choice_of(chunk).get("logprobs") or {}).get("content") or ()
        known = self._known(entries, piece.tokens)
        left = piece.tokens if self._limit is None else self._limit - before
        self.new = tuple(id for id, _, _ in known)
        unknown = len(known) < piece.tokens
        if piece.tokens > left:
            known = [] if unknown else known[:left]
            piece = replace(piece, tokens=max(0, left), finish="length")
            cut = unknown and left > 0
        else:
            cut = not known and _cut_tokens(piece.tokens, piece.finish) > 0
        text, logprobs = self._text_of(known, last=piece.finish is not None)
        self.context += self.new
        if piece.finish and not self.finished:
            self.finished = self.should_stop = True
        return replace(piece, text=text + CUT if cut else text, logprobs=logprobs)

    def _text_of(
        self, known: Sequence[Known], *, last: bool
    ) -> tuple[str, tuple[TokenLogprob, ...]]:
        """The characters that these tokens complete, and all tokens of those."""
        scored = self._scored(known)
        if not scored:
            return self._characters.add(b"".join(spelled for _, spelled, _ in known), last=last)
        text, logprobs = "", list[TokenLogprob]()
        for at, token in enumerate(scored, 1):
            more, complete = self._characters.add(
                token.bytes, token, last=last and at == len(scored)
            )
            text += more
            logprobs += complete
        return text, tuple(logprobs)

    def _known(self, entries: Sequence[dict[str, Any]], count: int) -> list[Known]:
        """The tokens of a chunk: id, bytes, and llama.cpp's entry where there is one."""
        found: list[Known] = []
        for entry in entries:
            token, spelled = entry["id"], bytes(entry["bytes"])
            reported = self._spelling.report(token)
            if spelled.endswith(reported):
                before = spelled[: len(spelled) - len(reported)]
                hidden = self._hidden(before, count - 1) if count > 1 else []
                spelled = (
                    self._spelling.text(token) if hidden else before + self._spelling.text(token)
                )
                found += hidden
            found.append((token, spelled, entry))
        return found

    def _hidden(self, text: bytes, count: int) -> list[Known]:
        """The tokens of a character before its last one."""
        # A token without text may be among them.
        spellings = (self._spelling.vocabulary.spell(text, n) for n in range(count, 0, -1))
        ids = next((ids for ids in spellings if ids is not None), None)
        if ids is None:
            log.warning("no tokens spell part of an answer; not all of its tokens are known")
            self.complete = False
            return []
        return [(id, self._spelling.text(id), None) for id in ids]

    def _scored(self, known: Sequence[Known]) -> tuple[TokenLogprob, ...]:
        return ()


class LogprobReader(TokenReader):
    """The same with log-probabilities; those that llama.cpp does not report are queried."""

    def __init__(
        self,
        prompt: Sequence[int],
        spelling: Spelling,
        limit: int | None,
        alternatives: int,
        score_token: ScoreToken | None,
    ) -> None:
        """Without `score_token`, tokens that llama.cpp does not report are merged into the next one that it
        does."""
        super().__init__(prompt, spelling, limit)
        self._alternatives = alternatives
        self._score = score_token

    def needs_scoring(self, chunk: dict[str, Any]) -> bool:
        timings = chunk.get("timings")
        several = timings is not None and timings["predicted_n"] - self._sampled > 1
        return self._score is not None and several

    def _scored(self, known: Sequence[Known]) -> tuple[TokenLogprob, ...]:
        found: list[TokenLogprob] = []
        context = list(self.context) if any(entry is None for _, _, entry in known) else []
        unscored = b""
        for id, spelled, entry in known:
            if entry is not None:
                vocabulary = self._spelling.vocabulary
                whole = unscored + spelled
                found.append(token_logprob(entry, whole, self._alternatives, vocabulary))
            elif self._score is not None:
                found.append(self._score(context, id, self._alternatives, self.place))
            else:
                unscored += spelled
            context.append(id)
        return tuple(found)


def _cut_tokens(tokens: int, finish: Finish | None) -> int:
    """How many of the last chunk's tokens belong to an incomplete character.

    llama.cpp holds such a character back and then drops it. Every other token had its own chunk before; so
    has an end token, unless it follows such a character.
    """
    if finish == "stop":
        return max(0, tokens - 1)
    return tokens if finish == "length" else 0


def choice_of(chunk: dict[str, Any]) -> dict[str, Any]:
    """The choice in a chunk; one of llama.cpp's own /completion is converted to that of /v1/completions."""
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
    entry: dict[str, Any], spelled: bytes, alternatives: int, vocabulary: Vocabulary
) -> TokenLogprob:
    """Convert an entry of llama.cpp's list; its token adds `spelled` to the text."""
    top = tuple(
        vocabulary.likely(other["id"], _finite(other["logprob"]))
        for other in entry["top_logprobs"][:alternatives]
    )
    return TokenLogprob(spelled, _finite(entry["logprob"]), top, entry["id"])


def _finite(logprob: float | None) -> float:
    """JSON has no minus infinity."""
    if logprob is None or not math.isfinite(logprob):
        return MIN_LOGPROB
    return max(logprob, MIN_LOGPROB)


def _tool_call(delta: dict[str, Any]) -> ToolCallDelta:
    function = delta.get("function") or {}
    return ToolCallDelta(
        delta["index"], function.get("arguments") or "", delta.get("id"), function.get("name")
    )


def _finish(reason: str | None) -> Finish | None:
    if reason is None or reason == "length" or reason == "tool_calls":
        return reason  # type: ignore[return-value]  # mypy does not narrow strings to literals
    return "stop"


def to_api_error(error: dict[str, Any], param: str, *, late: bool = False) -> APIError:
    """Convert llama.cpp's error object; `param` is the prompt's field.

    `late`: llama.cpp had already accepted the request.
    """
    if not late and error.get("type") == "exceed_context_size_error":
        return ContextLengthExceeded(
            prompt_tokens=error["n_prompt_tokens"],
            max_tokens=0,
            context_length=error["n_ctx"],
            param=param,
        )
    if not late and error.get("code") == 400:
        return InvalidRequest(f"The model cannot take this: {error.get('message')}", param=param)
    return failure_of(str(error.get("message")))
