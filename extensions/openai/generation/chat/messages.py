"""Messages as clients send them, and as engines take them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

import orjson
from pydantic import AliasChoices, Discriminator, Field, Tag, model_validator

from ...engines.protocol import Media, Message, ToolCall
from ...schemas import bad_request
from ...schemas.validation import RequestPart
from ..media.images import Detail
from ..media.reader import MediaReader

MAX_PARTS = 8192  # of one message
MAX_CALLS = 1024  # of one message


class _ContentPart(RequestPart):
    """What all parts of contents share."""

    prompt_cache_breakpoint: dict[str, Any] | None = None
    """Taken and without effect: the cache finds what prompts share by itself."""


class TextPart(_ContentPart):
    """A piece of text."""

    type: Literal["text"]
    text: str


class RefusalPart(RequestPart):
    """An earlier refusal of the assistant, given back as history."""

    type: Literal["refusal"]
    refusal: str


class ImageURL(RequestPart):
    """Where a picture is: in a data: URL with base64, or at an http(s) address."""

    url: str
    detail: Detail | None = None


class ImagePart(_ContentPart):
    """A picture, for models that can see."""

    type: Literal["image_url"]
    image_url: ImageURL


class InputAudio(RequestPart):
    """A sound in base64."""

    data: str
    format: Literal["wav", "mp3"]


class AudioPart(_ContentPart):
    """A sound, for models that can hear."""

    type: Literal["input_audio"]
    input_audio: InputAudio


class VideoURL(RequestPart):
    """Where a video is: in a data: URL with base64, or at an http(s) address."""

    url: str


class VideoPart(_ContentPart):
    """A video, for models that can see: they are given pictures of it. Not OpenAI's."""

    type: Literal["video_url"]
    video_url: VideoURL


class InputVideo(RequestPart):
    """A video in base64."""

    data: str
    format: str | None = None


class InputVideoPart(_ContentPart):
    """The same, in another form."""

    type: Literal["input_video"]
    input_video: InputVideo


class FileData(RequestPart):
    """A file in base64 or as a data: URL, or the id of one that was uploaded."""

    filename: str | None = None
    file_data: str | None = None
    file_id: str | None = None


class FilePart(_ContentPart):
    """A file that holds text; the model is given its text."""

    type: Literal["file"]
    file: FileData


MediaPart = ImagePart | AudioPart | VideoPart | InputVideoPart | FilePart
Text = Annotated[list[TextPart], Field(min_length=1, max_length=MAX_PARTS)]
Content = str | Text
UserPart = Annotated[
    TextPart | RefusalPart | ImagePart | AudioPart | VideoPart | InputVideoPart | FilePart,
    Field(discriminator="type"),
]
UserContent = str | Annotated[list[UserPart], Field(min_length=1, max_length=MAX_PARTS)]
ToolContent = str | Annotated[list[UserPart], Field(max_length=MAX_PARTS)] | None
AssistantPart = Annotated[TextPart | RefusalPart, Field(discriminator="type")]
AssistantContent = str | Annotated[list[AssistantPart], Field(min_length=1, max_length=MAX_PARTS)]


class FunctionCall(RequestPart):
    """A function's name and its arguments, as JSON text or, as some clients send them, as an object."""

    name: str
    arguments: str | dict[str, Any] | None = None
    """Clients leave them out, or send null, for a function that takes none."""

    @property
    def text(self) -> str:
        """The arguments as JSON text."""
        if not isinstance(self.arguments, dict):
            return self.arguments or ""
        return orjson.dumps(self.arguments).decode()


class FunctionToolCall(RequestPart):
    """A tool call that the assistant made earlier."""

    id: str | None = None
    """One without an id gets one here; results without an id then belong to the calls in their order."""
    type: Literal["function"] = "function"
    function: FunctionCall


class CustomCall(RequestPart):
    """A custom tool's name and its input."""

    name: str
    input: str


