"""Chat: answer a conversation. Reference: "Chat completions"."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, Literal

from flask import Response
from pydantic import Field
from typing_extensions import NotRequired, TypedDict

from . import models
from .engines.base import ChatRequest, EngineInfo, Finish
from .errors import InvalidRequest
from .generation.answer import AnswerHead, answer_head, head_of
from .generation.messages import ChatMessage, to_engine
from .generation.request import GenerationRequest
from .generation.run import Events, run
from .generation.sampling import to_native
from .generation.usage import Usage, UsageCount
from .routing import Addresses, Call, Route
from .streaming import respond
from .validation import NotYet

Later = dict[str, Any]


class ChatCompletionRequest(GenerationRequest):
    """Create chat completion. Names beyond the reference's are the native sampler's."""

    messages: list[ChatMessage] = Field(min_length=1, description="The conversation so far.")
    max_completion_tokens: int | None = Field(
        None,
        ge=1,
        description="Tokens to generate at most, reasoning among them. Default: what the context holds.",
    )
    max_tokens: int | None = Field(
        None, ge=1, description="The older name of `max_completion_tokens`."
    )
    metadata: dict[str, str] | None = Field(None, description="Taken and without effect.")
    safety_identifier: str | None = Field(None, description="Taken and without effect.")
    prompt_cache_key: str | None = Field(None, description="Taken and without effect.")
    service_tier: str | None = Field(None, description="Taken and without effect.")
    parallel_tool_calls: bool | None = Field(None, description="Taken; there are no tools yet.")
    logprobs: Annotated[bool | None, NotYet((False,))] = Field(None, description="Not there yet.")
    top_logprobs: Annotated[int | None, NotYet()] = Field(None, description="Not there yet.")
    tools: Annotated[list[Later] | None, NotYet(([],))] = Field(None, description="Not there yet.")
    tool_choice: Annotated[str | Later | None, NotYet(("none", "auto"))] = Field(
        None, description="Not there yet."
    )
    functions: Annotated[list[Later] | None, NotYet(([],))] = Field(
        None, description="Not there yet."
    )
    function_call: Annotated[str | Later | None, NotYet(("none", "auto"))] = Field(
        None, description="Not there yet."
    )
    response_format: Annotated[Later | None, NotYet(({"type": "text"},))] = Field(
        None, description="Not there yet, but for text."
    )
    reasoning_effort: Annotated[str | None, NotYet()] = Field(None, description="Not there yet.")
    verbosity: Annotated[str | None, NotYet(("medium",))] = Field(
        None, description="Not there yet."
    )
    modalities: Annotated[list[str] | None, NotYet((["text"],))] = Field(
        None, description="Text only."
    )
    audio: Annotated[Later | None, NotYet()] = Field(None, description="Not there yet.")
    prediction: Annotated[Later | None, NotYet()] = Field(None, description="Not there yet.")
    store: Annotated[bool | None, NotYet((False,))] = Field(None, description="Not there yet.")
    web_search_options: Annotated[Later | None, NotYet()] = Field(
        None, description="Not there yet."
    )

    @property
    def limit(self) -> int | None:
        """The most tokens to generate. Raises InvalidRequest when it is given under both names."""
        if self.max_tokens is not None and self.max_completion_tokens is not None:
            raise InvalidRequest(
                "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.",
                param="max_tokens",
                code="invalid_parameter_combination",
            )
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens


class Delta(TypedDict, total=False):
    """What a chunk adds to the message; the first one of a choice carries the role."""

    role: Literal["assistant"]
    content: str
    reasoning_content: str
    refusal: None


class ChunkChoice(TypedDict):
    """A part of one answer."""

    index: int
    delta: Delta
    logprobs: None
    finish_reason: Finish | None


class ChatCompletionChunk(AnswerHead):
    """The data of one event; `usage` is there when it was asked for, and null on all but the last."""

    object: Literal["chat.completion.chunk"]
    choices: list[ChunkChoice]
    usage: NotRequired[Usage | None]


class AssistantAnswer(TypedDict):
    """The message of one answer."""

    role: Literal["assistant"]
    content: str
    refusal: None
    reasoning_content: NotRequired[str]


class ChatChoice(TypedDict):
    """One answer."""

    index: int
    message: AssistantAnswer
    logprobs: None
    finish_reason: Finish | None


class ChatCompletion(AnswerHead):
    """The whole answer."""

    object: Literal["chat.completion"]
    choices: list[ChatChoice]
    usage: Usage


def create_chat_completion(call: Call, body: ChatCompletionRequest) -> Response:
    """Answer the conversation `n` times."""
    info = models.serving(call, body.model)
    n, limit = body.n or 1, body.limit
    stops, usage = body.stops, body.wants_usage
    request = ChatRequest(
        to_engine(body.messages),
        None if limit is None else min(limit, info.context_length),
        to_native(body, info.sampler),
    )
    chat = call.services.engine.chat
    events = run(
        [partial(chat, replace(request, seed=seed)) for seed in body.seeds(n)],
        scheduler=call.services.scheduler,
        slots=info.parallel,
        stops=stops,
    )
    return respond(call, _chunks(events, info, n, usage=usage), stream=bool(body.stream), fold=fold)


def _chunks(
    events: Events, info: EngineInfo, n: int, *, usage: bool
) -> Generator[ChatCompletionChunk | None, None, None]:
    """Events in the shape of the reference."""
    head = answer_head("chatcmpl-", info)
    count = UsageCount(n)
    begun: set[int] = set()

    def chunk(*choices: ChunkChoice) -> ChatCompletionChunk:
        made: ChatCompletionChunk = {
            "id": head["id"],
            "created": head["created"],
            "model": head["model"],
            "system_fingerprint": head["system_fingerprint"],
            "object": "chat.completion.chunk",
            "choices": list(choices),
        }
        if usage:
            made["usage"] = None
        return made

    def choice(index: int, delta: Delta, finish: Finish | None = None) -> ChunkChoice:
        return {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}

    try:
        for event in events:
            if event is None:
                yield None
                continue
            count.add(event)
            if event.index not in begun:
                begun.add(event.index)
                first: Delta = {"role": "assistant", "content": "", "refusal": None}
                yield chunk(choice(event.index, first))
            if event.reasoning:
                yield chunk(choice(event.index, {"reasoning_content": event.reasoning}))
            if event.text:
                yield chunk(choice(event.index, {"content": event.text}))
            if event.finish:
                yield chunk(choice(event.index, {}, event.finish))
        if usage:
            last = chunk()
            last["usage"] = count.total()
            yield last
    finally:
        events.close()


def fold(chunks: Iterable[ChatCompletionChunk]) -> ChatCompletion:
    """The whole object that the chunks of a stream (with usage) add up to."""
    choices: dict[int, ChatChoice] = {}
    for chunk in chunks:
        for part in chunk["choices"]:
            whole = choices.get(part["index"])
            if whole is None:
                whole = choices[part["index"]] = {
                    "index": part["index"],
                    "message": {"role": "assistant", "content": "", "refusal": None},
                    "logprobs": None,
                    "finish_reason": None,
                }
            message, delta = whole["message"], part["delta"]
            message["content"] += delta.get("content", "")
            if "reasoning_content" in delta:
                before = message.get("reasoning_content", "")
                message["reasoning_content"] = before + delta["reasoning_content"]
            whole["finish_reason"] = part["finish_reason"]
    usage = chunk.get("usage")
    assert usage is not None  # `wants_usage` is true for a request that is folded
    return {
        **head_of(chunk),
        "object": "chat.completion",
        "choices": [choices[index] for index in sorted(choices)],
        "usage": usage,
    }


ROUTES = (
    Route(
        "POST",
        "/chat/completions",
        create_chat_completion,
        "Create chat completion",
        Addresses.MODEL,
        answer=ChatCompletion,
        body=ChatCompletionRequest,
        chunk=ChatCompletionChunk,
    ),
)
