"""A response, its items, and the events that it comes in.

Source: OpenAI API reference, "The response object" and "Streaming events"; Open Responses, whose required
fields are all there.
"""

from __future__ import annotations

import time
from typing import Any, Literal

from typing_extensions import NotRequired, TypedDict

from ...engines.protocol import EngineInfo
from ...generation.answer_head import answer_head
from ...generation.logprobs import ChatTokenLogprob
from ...generation.sampling.table import ROWS
from ...generation.usage import UsageCount
from .request import ResponsesRequest, TextOutput
from .tools import echoed

Status = Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]
ItemStatus = Literal["in_progress", "completed", "incomplete"]


class OutputTextPart(TypedDict):
    """What the model says."""

    type: Literal["output_text"]
    text: str
    annotations: list[Any]
    logprobs: list[ChatTokenLogprob]


class ReasoningTextPart(TypedDict):
    """What it thinks."""

    type: Literal["reasoning_text"]
    text: str


class OutputMessage(TypedDict):
    """A text of the model's."""

    id: str
    type: Literal["message"]
    status: ItemStatus
    role: Literal["assistant"]
    content: list[OutputTextPart]


class OutputReasoning(TypedDict):
    """A thought of the model's."""

    id: str
    type: Literal["reasoning"]
    status: ItemStatus
    summary: list[Any]
    content: list[ReasoningTextPart]
    encrypted_content: NotRequired[str]


class OutputFunctionCall(TypedDict):
    """A function's call."""

    id: str
    type: Literal["function_call"]
    status: ItemStatus
    call_id: str
    name: str
    arguments: str
    namespace: NotRequired[str]


class OutputCustomCall(TypedDict):
    """A custom tool's call."""

    id: str
    type: Literal["custom_tool_call"]
    status: ItemStatus
    call_id: str
    name: str
    input: str
    namespace: NotRequired[str]


class OutputMcpCall(TypedDict):
    """A call of a tool server's tool, which this server has made."""

    id: str
    type: Literal["mcp_call"]
    status: ItemStatus | Literal["failed"]
    server_label: str
    name: str
    arguments: str
    output: str | None
    error: str | None


class OutputCompaction(TypedDict):
    """What stands for all items before it, and only this server can read."""

    id: str
    type: Literal["compaction"]
    encrypted_content: str


OutputItem = (
    OutputMessage
    | OutputReasoning
    | OutputFunctionCall
    | OutputCustomCall
    | OutputMcpCall
    | OutputCompaction
)


class InputTokensDetails(TypedDict):
    """What is known of the prompt's tokens."""

    cached_tokens: int
    cache_write_tokens: int


class OutputTokensDetails(TypedDict):
    """What the answer's tokens were for."""

    reasoning_tokens: int


class ResponseUsage(TypedDict):
    """Tokens."""

    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails
    total_tokens: int
    estimated: NotRequired[bool]
    """As in chat's usage. Not OpenAI's."""


class ResponseError(TypedDict):
    """Why a response failed."""

    code: str
    message: str


class IncompleteDetails(TypedDict):
    """Why a response is not complete."""

    reason: Literal["max_output_tokens"]


class ReasoningEcho(TypedDict):
    """How much the request wanted it to think."""

    effort: str | None
    summary: str | None


class ConversationReference(TypedDict):
    """The conversation that a response was made in."""

    id: str


class Response(TypedDict):
    """The whole object, as it stands at the time of an event."""

    id: str
    object: Literal["response"]
    created_at: int
    status: Status
    completed_at: int | None
    error: ResponseError | None
    incomplete_details: IncompleteDetails | None
    model: str
    output: list[OutputItem]
    usage: ResponseUsage | None
    instructions: str | None
    tools: list[dict[str, Any]]
    tool_choice: str | dict[str, Any]
    parallel_tool_calls: bool
    text: dict[str, Any]
    reasoning: ReasoningEcho
    truncation: Literal["auto", "disabled"]
    temperature: float
    top_p: float
    presence_penalty: float
    frequency_penalty: float
    top_logprobs: int
    max_output_tokens: int | None
    max_tool_calls: int | None
    previous_response_id: str | None
    conversation: ConversationReference | None
    store: bool
    background: bool
    service_tier: Literal["default", "flex"]
    metadata: dict[str, str]
    user: str | None
    safety_identifier: str | None
    prompt_cache_key: str | None


class Lifecycle(TypedDict):
    type: Literal[
        "response.created",
        "response.queued",
        "response.in_progress",
        "response.completed",
        "response.incomplete",
        "response.failed",
    ]
    sequence_number: int
    response: Response


class ItemEvent(TypedDict):
    type: Literal["response.output_item.added", "response.output_item.done"]
    sequence_number: int
    output_index: int
    item: OutputItem


class PartEvent(TypedDict):
    type: Literal["response.content_part.added", "response.content_part.done"]
    sequence_number: int
    item_id: str
    output_index: int
    content_index: int
    part: OutputTextPart | ReasoningTextPart


class TextDelta(TypedDict):
    type: Literal["response.output_text.delta"]
    sequence_number: int
    item_id: str
    output_index: int
    content_index: int
    delta: str
    logprobs: list[ChatTokenLogprob]


class TextDone(TypedDict):
    type: Literal["response.output_text.done"]
    sequence_number: int
    item_id: str
    output_index: int
    content_index: int
    text: str
    logprobs: list[ChatTokenLogprob]


class ReasoningDelta(TypedDict):
    type: Literal["response.reasoning_text.delta"]
    sequence_number: int
    item_id: str
    output_index: int
    content_index: int
    delta: str


