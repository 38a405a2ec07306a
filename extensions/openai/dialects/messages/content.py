"""What messages hold on the wire: blocks of text, pictures, documents, thoughts, calls and their results.

Source: Anthropic API reference, "Create a Message", `messages`; the types of the official SDK.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Discriminator, Field, Tag
from pydantic_core import PydanticCustomError

from ...schemas.validation import RequestPart


class _Block(RequestPart):
    """What all blocks share."""

    cache_control: dict[str, Any] | None = None
    """Taken and without effect: the cache finds what prompts share by itself."""


class TextBlock(_Block):
    """A piece of text."""

    type: Literal["text"]
    text: str
    citations: list[Any] | None = None


class Base64Source(RequestPart):
    """A file in base64."""

    type: Literal["base64"]
    media_type: str
    data: str


class URLSource(RequestPart):
    """A file at an http(s) address."""

    type: Literal["url"]
    url: str


class TextSource(RequestPart):
    """A document's text as it is."""

    type: Literal["text"]
    data: str
    media_type: Literal["text/plain"] = "text/plain"


class FileSource(RequestPart):
    """A file that was uploaded before."""

    type: Literal["file"]
    file_id: str


class ImageBlock(_Block):
    """A picture, for models that can see."""

    type: Literal["image"]
    source: Annotated[Base64Source | URLSource | FileSource, Field(discriminator="type")]


SourceContent = Annotated[TextBlock | ImageBlock, Field(discriminator="type")]


class ContentSource(RequestPart):
    """A document that is made of blocks."""

    type: Literal["content"]
    content: str | list[SourceContent]


class DocumentBlock(_Block):
    """A document; the model is given its text."""

    type: Literal["document"]
    source: Annotated[
        Base64Source | URLSource | FileSource | TextSource | ContentSource,
        Field(discriminator="type"),
    ]
    title: str | None = None
    context: str | None = None
    citations: dict[str, Any] | None = None


class SearchResultBlock(_Block):
    """What a search of the client's has found."""

    type: Literal["search_result"]
    source: str
    title: str
    content: list[TextBlock]
    citations: dict[str, Any] | None = None


class ThinkingBlock(_Block):
    """An earlier thought of the assistant, with the signature that it came with."""

    type: Literal["thinking"]
    thinking: str
    signature: str | None = None


class RedactedThinkingBlock(_Block):
    """An earlier thought that only its provider can read."""

    type: Literal["redacted_thinking"]
    data: str


class ToolUseBlock(_Block):
    """A call that the assistant made earlier."""

    type: Literal["tool_use"]
    id: str = Field(min_length=1)
    name: str = Field(min_length=1)
    input: dict[str, Any]


class ToolReferenceBlock(_Block):
    """A tool that a search of the client's has found; its definition is among the request's tools."""

    type: Literal["tool_reference"]
    tool_name: str


ResultBlock = Annotated[
    TextBlock | ImageBlock | DocumentBlock | SearchResultBlock | ToolReferenceBlock,
    Field(discriminator="type"),
]


class ToolResultBlock(_Block):
    """The result of a call."""

    type: Literal["tool_result"]
    tool_use_id: str = Field(min_length=1)
    content: str | list[ResultBlock] | None = None
    is_error: bool | None = None
    """Without effect: templates have no place for it, and what the tool says goes to the model as it is."""


class HostedBlock(RequestPart):
    """A call that a provider carried out itself, or its result, in a history that comes from there."""

    model_config = ConfigDict(extra="ignore")

    type: str


KNOWN = (
    *("text", "image", "document", "search_result", "thinking", "redacted_thinking"),
    *("tool_use", "tool_result", "tool_reference"),
)
_HOSTED = re.compile(
    r"server_tool_use|mcp_tool_use|container_upload|compaction|fallback|\w+_tool_result"
)


def _form(value: Any) -> str:
    """Which member of the union a block is."""
    kind = value.get("type") if isinstance(value, Mapping) else getattr(value, "type", None)
    return f"<{kind}>" if kind in KNOWN else "<hosted>"


def _only(*kinds: str) -> BeforeValidator:
    """Refuses blocks that messages of a role do not have."""
    expected = ", ".join(map(repr, kinds))
    context = {"discriminator": "'type'", "expected_tags": expected}

    def check(value: Any) -> Any:
        kind = value.get("type") if isinstance(value, Mapping) else None
        is_hosted = isinstance(kind, str) and _HOSTED.fullmatch(kind)
        if not isinstance(value, Mapping) or kind in kinds or is_hosted:
            return value
        raise PydanticCustomError("unknown_member", "no block of such a message", context)

    return BeforeValidator(check)


# Tags stand in the places of errors, so none may be the name of a field.
UserBlock = Annotated[
    Annotated[TextBlock, Tag("<text>")]
    | Annotated[ImageBlock, Tag("<image>")]
    | Annotated[DocumentBlock, Tag("<document>")]
    | Annotated[SearchResultBlock, Tag("<search_result>")]
    | Annotated[ToolResultBlock, Tag("<tool_result>")]
    | Annotated[ToolReferenceBlock, Tag("<tool_reference>")]
    | Annotated[HostedBlock, Tag("<hosted>")],
    Discriminator(_form),
    _only("text", "image", "document", "search_result", "tool_result", "tool_reference"),
]
AssistantBlock = Annotated[
    Annotated[TextBlock, Tag("<text>")]
    | Annotated[ThinkingBlock, Tag("<thinking>")]
    | Annotated[RedactedThinkingBlock, Tag("<redacted_thinking>")]
    | Annotated[ToolUseBlock, Tag("<tool_use>")]
    | Annotated[HostedBlock, Tag("<hosted>")],
    Discriminator(_form),
    _only("text", "thinking", "redacted_thinking", "tool_use"),
]
Texts = list[TextBlock]


class UserMessage(RequestPart):
    """What the user says, and what tools have returned."""

    role: Literal["user"]
    content: str | list[UserBlock]


class AssistantMessage(RequestPart):
    """What the model said before."""

    role: Literal["assistant"]
    content: str | list[AssistantBlock]


class SystemMessage(RequestPart):
    """Instructions in the middle of a conversation."""

    role: Literal["system"]
    content: str | Texts


AnyBlock = (
    TextBlock
    | ImageBlock
    | DocumentBlock
    | SearchResultBlock
    | ThinkingBlock
    | RedactedThinkingBlock
    | ToolUseBlock
    | ToolResultBlock
    | ToolReferenceBlock
    | HostedBlock
)
MessageParam = Annotated[
    UserMessage | AssistantMessage | SystemMessage, Field(discriminator="role")
]


def blocks_of(message: UserMessage | AssistantMessage | SystemMessage) -> Sequence[AnyBlock]:
    """The blocks of a message; none where its content is a text."""
    return () if isinstance(message.content, str) else message.content