class CustomToolCall(RequestPart):
    """A call of a custom tool that the assistant made earlier."""

    id: str | None = None
    type: Literal["custom"]
    custom: CustomCall


def _call_type(value: Any) -> str:
    """A call is one of a function unless it says otherwise."""
    kind = value.get("type", "function") if isinstance(value, dict) else "function"
    return "<custom>" if kind == "custom" else "<function>"


# Tags stand in the places of errors, so none may be the name of a field.
EarlierCall = Annotated[
    Annotated[FunctionToolCall, Tag("<function>")] | Annotated[CustomToolCall, Tag("<custom>")],
    Discriminator(_call_type),
]


class SystemMessage(RequestPart):
    """Instructions of the operator."""

    role: Literal["system"]
    content: Content
    name: str | None = None


class DeveloperMessage(RequestPart):
    """Instructions of the developer; models take them as a system message."""

    role: Literal["developer"]
    content: Content
    name: str | None = None


class UserMessage(RequestPart):
    """A message of the user."""

    role: Literal["user"]
    content: UserContent
    name: str | None = None


THOUGHT_NAMES = ("reasoning_content", "reasoning", "thinking")


class AssistantMessage(RequestPart):
    """An earlier message of the model. Content may be null: it only called tools, thought, or was ended."""

    role: Literal["assistant"]
    content: AssistantContent | None = None
    refusal: str | None = None
    reasoning_content: str | None = Field(None, validation_alias=AliasChoices(*THOUGHT_NAMES))
    name: str | None = None
    tool_calls: Annotated[list[EarlierCall], Field(max_length=MAX_CALLS)] | None = None
    function_call: FunctionCall | None = None

    @model_validator(mode="before")
    @classmethod
    def _filled_thought(cls, given: Any) -> Any:
        """Of several names for the thought, the one that holds it: clients give back what servers send, and
        some send one of them filled and another one null."""
        if not isinstance(given, dict) or not any(given.get(name) for name in THOUGHT_NAMES):
            return given
        return {name: value for name, value in given.items() if value or name not in THOUGHT_NAMES}


class ToolMessage(RequestPart):
    """The result of a tool call; null and an empty list stand for a function that returns nothing."""

    role: Literal["tool"]
    content: ToolContent = None
    tool_call_id: str | None = None
    name: str | None = None


class FunctionMessage(RequestPart):
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


FILES_ONLY = MediaReader()


def to_engine(
    messages: list[ChatMessage],
    make_reader: Callable[[], MediaReader] = MediaReader,
    *,
    earlier: Sequence[ChatMessage] = (),
) -> tuple[Message, ...]:
    """The messages for an engine, in their order; `make_reader` is called where there are media or files.
    `earlier` ones have neither, and come behind the instructions at the beginning.

    Raises InvalidRequest, naming the place.
    """
    media, count = FILES_ONLY, sum(map(_media_parts, messages))
    if count:
        media = make_reader()
        media.check_count(count)
    plain = [_plain(message, f"messages[{at}]", media) for at, message in enumerate(messages)]
    return tuple(with_ids(behind_instructions(plain, earlier) if earlier else plain))


def behind_instructions(
    messages: Sequence[Message], earlier: Sequence[ChatMessage]
) -> list[Message]:
    """The messages with `earlier` ones behind the instructions at their beginning."""
    first = next((at for at, each in enumerate(messages) if each.role != "system"), len(messages))
    before = [_plain(message, "session", FILES_ONLY) for message in earlier]
    return [*messages[:first], *before, *messages[first:]]


def _media_parts(message: ChatMessage) -> int:
    """How many pictures, sounds and files a message has."""
    if not isinstance(message.content, list):
        return 0
    return sum(isinstance(part, MediaPart) for part in message.content)


