"""The conversation of a request for a message, as engines take it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import orjson

from ...engines.protocol import Media, Message, Tool, ToolCall
from ...generation.media.reader import MediaReader, file_text
from ...schemas import bad_request
from ..parts import BETWEEN, Parts, joined, seen_of, text_of
from .content import (
    AnyBlock,
    AssistantMessage,
    Base64Source,
    ContentSource,
    DocumentBlock,
    FileSource,
    ImageBlock,
    MessageParam,
    SearchResultBlock,
    SystemMessage,
    TextBlock,
    TextSource,
    ThinkingBlock,
    ToolReferenceBlock,
    ToolResultBlock,
    ToolUseBlock,
    UserMessage,
    blocks_of,
)
from .message import AnthropicMessage
from .request import ConversationFields, is_billing
from .signatures import ThoughtSigner

MEDIA = (ImageBlock, DocumentBlock)
FILE_ID = "source.file_id"


@dataclass(frozen=True, slots=True)
class ThoughtsBack:
    """The thoughts of a conversation that this server has signed."""

    signer: ThoughtSigner
    ignored: list[str]
    """Takes the places of all others; the model does not see those again."""

    def thought(self, block: ThinkingBlock, where: str) -> str | None:
        found = self.signer.thought(block.thinking, block.signature or "")
        if found is None:
            self.ignored.append(where)
        return found


def to_messages(
    body: ConversationFields,
    deferred: Mapping[str, Tool],
    thoughts: ThoughtsBack,
    reader: Callable[[], MediaReader],
) -> tuple[Message, ...]:
    """The messages for an engine, in their order. `deferred`: the tools that are described where a
    `tool_reference` names them. Raises InvalidRequest, naming the place."""
    _check_last(body.messages)
    translation = _Translation(deferred, thoughts, _reader(body, reader))
    conversation = chain.from_iterable(
        translation.of(message, f"messages[{at}]") for at, message in enumerate(body.messages)
    )
    return (*_system(body.system), *conversation)


def answered(message: AnthropicMessage) -> Message:
    """An answer as a message of the conversation that goes on from it."""
    texts, thoughts, calls = "", "", []
    for block in message["content"]:
        if block["type"] == "text":
            texts += block["text"]
        elif block["type"] == "thinking":
            thoughts += block["thinking"]
        else:
            arguments = orjson.dumps(block["input"]).decode()
            calls.append(ToolCall(block["id"], block["name"], arguments))
    text = texts if texts or not calls else None
    return Message("assistant", text, tool_calls=tuple(calls), reasoning=thoughts or None)


def _check_last(messages: Sequence[MessageParam]) -> None:
    """Raises InvalidRequest for a last message that could not be continued."""
    for at, block in enumerate(blocks_of(messages[-1])):
        if isinstance(block, ToolUseBlock):
            where = f"messages[{len(messages) - 1}].content[{at}]"
            raise bad_request.unsupported(
                where, "is a call, which cannot be continued; send its result after it."
            )


def _reader(body: ConversationFields, reader: Callable[[], MediaReader]) -> MediaReader:
    media = sum(map(_media_in, chain.from_iterable(map(blocks_of, body.messages))))
    if not media:
        return MediaReader()
    made = reader()
    made.check_count(media)
    return made


def _media_in(block: object) -> int:
    if isinstance(block, ToolResultBlock) and isinstance(block.content, list):
        return sum(map(_media_in, block.content))
    if isinstance(block, DocumentBlock) and isinstance(block.source, ContentSource):
        content = block.source.content
        return 0 if isinstance(content, str) else sum(map(_media_in, content))
    return isinstance(block, MEDIA)


def _system(system: str | Sequence[TextBlock] | None) -> Iterator[Message]:
    if isinstance(system, str):
        texts = [system]
    else:
        texts = [block.text for block in system or () if not is_billing(block)]
    if any(texts):
        yield Message("system", BETWEEN.join(filter(None, texts)))


@dataclass(frozen=True, slots=True)
class _Translation:
    deferred: Mapping[str, Tool]
    thoughts: ThoughtsBack
    media: MediaReader

    def of(
        self, message: UserMessage | AssistantMessage | SystemMessage, where: str
    ) -> Iterator[Message]:
        if isinstance(message.content, str):
            yield Message(message.role, message.content)
        elif isinstance(message, SystemMessage):
            yield Message("system", BETWEEN.join(block.text for block in message.content))
        elif isinstance(message, AssistantMessage):
            yield self._assistants(message.content, f"{where}.content")
        else:
            yield from self._users(message.content, f"{where}.content")

    def _users(self, blocks: Sequence[AnyBlock], where: str) -> Iterator[Message]:
        """Results of tools are messages of their own; what the user says around them stays in its order."""
        waiting: list[tuple[AnyBlock, str]] = []
        for at, block in enumerate(blocks):
            place = f"{where}[{at}]"
            if not isinstance(block, ToolResultBlock):
                waiting.append((block, place))
                continue
            yield from self._message_of(waiting)
            waiting = []
            yield self._result(block, place)
        # A message without any block that counts is still the user's turn.
        yield from self._message_of(waiting) if waiting or blocks else [Message("user", "")]

    def _message_of(self, blocks: Sequence[tuple[AnyBlock, str]]) -> Iterator[Message]:
        parts = self._parts(blocks)
        if parts:
            yield Message("user", text_of(parts), parts=seen_of(parts))

    def _result(self, block: ToolResultBlock, where: str) -> Message:
        if isinstance(block.content, str):
            return Message("tool", block.content, tool_call_id=block.tool_use_id)
        inner = [(part, f"{where}.content[{at}]") for at, part in enumerate(block.content or ())]
        parts = self._parts(inner)
        return Message("tool", text_of(parts), tool_call_id=block.tool_use_id, parts=seen_of(parts))

    def _assistants(self, blocks: Sequence[AnyBlock], where: str) -> Message:
        texts: list[str] = []
        thoughts: list[str] = []
        calls: list[ToolCall] = []
        for at, block in enumerate(blocks):
            if isinstance(block, ThinkingBlock):
                thought = self.thoughts.thought(block, f"{where}[{at}].thinking")
                thoughts += [] if thought is None else [thought]
            elif isinstance(block, ToolUseBlock):
                arguments = orjson.dumps(block.input).decode()
                calls.append(ToolCall(block.id, block.name, arguments))
            elif isinstance(block, TextBlock):
                texts.append(block.text)
        # What the model has said itself is put together as it came, without anything between.
        text = "".join(texts)
        return Message(
            "assistant",
            text if text or not calls else None,
            tool_calls=tuple(calls),
            reasoning="".join(thoughts) or None,
        )

    def _parts(self, blocks: Iterable[tuple[AnyBlock, str]]) -> Parts:
        return joined(chain.from_iterable(self._parts_of(block, where) for block, where in blocks))

    def _parts_of(self, block: AnyBlock, where: str) -> Parts:
        if isinstance(block, TextBlock):
            return [block.text]
        if isinstance(block, ImageBlock):
            return [self._picture(block, where)]
        if isinstance(block, DocumentBlock):
            return self._document(block, where)
        if isinstance(block, SearchResultBlock):
            text = BETWEEN.join(part.text for part in block.content)
            return [f"{block.title}\n{block.source}\n{text}"]
        if isinstance(block, ToolReferenceBlock):
            tool = self.deferred.get(block.tool_name)
            return [block.tool_name if tool is None else _described(tool)]
        return []

    def _picture(self, block: ImageBlock, where: str) -> Media:
        source = block.source
        if isinstance(source, FileSource):
            return self.media.stored_image(source.file_id, None, where, FILE_ID, "image")
        if isinstance(source, Base64Source):
            url, field = f"data:{source.media_type};base64,{source.data}", "source.data"
        else:
            url, field = source.url, "source.url"
        return self.media.image(url, None, where, field, "image")

    def _document(self, block: DocumentBlock, where: str) -> Parts:
        source = block.source
        if isinstance(source, TextSource):
            parts: Parts = [file_text(block.title, source.data)]
        elif isinstance(source, Base64Source):
            url = f"data:{source.media_type};base64,{source.data}"
            parts = [self.media.file(block.title, url, where, "source.data")]
        elif isinstance(source, ContentSource):
            content = source.content
            inner = [TextBlock(type="text", text=content)] if isinstance(content, str) else content
            parts = self._parts(
                (part, f"{where}.source.content[{at}]") for at, part in enumerate(inner)
            )
        elif isinstance(source, FileSource):
            parts = [self.media.stored_file(block.title, source.file_id, where, FILE_ID)]
        else:
            raise bad_request.unsupported(
                f"{where}.source.url", "is an address, and this server fetches no documents."
            )
        return [block.context, *parts] if block.context else parts


def _described(tool: Tool) -> str:
    """A tool, described to the model in the middle of a conversation."""
    function = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    return orjson.dumps({"type": "function", "function": function}).decode()
