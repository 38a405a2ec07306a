"""The shapes of a chat's answer: chunks, and the whole object. Reference: "Chat completions"."""

from __future__ import annotations

from typing import Literal

from typing_extensions import NotRequired

from ..generation.answer_head import AnswerHead
from ..generation.logprobs import ChatLogprobs
from ..generation.prompt_progress import PromptProgress
from ..generation.stop_report import StopReport
from ..generation.timings import Timings
from ..generation.tools.calls import CallDelta, CallFinish, MessageCalls
from ..generation.usage import Usage

ServiceTier = Literal["default", "flex"]


class Delta(CallDelta, total=False):
    """What a chunk adds to the message; the first one of a choice carries the role."""

    role: Literal["assistant"]
    content: str | None
    reasoning_content: str
    refusal: None


class ChunkChoice(StopReport):
    """A part of one answer."""

    index: int
    delta: Delta
    logprobs: ChatLogprobs | None
    finish_reason: CallFinish | None


class ChatCompletionChunk(AnswerHead):
    """The data of one event; `usage` is there when it was asked for, and null on all but the last."""

    object: Literal["chat.completion.chunk"]
    choices: list[ChunkChoice]
    service_tier: NotRequired[ServiceTier]
    usage: NotRequired[Usage | None]
    timings: NotRequired[Timings]
    prompt_progress: NotRequired[PromptProgress]
    store: NotRequired[Literal[False]]
    """False, on the last chunk, if the answer could not be stored."""


class AssistantAnswer(MessageCalls):
    """The message of one answer; content is null where there are only calls."""

    role: Literal["assistant"]
    content: str | None
    refusal: None
    reasoning_content: NotRequired[str]


class ChatChoice(StopReport):
    """One answer."""

    index: int
    message: AssistantAnswer
    logprobs: ChatLogprobs | None
    finish_reason: CallFinish | None


class ChatCompletion(AnswerHead):
    """The whole answer."""

    object: Literal["chat.completion"]
    choices: list[ChatChoice]
    service_tier: NotRequired[ServiceTier]
    usage: Usage
    timings: NotRequired[Timings]
    metadata: NotRequired[dict[str, str]]
    store: NotRequired[Literal[False]]
    """False if the answer could not be stored."""