def with_ids(messages: Iterable[Message]) -> Iterator[Message]:
    """Give each call an id, and each result that has none the id of the first call without a result."""
    waiting: list[str] = []
    for at, message in enumerate(messages):
        if message.tool_calls:
            calls = tuple(
                replace(call, id=call.id or f"call_{at}_{index}")
                for index, call in enumerate(message.tool_calls)
            )
            waiting += [call.id for call in calls]
            yield replace(message, tool_calls=calls)
        elif message.role == "tool":
            of = message.tool_call_id or (waiting[0] if waiting else f"call_{at}")
            if of in waiting:
                waiting.remove(of)
            yield replace(message, tool_call_id=of)
        else:
            yield message


def _plain(message: ChatMessage, where: str, media: MediaReader) -> Message:
    parts = _parts(message.content, f"{where}.content", media)
    text = None if parts is None else "".join(part for part in parts if isinstance(part, str))
    if isinstance(message, (SystemMessage, DeveloperMessage)):
        return Message("system", text, message.name)
    seen = tuple(parts or ()) if any(isinstance(part, Media) for part in parts or ()) else ()
    if isinstance(message, UserMessage):
        return Message("user", text, message.name, parts=seen)
    if isinstance(message, ToolMessage):
        return Message(
            "tool", text or "", message.name, tool_call_id=message.tool_call_id, parts=seen
        )
    if isinstance(message, FunctionMessage):
        return Message("tool", text, message.name, tool_call_id=message.name)
    calls = tuple(map(_call, message.tool_calls or ()))
    if message.function_call is not None:
        call = message.function_call
        calls += (ToolCall(call.name, call.name, call.text),)
    if text is None and message.refusal is not None:
        text = message.refusal
    if text is None and not calls:
        text = ""  # it only thought, or was ended before it wrote anything
    return Message("assistant", text, message.name, calls, reasoning=message.reasoning_content)


def _call(call: FunctionToolCall | CustomToolCall) -> ToolCall:
    if isinstance(call, FunctionToolCall):
        return ToolCall(call.id or "", call.function.name, call.function.text)
    arguments = orjson.dumps({"input": call.custom.input}).decode()
    return ToolCall(call.id or "", call.custom.name, arguments)


def _parts(
    content: str | Sequence[UserPart] | None, where: str, media: MediaReader
) -> list[str | Media] | None:
    """Text is joined with nothing between: no character is added to what was sent."""
    if content is None or isinstance(content, str):
        return None if content is None else [content]
    found: list[str | Media] = []
    for at, part in enumerate(content):
        place = f"{where}[{at}]"
        if isinstance(part, VideoPart):
            found += media.video(part.video_url.url, place, "video_url.url", part.type)
        elif isinstance(part, InputVideoPart):
            found += media.video(part.input_video.data, place, "input_video.data", part.type)
        else:
            found.append(_part(part, place, media))
    return found


def _part(
    part: TextPart | RefusalPart | ImagePart | AudioPart | FilePart, where: str, media: MediaReader
) -> str | Media:
    if isinstance(part, TextPart):
        return part.text
    if isinstance(part, RefusalPart):
        return part.refusal
    if isinstance(part, ImagePart):
        return media.image(part.image_url.url, part.image_url.detail, where)
    if isinstance(part, AudioPart):
        return media.sound(part.input_audio.data, part.input_audio.format, where)
    file = part.file
    if file.file_id is not None:
        if file.file_data is not None:
            raise bad_request.conflicting(f"{where}.file.file_id", "file_data")
        return media.stored_file(file.filename, file.file_id, where)
    if file.file_data is None:
        raise bad_request.missing(f"{where}.file.file_data")
    return media.file(file.filename, file.file_data, where)


def split_continued(messages: tuple[Message, ...]) -> tuple[tuple[Message, ...], Message]:
    """The messages before the last one, and that one, which is to be continued. Raises InvalidRequest."""
    *before, last = messages
    where = f"messages[{len(before)}]"
    if last.role != "assistant":
        raise bad_request.not_one_of(f"{where}.role", last.role, ["assistant"])
    if last.tool_calls:
        raise bad_request.unsupported(f"{where}.tool_calls", "cannot be continued; only text can.")
    return tuple(before), last
