"""Answers in Ollama's shapes: a line for each part of a stream, or one object.

Source: ollama/ollama, docs/api.md.
"""

from __future__ import annotations

import time
from datetime import datetime, timezone
from typing import Any, Literal

from typing_extensions import NotRequired, TypedDict

from ...generation.logprobs import ChatTokenLogprob
from ...observability.record import RequestRecord

DoneReason = Literal["stop", "length", "load"]


class Figures(TypedDict, total=False):
    """What is counted, on the last line; durations are nanoseconds."""

    done_reason: DoneReason
    total_duration: int
    load_duration: int
    """Until the model could begin: loading, if it was not loaded, and waiting."""
    prompt_eval_count: int
    """Tokens of the prompt, those in the cache included."""
    prompt_eval_duration: int
    eval_count: int
    eval_duration: int
    store: bool
    """False if the turn of a session could not be kept. Not Ollama's."""


class CallFunction(TypedDict):
    """A function and its arguments."""

    index: int
    name: str
    arguments: dict[str, Any]


class Call(TypedDict):
    """A call that the model makes."""

    id: str
    function: CallFunction


class ChatMessage(TypedDict):
    """What the model says, or a part of it."""

    role: Literal["assistant"]
    content: str
    thinking: NotRequired[str]
    tool_calls: NotRequired[list[Call]]


class ChatLine(Figures):
    """A part of the answer to a chat, or the whole; with `done` it is the last one."""

    model: str
    created_at: str
    message: ChatMessage
    done: bool
    logprobs: NotRequired[list[ChatTokenLogprob]]


class GenerateLine(Figures):
    """A part of the answer to a prompt, or the whole; with `done` it is the last one."""

    model: str
    created_at: str
    response: str
    thinking: NotRequired[str]
    done: bool
    logprobs: NotRequired[list[ChatTokenLogprob]]


class VectorList(TypedDict):
    """The vectors, in the order of the texts."""

    model: str
    embeddings: list[list[float]]
    total_duration: int
    load_duration: int
    prompt_eval_count: int


class OneVector(TypedDict):
    """The vector of a text, in the older form."""

    embedding: list[float]


def now() -> str:
    """The time, as Ollama writes it."""
    return datetime.now(timezone.utc).isoformat().replace("+00:00", "Z")


def figures_of(record: RequestRecord, reason: DoneReason) -> Figures:
    """What is known of a request once its answer is complete."""
    ended, started = time.monotonic(), record.started
    admitted = started if record.admitted is None else record.admitted
    first = admitted if record.first_token is None else record.first_token
    last = first if record.last_token is None else record.last_token
    return {
        "done_reason": reason,
        "total_duration": _nanoseconds(ended - started),
        "load_duration": _nanoseconds(admitted - started),
        "prompt_eval_count": record.prompt_tokens,
        "prompt_eval_duration": _nanoseconds(first - admitted),
        "eval_count": record.completion_tokens,
        "eval_duration": _nanoseconds(last - first),
    }


def loaded(model: str, *, chat: bool) -> ChatLine | GenerateLine:
    """The answer to a request without a prompt, which asks for the model to be there."""
    if chat:
        message: ChatMessage = {"role": "assistant", "content": ""}
        line: ChatLine = {"model": model, "created_at": now(), "message": message, "done": True}
        return {**line, "done_reason": "load"}
    made: GenerateLine = {"model": model, "created_at": now(), "response": "", "done": True}
    return {**made, "done_reason": "load"}


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)
