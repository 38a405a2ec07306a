"""The items of a request for a response, as engines take them: messages of a conversation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import orjson

from ...engines.protocol import Media, Message, ToolCall
from ...generation.chat.messages import with_ids
from ...generation.media.reader import MediaReader
from ...schemas import bad_request
from ..parts import joined, seen_of, text_of
from .items import (
    AnyItem,
    CallOutputItem,
    CustomCallItem,
    FunctionCallItem,
    InputFile,
    InputImage,
    InputText,
    MessageItem,
    OutputText,
    ReasoningItem,
    Refusal,
)
from .response import Response
from .stored_items import from_store
from .tools import NO_TOOLS, ToolNames

AnyPart = InputText | InputImage | InputFile | OutputText | Refusal


def to_messages(
    instructions: str | None,
    items: Sequence[tuple[str, AnyItem]],
    reader: Callable[[], MediaReader],
    *,
    names: ToolNames = NO_TOOLS,
) -> tuple[Message, ...]:
    """The messages for an engine, in their order; each item with its place in the request. Calls have the
    `names` that the model knows. Raises InvalidRequest, naming the place."""
    media = sum(_media_in(item) for _, item in items)
    translation = _Translation(MediaReader() if not media else reader(), names)
    translation.media.check_count(media, "input")
    system = [Message("system", instructions)] if instructions else []
    return tuple(with_ids([*system, *translation.messages(items)]))


def answered(response: Response, names: ToolNames) -> tuple[Message, ...]:
    """A response as the messages of the conversation that goes on from it."""
    items = from_store([dict(item) for item in response["output"]])
    return to_messages(None, [("output", item) for item in items], MediaReader, names=names)


def _media_in(item: AnyItem) -> int:
    content = item.content if isinstance(item, MessageItem) else None
    if isinstance(item, CallOutputItem):
        content = item.output
    return sum(isinstance(part, (InputImage, InputFile)) for part in _parts(content))


def _parts(content: str | Sequence[AnyPart] | None) -> Iterable[AnyPart]:
    return () if content is None or isinstance(content, str) else content


@dataclass(frozen=True, slots=True)
class _Translation:
    media: MediaReader
    names: ToolNames

    def messages(self, items: Iterable[tuple[str, AnyItem]]) -> Iterator[Message]:
        """What the model thought, said and called in one turn is one message."""
        turn: Message | None = None
        for where, item in items:
            following = self._assistants(item)
            if following is None:
                if turn is not None:
                    yield _whole(turn)
                turn = None
                yield from self._others(item, where)
            elif turn is None or not _goes_on(turn, following):
                if turn is not None:
                    yield _whole(turn)
                turn = following
            else:
                turn = _together(turn, following)
        if turn is not None:
            yield _whole(turn)

    def _assistants(self, item: AnyItem) -> Message | None:
        """A part of a turn of the model's; None for all else."""
        if isinstance(item, ReasoningItem):
            texts = [part.text for part in item.content or item.summary or ()]
            return Message("assistant", None, reasoning="".join(texts) or None)
        if isinstance(item, FunctionCallItem):
            name = self.names.for_model(item.name, item.namespace)
            call = ToolCall(item.call_id, name, item.arguments)
            return Message("assistant", None, tool_calls=(call,))
        if isinstance(item, CustomCallItem):
            arguments = orjson.dumps({"input": item.input}).decode()
            name = self.names.for_model(item.name, item.namespace)
            call = ToolCall(item.call_id, name, arguments)
            return Message("assistant", None, tool_calls=(call,))
        if isinstance(item, MessageItem) and item.role == "assistant":
            # What the model has said itself is put together as it came, without anything between.
            texts = [item.content] if isinstance(item.content, str) else []
            texts += [text for part in _parts(item.content) if (text := _text_of(part)) is not None]
            return Message("assistant", "".join(texts))
        return None

    def _others(self, item: AnyItem, where: str) -> Iterator[Message]:
        if isinstance(item, MessageItem):
            parts = self._read(item.content, f"{where}.content")
            role: Literal["user", "system"] = "user" if item.role == "user" else "system"
            seen = seen_of(parts) if role == "user" else ()
            yield Message(role, text_of(parts), parts=seen)
        elif isinstance(item, CallOutputItem):
            parts = self._read(item.output, f"{where}.output")
            yield Message("tool", text_of(parts), tool_call_id=item.call_id, parts=seen_of(parts))

    def _read(self, content: str | Sequence[AnyPart], where: str) -> list[str | Media]:
        if isinstance(content, str):
            return [content]
        return joined(self._part(part, f"{where}[{at}]") for at, part in enumerate(content))

    def _part(self, part: AnyPart, where: str) -> str | Media:
        if isinstance(part, InputImage):
            if part.file_id is not None:
                _check_alone(part.image_url, where, "image_url")
                return self.media.stored_image(
                    part.file_id, part.detail, where, "file_id", "input_image"
                )
            if part.image_url is None:
                raise bad_request.missing(f"{where}.image_url")
            return self.media.image(part.image_url, part.detail, where, "image_url", "input_image")
        if isinstance(part, InputFile):
            if part.file_url is not None:
                raise bad_request.unsupported(
                    f"{where}.file_url", "is an address, and this server fetches no files."
                )
            if part.file_id is not None:
                _check_alone(part.file_data, where, "file_data")
                return self.media.stored_file(part.filename, part.file_id, where, "file_id")
            if part.file_data is None:
                raise bad_request.missing(f"{where}.file_data")
            return self.media.file(part.filename, part.file_data, where, "file_data")
        return _text_of(part) or ""


def _text_of(part: AnyPart) -> str | None:
    if isinstance(part, Refusal):
        return part.refusal
    return part.text if isinstance(part, (InputText, OutputText)) else None


def _check_alone(other: str | None, where: str, name: str) -> None:
    """Raises InvalidRequest where a part holds what its `file_id` names as well."""
    if other is not None:
        raise bad_request.conflicting(f"{where}.file_id", name)


def _goes_on(turn: Message, following: Message) -> bool:
    """Whether a part belongs to the turn: calls do, and all else before there is a word or a call."""
    return bool(following.tool_calls) or (turn.content is None and not turn.tool_calls)


def _together(turn: Message, following: Message) -> Message:
    return replace(
        turn,
        content=following.content if turn.content is None else turn.content,
        tool_calls=turn.tool_calls + following.tool_calls,
        reasoning=(turn.reasoning or "") + (following.reasoning or "") or None,
    )


def _whole(turn: Message) -> Message:
    """A turn in which the model only thought said nothing."""
    return turn if turn.tool_calls or turn.content is not None else replace(turn, content="")
