"""The conversation of a request as engines take it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import orjson

from ...engines.protocol import Message, ToolCall
from ...generation.media.reader import MediaReader
from ..parts import Parts, seen_of, text_of
from .request import OllamaGenerateRequest, OllamaMessage


def to_messages(
    messages: Sequence[OllamaMessage], reader: Callable[[], MediaReader]
) -> tuple[Message, ...]:
    """The messages of a chat. Raises InvalidRequest, naming the place."""
    media = _reader(sum(len(message.images or ()) for message in messages), reader)
    return tuple(_each(messages, media))


def of_prompt(
    body: OllamaGenerateRequest, reader: Callable[[], MediaReader]
) -> tuple[Message, ...]:
    """A prompt as a chat: the instructions, then what to answer. Raises InvalidRequest."""
    media = _reader(len(body.images or ()), reader)
    asked = OllamaMessage(role="user", content=body.prompt or "", images=body.images)
    system = [Message("system", body.system)] if body.system else []
    return (*system, _plain(asked, "request", media))


def answered(text: str, thinking: str, calls: Sequence[ToolCall]) -> Message:
    """An answer as a message of the conversation that goes on from it."""
    said = text if text or not calls else None
    return Message("assistant", said, tool_calls=tuple(calls), reasoning=thinking or None)


def _reader(pictures: int, reader: Callable[[], MediaReader]) -> MediaReader:
    if not pictures:
        return MediaReader()
    made = reader()
    made.check_count(pictures)
    return made


def _each(messages: Sequence[OllamaMessage], media: MediaReader) -> Iterator[Message]:
    """Calls get ids; a result without one belongs to the first call of its tool that has no result yet."""
    waiting: list[ToolCall] = []
    for at, message in enumerate(messages):
        made = _plain(message, f"messages[{at}]", media)
        if made.tool_calls:
            calls = enumerate(made.tool_calls)
            made = replace(
                made,
                tool_calls=tuple(replace(c, id=c.id or f"call_{at}_{i}") for i, c in calls),
            )
            waiting += made.tool_calls
        elif made.role == "tool":
            wanted = made.tool_call_id
            found = next((call for call in waiting if _is_of(made, call)), None)
            if found is not None:
                waiting.remove(found)
                wanted = found.id
            made = replace(made, tool_call_id=wanted or f"call_{at}")
        yield made


def _is_of(result: Message, call: ToolCall) -> bool:
    """Whether a result may be that of a call."""
    if result.tool_call_id is not None:
        return result.tool_call_id == call.id
    return result.name in (None, call.name)


def _plain(message: OllamaMessage, where: str, media: MediaReader) -> Message:
    pictures = [
        # What it is, the picture itself tells.
        media.image(
            f"data:image/png;base64,{data}", None, where, field=f"images[{at}]", kind="images"
        )
        for at, data in enumerate(message.images or ())
    ]
    parts: Parts = [*pictures, message.content]
    text, seen = text_of(parts), seen_of(parts)
    if message.role == "tool":
        return Message(
            *("tool", text, message.tool_name), tool_call_id=message.tool_call_id, parts=seen
        )
    if message.role != "assistant":
        return Message(message.role, text, parts=seen)
    calls = [
        ToolCall(call.id or "", call.function.name, orjson.dumps(call.function.arguments).decode())
        for call in message.tool_calls or ()
    ]
    return answered(text, message.thinking or "", calls)
