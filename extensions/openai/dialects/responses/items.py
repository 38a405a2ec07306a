"""What goes into a response on the wire: messages, calls, their outputs, thoughts.

Source: OpenAI API reference, "Create a model response", `input`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Discriminator, Field, Tag
from pydantic_core import PydanticCustomError

from ...generation.media.images import Detail
from ...schemas.validation import RequestPart

Status = Literal["in_progress", "completed", "incomplete"]
MAX_SEALED_CHARACTERS = 20_971_520


class InputText(RequestPart):
    """A piece of text."""

    type: Literal["input_text", "text"]
    text: str
    prompt_cache_breakpoint: dict[str, Any] | None = None
    """Taken and without effect: the cache finds what prompts share by itself."""


class InputImage(RequestPart):
    """A picture, for models that can see."""

    type: Literal["input_image"]
    image_url: str | None = None
    file_id: str | None = None
    detail: Detail | None = None
    prompt_cache_breakpoint: dict[str, Any] | None = None


class InputFile(RequestPart):
    """A file that holds text; the model is given its text."""

    type: Literal["input_file"]
    filename: str | None = None
    file_data: str | None = None
    file_id: str | None = None
    file_url: str | None = None
    detail: str | None = None
    prompt_cache_breakpoint: dict[str, Any] | None = None


class OutputText(RequestPart):
    """What the model said before."""

    type: Literal["output_text"]
    text: str
    annotations: list[Any] | None = None
    logprobs: list[Any] | None = None


class Refusal(RequestPart):
    """An earlier refusal of the assistant."""

    type: Literal["refusal"]
    refusal: str


Part = Annotated[
    InputText | InputImage | InputFile | OutputText | Refusal, Field(discriminator="type")
]
Content = str | list[Part]


class MessageItem(RequestPart):
    """What someone says."""

    type: Literal["message"] = "message"
    role: Literal["user", "assistant", "system", "developer"]
    content: Content
    id: str | None = None
    status: Status | None = None
    phase: str | None = None


class FunctionCallItem(RequestPart):
    """A function's call that the model made earlier."""

    type: Literal["function_call"]
    call_id: str
    name: str
    arguments: str
    namespace: str | None = None
    id: str | None = None
    status: Status | None = None


class CustomCallItem(RequestPart):
    """A custom tool's call that the model made earlier."""

    type: Literal["custom_tool_call"]
    call_id: str
    name: str
    input: str
    namespace: str | None = None
    id: str | None = None
    status: Status | None = None


class CallOutputItem(RequestPart):
    """What a call has returned."""

    type: Literal["function_call_output", "custom_tool_call_output"]
    call_id: str | None = None
    output: Content
    id: str | None = None
    name: str | None = None
    namespace: str | None = None
    status: Status | None = None


class ReasoningText(RequestPart):
    """A piece of a thought."""

    type: Literal["reasoning_text"]
    text: str


class SummaryText(RequestPart):
    """A piece of a thought's summary."""

    type: Literal["summary_text"]
    text: str


class ReasoningItem(RequestPart):
    """What the model thought before."""

    type: Literal["reasoning"]
    id: str | None = None
    summary: list[SummaryText] | None = None
    content: list[ReasoningText] | None = None
    encrypted_content: str | None = None
    """The thought, sealed by this server; it counts instead of the content."""
    status: Status | None = None


class ItemReference(RequestPart):
    """An item that is kept."""

    type: Literal["item_reference"] | None = None
    id: str


class CompactionItem(RequestPart):
    """A conversation that was made shorter: it stands for all items before it."""

    type: Literal["compaction"]
    encrypted_content: str = Field(max_length=MAX_SEALED_CHARACTERS)
    id: str | None = None


class CompactionTrigger(RequestPart):
    """Asks for a compaction item in place of an answer; the last item."""

    type: Literal["compaction_trigger"]


class HostedItem(RequestPart):
    """A tool's work that a provider did itself, in a history that comes from there."""

    model_config = ConfigDict(extra="ignore")

    type: str


KNOWN: Mapping[str, str] = {
    "message": "<message>",
    "function_call": "<function_call>",
    "function_call_output": "<call_output>",
    "custom_tool_call": "<custom_tool_call>",
    "custom_tool_call_output": "<call_output>",
    "reasoning": "<reasoning>",
    "item_reference": "<item_reference>",
    "compaction": "<compaction>",
    "compaction_trigger": "<compaction_trigger>",
}
_HOSTED = re.compile(
    r"\w+_call(_output)?|mcp_\w+|tool_search_output|program(_output)?|additional_tools"
)


def _type(value: Any) -> Any:
    """What kind of item a value says it is; one without a type is a message, or refers to an item."""
    if not isinstance(value, Mapping):
        return getattr(value, "type", None)
    kind = value.get("type")
    if kind is None:
        return "item_reference" if "id" in value and "role" not in value else "message"
    return kind


def _form(value: Any) -> str:
    """Which member of the union an item is."""
    kind = _type(value)
    return KNOWN.get(kind, "<hosted>") if isinstance(kind, str) else "<hosted>"


def _known(value: Any) -> Any:
    """Refuse a type that is not known."""
    kind = _type(value)
    if not isinstance(value, Mapping) or (
        isinstance(kind, str) and (kind in KNOWN or _HOSTED.fullmatch(kind))
    ):
        return value
    expected = ", ".join(map(repr, KNOWN))
    context = {"discriminator": "'type'", "expected_tags": expected}
    raise PydanticCustomError("unknown_member", "no type of an item", context)


# Tags stand in the places of errors, so none may be the name of a field.
InputItem = Annotated[
    Annotated[MessageItem, Tag("<message>")]
    | Annotated[FunctionCallItem, Tag("<function_call>")]
    | Annotated[CustomCallItem, Tag("<custom_tool_call>")]
    | Annotated[CallOutputItem, Tag("<call_output>")]
    | Annotated[ReasoningItem, Tag("<reasoning>")]
    | Annotated[ItemReference, Tag("<item_reference>")]
    | Annotated[CompactionItem, Tag("<compaction>")]
    | Annotated[CompactionTrigger, Tag("<compaction_trigger>")]
    | Annotated[HostedItem, Tag("<hosted>")],
    Discriminator(_form),
    BeforeValidator(_known),
]
AnyItem = (
    MessageItem
    | FunctionCallItem
    | CustomCallItem
    | CallOutputItem
    | ReasoningItem
    | ItemReference
    | CompactionItem
    | CompactionTrigger
    | HostedItem
)
