"""Answers of servers that speak OpenAI's API, as pieces: chunks of a stream, or one whole object.

Servers depart from the reference in many ways, which are read here: thoughts under four names, deltas of
calls without an index or all with the same one, arguments as an object, usage in every chunk or in none,
errors inside of an answer with status 200, no reason for the end.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from ...errors import APIError, UpstreamFailed
from ..protocol import Finish, LikelyToken, Piece, PromptUsage, TokenLogprob, ToolCallDelta
from ..remote.estimates import tokens_in
from ..remote.failures import error_of

FINISHES: Mapping[str, Finish] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "model_length": "length",
}
"""All others are taken as an end by the model."""
THOUGHTS = ("reasoning_content", "reasoning", "thinking")


@dataclass(slots=True)
class _Call:
    """A call as far as it has come."""

    key: tuple[Any, str]
    """The index and the id that it came with."""
    name: str = ""
    arguments: str = ""
    """Held back until its name is known."""


class AnswerReader:
    """Reads one answer."""

    def __init__(self, name: str, estimate: PromptUsage, *, logprobs: bool) -> None:
        """`name`: of the server, for errors. `estimate`: of the prompt, until the server counts it."""
        self._name, self._logprobs = name, logprobs
        self._estimate: PromptUsage | None = estimate
        self._usage: Mapping[str, Any] | None = None
        self._counted = 0  # tokens that pieces have told
        self._thought_counted = 0
        self._calls: list[_Call] = []
        self.finish: Finish | None = None
        """Why it ended; None: it has not."""
        self.has_begun = False

    def read(self, chunk: Any, *, is_error: bool = False) -> Piece | None:
        """What a chunk adds, if anything. Raises UpstreamFailed, and what the server says of the request."""
        if isinstance(chunk, dict) and (chunk.get("error") or is_error):
            raise self._error(chunk)
        try:
            return self._read(chunk)
        except (AttributeError, KeyError, TypeError, ValueError):
            raise UpstreamFailed(
                f"{self._name}, which has the model, answered something that is not OpenAI's API."
            ) from None

    def _read(self, chunk: Any) -> Piece | None:
        usage = chunk.get("usage")
        if isinstance(usage, dict) and isinstance(usage.get("completion_tokens"), int):
            self._usage = usage
        choices = chunk.get("choices")
        if not choices:
            return None
        choice = choices[0]
        delta = choice.get("delta") or choice.get("message") or choice
        piece = self._piece(delta, choice)
        reason = choice.get("finish_reason")
        if reason:
            if reason == "error":
                raise UpstreamFailed(
                    f"{self._name}, which has the model, failed while it answered."
                )
            self.finish = FINISHES.get(reason, "stop")
        return piece

    def end(self, *, is_complete: bool) -> Piece:
        """The last piece. `is_complete`: the server has said that this is the end. Raises UpstreamFailed for
        an answer that was cut off."""
        if self.finish is None:
            if not is_complete or not self.has_begun:
                raise UpstreamFailed(
                    f"{self._name}, which has the model, ended its answer in the middle."
                )
            self.finish = "stop"
        if self._calls and self.finish == "stop":
            self.finish = "tool_calls"
        piece = Piece(finish=self.finish)
        usage = self._usage
        if usage is not None:
            piece.tokens = int(usage["completion_tokens"]) - self._counted
            details = usage.get("completion_tokens_details") or {}
            thought = details.get("reasoning_tokens", usage.get("reasoning_tokens"))
            if isinstance(thought, int):
                piece.thought_tokens = thought - self._thought_counted
            piece.prompt = _prompt_of(usage)
        elif self._estimate is not None:
            piece.prompt, self._estimate = self._estimate, None
        return piece

    def _piece(self, delta: Mapping[str, Any], choice: Mapping[str, Any]) -> Piece | None:
        text, thought = _text_of(delta.get("content"))
        if text is None:
            text = delta.get("text") or delta.get("refusal") or ""
        thought = thought or _thought_of(delta)
        calls = self._deltas(delta)
        logprobs = self._read_logprobs(choice.get("logprobs"), text)
        if not (text or thought or calls or logprobs):
            return None
        self.has_begun = True
        # A chunk of a stream is a token as a rule; a whole answer is as many as its text says.
        is_whole = "delta" not in choice and "message" in choice
        tokens = tokens_in(text + thought) if is_whole else 1
        tokens = max(tokens, len(logprobs))
        thought_tokens = tokens if thought and not text else 0
        usage = self._usage
        if usage is not None:  # exact as it comes
            tokens = int(usage["completion_tokens"]) - self._counted
            thought_tokens = min(thought_tokens, max(0, tokens))
        self._counted += tokens
        self._thought_counted += thought_tokens
        prompt, self._estimate = self._estimate, None
        if usage is not None and prompt is not None:
            prompt = _prompt_of(usage)
        return Piece(
            text,
            thought,
            tokens,
            prompt,
            None,
            logprobs,
            calls,
            thought_tokens=thought_tokens,
        )

    def _deltas(self, delta: Mapping[str, Any]) -> tuple[ToolCallDelta, ...]:
        sent = delta.get("tool_calls")
        older = delta.get("function_call")
        if not sent and not older:
            return ()
        if not sent:
            sent = [{"index": 0, "function": older}]
        found = (self._delta(each) for each in sent if isinstance(each, dict))
        return tuple(each for each in found if each is not None)

    def _delta(self, sent: Mapping[str, Any]) -> ToolCallDelta | None:
        function = sent.get("function") or {}
        name, given = function.get("name") or "", function.get("arguments")
        if given is None or isinstance(given, str):
            arguments = given or ""
        else:
            arguments = orjson.dumps(given).decode()
        at = self._place(sent.get("index"), sent.get("id") or "", name)
        call = self._calls[at]
        if call.name:
            return ToolCallDelta(at, arguments) if arguments else None
        call.arguments += arguments
        if not name:
            return None
        call.name = name
        return ToolCallDelta(at, call.arguments, call.key[1] or new_call_id(), name)

    def _place(self, index: Any, id: str, name: str) -> int:
        """The place of the call that a delta belongs to; a new one is added."""
        calls = self._calls
        for at in range(len(calls) - 1, -1, -1):
            known_index, known_id = calls[at].key
            if id and id == known_id:
                return at
            same = index is not None and index == known_index
            if same and (not id or not known_id):
                return at
        if calls and index is None and not id and not name:
            return len(calls) - 1
        if calls and not calls[-1].name and not id and index is None:
            return len(calls) - 1
        calls.append(_Call((index, id)))
        return len(calls) - 1

    def _read_logprobs(self, sent: Any, text: str) -> tuple[TokenLogprob, ...]:
        if not self._logprobs:
            return ()
        found = _logprobs_of(sent) if isinstance(sent, dict) else ()
        if text and not found:
            raise UpstreamFailed(
                f"{self._name}, which has the model, gave no log-probabilities. The operator can say so with "
                "the model's `capabilities`."
            )
        return found

    def _error(self, chunk: Mapping[str, Any]) -> APIError:
        """The error in a chunk, whose code or type says whose fault it is."""
        error = chunk.get("error", chunk)
        said = error if isinstance(error, dict) else {}
        status = next(
            (code for code in (said.get("code"), said.get("status")) if isinstance(code, int)), 500
        )
        if status < 400 or (status == 500 and "invalid_request" in str(said.get("type", ""))):
            status = 400 if status == 500 else 500
        return error_of(self._name, status, chunk)


def new_call_id() -> str:
    return "call_" + secrets.token_hex(12)


def _text_of(content: Any) -> tuple[str | None, str]:
    """The text and the thought of a content; None: it has none. Some servers send parts."""
    if not isinstance(content, list):
        return (content if isinstance(content, str) else None), ""
    text, thought = "", ""
    for part in content:
        if not isinstance(part, dict):
            continue
        if part.get("type") == "thinking":
            inner = part.get("thinking")
            thought += inner if isinstance(inner, str) else (_text_of(inner)[0] or "")
        else:
            text += part.get("text") or ""
    return text, thought


def _thought_of(delta: Mapping[str, Any]) -> str:
    for name in THOUGHTS:
        if isinstance(value := delta.get(name), str) and value:
            return value
    details = delta.get("reasoning_details")
    if isinstance(details, list):
        return "".join(str(each.get("text") or "") for each in details if isinstance(each, dict))
    return ""


def _prompt_of(usage: Mapping[str, Any]) -> PromptUsage:
    details = usage.get("prompt_tokens_details") or {}
    cached = details.get("cached_tokens") or usage.get("prompt_cache_hit_tokens") or 0
    return PromptUsage(int(usage.get("prompt_tokens") or 0), int(cached))


def _logprobs_of(sent: Mapping[str, Any]) -> tuple[TokenLogprob, ...]:
    """Log-probabilities of a chat, or in the older form of completions."""
    if isinstance(sent.get("content"), list):
        return tuple(
            TokenLogprob(
                _bytes_of(each),
                each["logprob"],
                tuple(
                    LikelyToken(_bytes_of(top), top["logprob"], top.get("id"))
                    for top in each.get("top_logprobs") or ()
                ),
                each.get("id"),
            )
            for each in sent["content"]
        )
    tops = sent.get("top_logprobs") or []
    tokens, values = sent.get("tokens") or [], sent.get("token_logprobs") or []
    return tuple(
        TokenLogprob(
            token.encode(),
            value,
            tuple(
                LikelyToken(text.encode(), logprob)
                for text, logprob in sorted(
                    ((tops[at] if at < len(tops) else None) or {}).items(), key=lambda top: -top[1]
                )
            ),
        )
        for at, (token, value) in enumerate(zip(tokens, values, strict=False))
    )


def _bytes_of(token: Mapping[str, Any]) -> bytes:
    known = token.get("bytes")
    return bytes(known) if isinstance(known, list) else str(token.get("token", "")).encode()
