"""Messages as clients send them, and as engines take them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from .. import refusals
from ..engines.base import Message, ToolCall


class _Part(BaseModel):
    """What all parts of requests share: strict types, unknown fields let through."""

    model_config = ConfigDict(strict=True, extra="allow", frozen=True)


class TextPart(_Part):
    """A piece of text."""

    type: Literal["text"]
    text: str


class RefusalPart(_Part):
    """An earlier refusal of the assistant, given back as history."""

    type: Literal["refusal"]
    refusal: str


class ImagePart(_Part):
    """An image; refused, as the loaded model takes text only."""

    type: Literal["image_url"]


class AudioPart(_Part):
    """Sound; refused, as the loaded model takes text only."""

    type: Literal["input_audio"]


class FilePart(_Part):
    """A file; refused, as the loaded model takes text only."""

    type: Literal["file"]


ContentPart = Annotated[
    TextPart | RefusalPart | ImagePart | AudioPart | FilePart, Field(discriminator="type")
]
Content = str | Annotated[list[ContentPart], Field(min_length=1)]


class FunctionCall(_Part):
    """A function's name and its arguments, as JSON text or, as some clients send them, as an object."""

    name: str
    arguments: str | dict[str, Any]

    @property
    def text(self) -> str:
        """The arguments as JSON text."""
        if isinstance(self.arguments, str):
            return self.arguments
        return orjson.dumps(self.arguments).decode()


class FunctionToolCall(_Part):
    """A tool call that the assistant made earlier."""

    id: str
    type: Literal["function"] = "function"
    function: FunctionCall


class CustomCall(_Part):
    """A custom tool's name and its input."""

    name: str
    input: str


class CustomToolCall(_Part):
    """A call of a custom tool that the assistant made earlier."""

    id: str
    type: Literal["custom"]
    custom: CustomCall


def _call_type(value: Any) -> str:
    """A call is one of a function unless it says otherwise."""
    kind = value.get("type", "function") if isinstance(value, dict) else "function"
    return "custom" if kind == "custom" else "function"


EarlierCall = Annotated[
    Annotated[FunctionToolCall, Tag("function")] | Annotated[CustomToolCall, Tag("custom")],
    Discriminator(_call_type),
]


class SystemMessage(_Part):
    """Instructions of the operator."""

    role: Literal["system"]
    content: Content
    name: str | None = None


class DeveloperMessage(_Part):
    """Instructions of the developer; models take them as a system message."""

    role: Literal["developer"]
    content: Content
    name: str | None = None


class UserMessage(_Part):
    """What the user says."""

    role: Literal["user"]
    content: Content
    name: str | None = None


class AssistantMessage(_Part):
    """What the model said before; content may be null where it called tools."""

    role: Literal["assistant"]
    content: Content | None = None
    refusal: str | None = None
    name: str | None = None
    tool_calls: list[EarlierCall] | None = None
    function_call: FunctionCall | None = None


class ToolMessage(_Part):
    """The result of a tool call."""

    role: Literal["tool"]
    content: Content
    tool_call_id: str


class FunctionMessage(_Part):
    """The result of a function call, in the older form."""

    role: Literal["function"]
    content: str | None
    name: str


ChatMessage = Annotated[
    SystemMessage
    | DeveloperMessage
    | UserMessage
    | AssistantMessage
    | ToolMessage
    | FunctionMessage,
    Field(discriminator="role"),
]


def to_engine(messages: list[ChatMessage]) -> tuple[Message, ...]:
    """The messages for an engine, in their order. Raises InvalidRequest, naming the place."""
    return tuple(_plain(message, f"messages[{at}]") for at, message in enumerate(messages))


def _plain(message: ChatMessage, where: str) -> Message:
    text = _text(message.content, f"{where}.content")
    if isinstance(message, (SystemMessage, DeveloperMessage)):
        return Message("system", text, message.name)
    if isinstance(message, UserMessage):
        return Message("user", text, message.name)
    if isinstance(message, ToolMessage):
        return Message("tool", text, tool_call_id=message.tool_call_id)
    if isinstance(message, FunctionMessage):
        return Message("tool", text, message.name, tool_call_id=message.name)
    calls = tuple(map(_call, message.tool_calls or ()))
    if message.function_call is not None:
        call = message.function_call
        calls += (ToolCall(call.name, call.name, call.text),)
    if text is None and message.refusal is not None:
        text = message.refusal
    if text is None and not calls:
        raise refusals.missing(f"{where}.content")
    return Message("assistant", text, message.name, calls)


def _call(call: FunctionToolCall | CustomToolCall) -> ToolCall:
    if isinstance(call, FunctionToolCall):
        return ToolCall(call.id, call.function.name, call.function.text)
    arguments = orjson.dumps({"input": call.custom.input}).decode()
    return ToolCall(call.id, call.custom.name, arguments)


def _text(content: Content | None, where: str) -> str | None:
    """Text parts are joined with nothing between them: no character is added to what was sent."""
    if content is None or isinstance(content, str):
        return content
    texts: list[str] = []
    for at, part in enumerate(content):
        if isinstance(part, TextPart):
            texts.append(part.text)
        elif isinstance(part, RefusalPart):
            texts.append(part.refusal)
        else:
            raise refusals.unsupported(
                f"{where}[{at}]",
                f"is a part of type '{part.type}', and the loaded model takes text only.",
            )
    return "".join(texts)