class ReasoningDone(TypedDict):
    type: Literal["response.reasoning_text.done"]
    sequence_number: int
    item_id: str
    output_index: int
    content_index: int
    text: str


class CallDelta(TypedDict):
    type: Literal["response.function_call_arguments.delta", "response.custom_tool_call_input.delta"]
    sequence_number: int
    item_id: str
    output_index: int
    delta: str


class McpCallEvent(TypedDict):
    type: Literal[
        "response.mcp_call.in_progress", "response.mcp_call.completed", "response.mcp_call.failed"
    ]
    sequence_number: int
    item_id: str
    output_index: int


class McpArgumentsDelta(TypedDict):
    type: Literal["response.mcp_call_arguments.delta"]
    sequence_number: int
    item_id: str
    output_index: int
    delta: str


class McpArgumentsDone(TypedDict):
    type: Literal["response.mcp_call_arguments.done"]
    sequence_number: int
    item_id: str
    output_index: int
    arguments: str


class ArgumentsDone(TypedDict):
    type: Literal["response.function_call_arguments.done"]
    sequence_number: int
    item_id: str
    output_index: int
    name: str
    arguments: str


class InputDone(TypedDict):
    type: Literal["response.custom_tool_call_input.done"]
    sequence_number: int
    item_id: str
    output_index: int
    input: str


class ErrorEvent(TypedDict):
    type: Literal["error"]
    sequence_number: int
    code: str | None
    message: str
    param: str | None


ResponseEvent = (
    Lifecycle
    | ItemEvent
    | PartEvent
    | TextDelta
    | TextDone
    | ReasoningDelta
    | ReasoningDone
    | CallDelta
    | ArgumentsDone
    | McpCallEvent
    | McpArgumentsDelta
    | McpArgumentsDone
    | InputDone
    | ErrorEvent
)


class InputItems(TypedDict):
    """A page of what a response was made from; the ids are empty texts on an empty page."""

    object: Literal["list"]
    data: list[dict[str, Any]]
    first_id: str
    last_id: str
    has_more: bool


class ResponseList(TypedDict):
    """A page of stored responses; the ids are empty texts on an empty page."""

    object: Literal["list"]
    data: list[Response]
    first_id: str
    last_id: str
    has_more: bool


class DeletedResponse(TypedDict):
    """The response is deleted."""

    id: str
    object: Literal["response"]
    deleted: bool


class InputTokens(TypedDict):
    """How many tokens the prompt of a response has."""

    object: Literal["response.input_tokens"]
    input_tokens: int


class CompactedConversation(TypedDict):
    """Items to go on from in place of a conversation."""

    id: str
    object: Literal["response.compaction"]
    created_at: int
    output: list[dict[str, Any]]
    usage: ResponseUsage


def begun(body: ResponsesRequest, info: EngineInfo, *, store: bool) -> Response:
    """The response to a request before anything of it is there."""
    head = answer_head("resp_", info)
    reasoning, text = body.reasoning, body.text
    choice = body.tool_choice
    form = TextOutput(type="text") if text is None or text.format is None else text.format
    shown: dict[str, Any] = {"format": form.model_dump(exclude_none=True, by_alias=True)}
    if text is not None and text.verbosity is not None:
        shown["verbosity"] = text.verbosity
    return {
        "id": head["id"],
        "object": "response",
        "created_at": head["created"],
        "status": "queued" if body.background else "in_progress",
        "completed_at": None,
        "error": None,
        "incomplete_details": None,
        "model": head["model"],
        "output": [],
        "usage": None,
        "instructions": body.instructions,
        "tools": echoed(body.tools),
        "tool_choice": (choice or "auto")
        if choice is None or isinstance(choice, str)
        else choice.model_dump(exclude_none=True),
        "parallel_tool_calls": body.parallel_tool_calls is not False,
        "text": shown,
        "reasoning": {
            "effort": None if reasoning is None else reasoning.effort,
            "summary": None,
        },
        "truncation": body.truncation or "disabled",
        "temperature": _sampling(body, "temperature"),
        "top_p": _sampling(body, "top_p"),
        "presence_penalty": _sampling(body, "presence_penalty"),
        "frequency_penalty": _sampling(body, "frequency_penalty"),
        "top_logprobs": body.top_logprobs or 0,
        "max_output_tokens": body.max_output_tokens,
        "max_tool_calls": body.max_tool_calls,
        "previous_response_id": body.previous_response_id,
        "conversation": None if body.conversation_id is None else {"id": body.conversation_id},
        "store": store,
        "background": bool(body.background),
        "service_tier": "flex" if body.service_tier == "flex" else "default",
        "metadata": body.metadata or {},
        "user": body.user,
        "safety_identifier": body.safety_identifier,
        "prompt_cache_key": body.prompt_cache_key,
    }


def _sampling(body: ResponsesRequest, name: str) -> float:
    """A parameter as it is in force."""
    given = getattr(body, name)
    return float(ROWS[name].default if given is None else given)


def usage_of(count: UsageCount) -> ResponseUsage:
    """The tokens, in the words of Responses."""
    usage = count.total()
    found: ResponseUsage = {
        "input_tokens": usage["prompt_tokens"],
        "input_tokens_details": {
            "cached_tokens": usage["prompt_tokens_details"]["cached_tokens"],
            "cache_write_tokens": 0,
        },
        "output_tokens": usage["completion_tokens"],
        "output_tokens_details": {
            "reasoning_tokens": usage["completion_tokens_details"]["reasoning_tokens"]
        },
        "total_tokens": usage["total_tokens"],
    }
    if "estimated" in usage:
        found["estimated"] = usage["estimated"]
    return found


def now() -> int:
    return int(time.time())
