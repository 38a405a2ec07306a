"""Speech: text into sound. Reference: "Audio"."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Generator
from typing import TYPE_CHECKING, Literal

from pydantic import Field
from typing_extensions import NotRequired, TypedDict

from .engines.protocol import Capability, run_on
from .engines.remote.estimates import tokens_in
from .engines.sounds import SPEECH_TYPES, Speaker, SpeechBytes, SpeechFormat, SpeechTask
from .generation.plan import Served
from .generation.slot import run_in_slot
from .schemas.task_request import TaskRequest
from .schemas.validation import RequestPart
from .web.responses.bytes_response import respond_bytes
from .web.responses.response import Response
from .web.responses.streaming import OneChunk, respond
from .web.routing.routes import MODEL, PathPrefixes, Route, endpoint

if TYPE_CHECKING:
    from .web.context import RequestContext

MAX_CHARACTERS = 4096


class VoiceId(RequestPart):
    """A voice by its id."""

    id: str = Field(min_length=1, max_length=256)


class SpeechRequest(TaskRequest):
    """Speak a text."""

    input: str = Field(
        min_length=1,
        max_length=MAX_CHARACTERS,
        description=f"The text, up to {MAX_CHARACTERS} characters.",
    )
    voice: str | VoiceId = Field(
        description="A voice of the model. OpenAI's names (`alloy`, ...) stand for those that it has."
    )
    instructions: str | None = Field(
        None,
        max_length=4096,
        description="How to speak it, where another server's model takes that.",
    )
    response_format: SpeechFormat | None = Field(None, description="Default `mp3`.")
    speed: float | None = Field(
        None, ge=0.25, le=4, description="How fast it is spoken. Default 1."
    )
    stream_format: Literal["sse", "audio"] | None = Field(
        None, description="`audio`, the default: the file as it is made; `sse`: in events."
    )


class SpeechUsage(TypedDict):
    """Tokens of the text, estimated from its length; a sound has none."""

    input_tokens: int
    output_tokens: int
    total_tokens: int
    estimated: Literal[True]


class SpeechEvent(TypedDict):
    """An event of a stream: the next part of the file in base64, or the end."""

    type: Literal["speech.audio.delta", "speech.audio.done"]
    audio: NotRequired[str]
    usage: NotRequired[SpeechUsage]


def create_speech(context: RequestContext, body: SpeechRequest) -> Response:
    """Speak a text. The file is sent as it is made, sentence by sentence.

    Voices of this machine do this (`--speech-model`), or the model of another server (`--upstreams`).
    """
    served = context.serve_able(Capability.SPEECH, body.model, body.timeout)
    format: SpeechFormat = body.response_format or "mp3"
    voice = body.voice if isinstance(body.voice, str) else body.voice.id
    task = SpeechTask(body.input, voice, format, body.speed or 1.0, body.instructions)
    parts = _parts(served, task)
    if body.stream_format == "sse":
        whole: OneChunk[SpeechEvent] = OneChunk()
        return respond(context, _events(parts, task), stream=True, fold=whole)
    return respond_bytes(context, parts, SPEECH_TYPES[format])


def _parts(served: Served, task: SpeechTask) -> SpeechBytes:
    record = served.request.record
    parts = run_in_slot(
        served, lambda: run_on(served.engine, Speaker, lambda engine: engine.speak(task))
    )
    try:
        for part in parts:
            if part is not None:
                record.amount = len(task.text)
            yield part
    finally:
        parts.close()


def _events(parts: SpeechBytes, task: SpeechTask) -> Generator[SpeechEvent | None, None, None]:
    try:
        for part in parts:
            if part is None:
                yield None
            else:
                yield {"type": "speech.audio.delta", "audio": b64encode(part).decode()}
    finally:
        parts.close()
    tokens = tokens_in(task.text)
    yield {
        "type": "speech.audio.done",
        "usage": {
            "input_tokens": tokens,
            "output_tokens": 0,
            "total_tokens": tokens,
            "estimated": True,
        },
    }


ROUTES = endpoint(
    "audio",
    Route(
        *("POST", "/audio/speech", create_speech, "Create speech"),
        PathPrefixes.MODEL,
        body=SpeechRequest,
        media="audio/mpeg",
        media_types=tuple(kind for name, kind in SPEECH_TYPES.items() if name != "mp3"),
        chunk=SpeechEvent,
        scope="write",
        usage="audio_speeches",
        example={"model": MODEL, "input": "Hello, you.", "voice": "alloy"},
    ),
)
