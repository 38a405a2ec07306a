"""A message that the model makes, and the events that it comes in.

Source: Anthropic API reference, "Create a Message" and "Streaming Messages".
"""

from __future__ import annotations

from typing import Any, Literal

from typing_extensions import NotRequired, TypedDict

from ...generation.usage import UsageCount

StopReason = Literal[
    "end_turn", "max_tokens", "stop_sequence", "tool_use", "model_context_window_exceeded"
]


class TextContent(TypedDict):
    """What the model says."""

    type: Literal["text"]
    text: str
    citations: None


class ThinkingContent(TypedDict):
    """What it thinks; the signature is needed to give it back."""

    type: Literal["thinking"]
    thinking: str
    signature: str


class ToolUseContent(TypedDict):
    """A call; its input comes in parts of JSON text."""

    type: Literal["tool_use"]
    id: str
    name: str
    input: dict[str, Any]


ContentBlock = TextContent | ThinkingContent | ToolUseContent


class OutputTokensDetails(TypedDict):
    """What the answer's tokens were for."""

    thinking_tokens: int


class MessageUsage(TypedDict):
    """Tokens; the prompt's are the sum of the first three."""

    input_tokens: int
    """Of the prompt, without those that the cache had."""
    cache_creation_input_tokens: int
    cache_read_input_tokens: int
    output_tokens: int
    output_tokens_details: OutputTokensDetails
    estimated: NotRequired[bool]
    """As in chat's usage. Not Anthropic's."""


class AnthropicMessage(TypedDict):
    """The whole answer."""

    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    model: str
    content: list[ContentBlock]
    stop_reason: StopReason | None
    stop_sequence: str | None
    usage: MessageUsage
    store: NotRequired[Literal[False]]
    """False if the turn of a session could not be kept. Not Anthropic's."""


class MessageStart(TypedDict):
    type: Literal["message_start"]
    message: AnthropicMessage


class ContentBlockStart(TypedDict):
    type: Literal["content_block_start"]
    index: int
    content_block: ContentBlock


class TextDelta(TypedDict):
    type: Literal["text_delta"]
    text: str


class ThinkingDelta(TypedDict):
    type: Literal["thinking_delta"]
    thinking: str


class SignatureDelta(TypedDict):
    type: Literal["signature_delta"]
    signature: str


class InputJSONDelta(TypedDict):
    type: Literal["input_json_delta"]
    partial_json: str


BlockDelta = TextDelta | ThinkingDelta | SignatureDelta | InputJSONDelta


class ContentBlockDelta(TypedDict):
    type: Literal["content_block_delta"]
    index: int
    delta: BlockDelta


class ContentBlockStop(TypedDict):
    type: Literal["content_block_stop"]
    index: int


class Ending(TypedDict):
    """Why the message ended."""

    stop_reason: StopReason
    stop_sequence: str | None


class MessageDelta(TypedDict):
    type: Literal["message_delta"]
    delta: Ending
    usage: MessageUsage
    store: NotRequired[Literal[False]]
    """False if the turn of a session could not be kept. Not Anthropic's."""


class MessageStop(TypedDict):
    type: Literal["message_stop"]


class Ping(TypedDict):
    type: Literal["ping"]


MessageEvent = (
    MessageStart
    | ContentBlockStart
    | ContentBlockDelta
    | ContentBlockStop
    | MessageDelta
    | MessageStop
    | Ping
)


class TokenCount(TypedDict):
    """How many tokens the prompt of a message has."""

    input_tokens: int


def usage_of(count: UsageCount) -> MessageUsage:
    """The tokens so far, in Anthropic's words."""
    usage = count.total()
    cached = usage["prompt_tokens_details"]["cached_tokens"]
    found: MessageUsage = {
        "input_tokens": usage["prompt_tokens"] - cached,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": cached,
        "output_tokens": usage["completion_tokens"],
        "output_tokens_details": {
            "thinking_tokens": usage["completion_tokens_details"]["reasoning_tokens"]
        },
    }
    if "estimated" in usage:
        found["estimated"] = usage["estimated"]
    return found
