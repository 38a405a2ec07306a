"""Transcriptions: sounds into text, or into English text. Reference: "Audio"."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import PurePath
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

from pydantic import Field
from typing_extensions import NotRequired, TypedDict

from .engines.protocol import Capability, run_on
from .engines.sounds import (
    Segment,
    SoundFile,
    Transcriber,
    Transcript,
    TranscriptionTask,
    TranscriptPart,
)
from .errors import BodyTooLarge, InvalidRequest
from .generation.plan import Served
from .generation.slot import run_in_slot
from .generation.transcript import TranscriptSum, TranscriptUsage
from .schemas import bad_request
from .schemas.forms import Upload
from .schemas.task_request import TaskRequest
from .schemas.validation import Unsupported
from .web.responses.response import Response
from .web.responses.streaming import OneChunk, collect, respond
from .web.routing.routes import PathPrefixes, Route, endpoint

if TYPE_CHECKING:
    from .web.context import RequestContext

MAX_SOUND_BYTES = 25 << 20
SUFFIXES = frozenset(
    {
        *(".flac", ".mp3", ".mp4", ".mpeg", ".mpga", ".m4a", ".ogg", ".wav", ".webm"),
        *(".opus", ".oga", ".aac"),
    }
)

Format = Literal["json", "text", "srt", "verbose_json", "vtt", "diarized_json"]
TEXT_TYPES = {
    "text": "text/plain; charset=utf-8",
    "srt": "text/plain; charset=utf-8",
    "vtt": "text/vtt; charset=utf-8",
}


class _SoundRequest(TaskRequest):
    """What both requests have."""

    file: Upload = Field(
        description="A sound of up to 25 MiB: flac, mp3, mp4, mpeg, mpga, m4a, ogg, wav or webm."
    )
    prompt: str | None = Field(
        None,
        max_length=16_384,
        description="A text in whose manner to go on, with names as they are spelt.",
    )
    response_format: Format | None = Field(
        None, description="Default `json`. `verbose_json`, `srt` and `vtt` have times."
    )
    temperature: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Default 0, which the model may raise where its text repeats itself.",
    )

    @property
    def format(self) -> Format:
        return self.response_format or "json"

    @property
    def sound(self) -> SoundFile:
        """The file. Raises BodyTooLarge, InvalidRequest."""
        file = self.file
        if file.size > MAX_SOUND_BYTES:
            raise BodyTooLarge(
                f"Maximum content size limit ({MAX_SOUND_BYTES}) exceeded ({file.size} bytes read).",
                param="file",
            )
        if not file.size:
            raise InvalidRequest("Invalid 'file': it is empty.", param="file", code="empty_file")
        suffix = PurePath(file.filename[-64:]).suffix.lower()
        return SoundFile(file.file, file.size, suffix if suffix in SUFFIXES else "")


class TranslationRequest(_SoundRequest):
    """Write down in English what is spoken."""


class TranscriptionRequest(_SoundRequest):
    """Write down what is spoken."""

    language: str | None = Field(
        None,
        max_length=64,
        description="The language of the sound, as ISO-639-1. Default: as it is heard.",
    )
    timestamp_granularities: list[Literal["word", "segment"]] | None = Field(
        None,
        max_length=8,
        description="The times in `verbose_json`: of segments (the default), words, or both.",
    )
    include: list[Literal["logprobs"]] | None = Field(
        None,
        max_length=8,
        description="Log-probabilities of tokens, where another server has them.",
    )
    stream: bool | None = Field(
        None, description="Send the text in events as it is written; with `json` and `text` only."
    )
    chunking_strategy: Any = Field(
        None, description="Taken without effect: a model cuts long sounds by itself."
    )
    languages: Annotated[list[str] | None, Unsupported()] = Field(
        None, description="Not supported."
    )
    keywords: Annotated[list[str] | None, Unsupported()] = Field(None, description="Not supported.")
    known_speaker_names: Annotated[list[str] | None, Unsupported()] = Field(
        None, description="Not supported: speakers are not told apart."
    )
    known_speaker_references: Annotated[list[str] | None, Unsupported()] = Field(
        None, description="Not supported: speakers are not told apart."
    )


class WordTimes(TypedDict):
    """A word, with seconds."""

    word: str
    start: float
    end: float


class SegmentTimes(TypedDict):
    """A part of the text, with seconds; the numbers are the model's."""

    id: int
    seek: NotRequired[int]
    start: float
    end: float
    text: str
    tokens: NotRequired[list[int]]
    temperature: NotRequired[float]
    avg_logprob: NotRequired[float]
    compression_ratio: NotRequired[float]
    no_speech_prob: NotRequired[float]


class PlainTranscript(TypedDict):
    """`json`."""

    text: str
    logprobs: NotRequired[list[Any]]
    usage: NotRequired[TranscriptUsage]


class VerboseTranscript(TypedDict):
    """`verbose_json`."""

    task: Literal["transcribe", "translate"]
    language: str
    duration: float
    text: str
    words: NotRequired[list[WordTimes]]
    segments: NotRequired[list[SegmentTimes]]
    usage: NotRequired[TranscriptUsage]


class TranscriptEvent(TypedDict):
    """An event of a stream: the next part, or the whole text."""

    type: Literal["transcript.text.delta", "transcript.text.done"]
    delta: NotRequired[str]
    text: NotRequired[str]
    logprobs: NotRequired[list[Any]]
    usage: NotRequired[TranscriptUsage]


def create_transcription(context: RequestContext, body: TranscriptionRequest) -> Response:
    """Write down what is spoken in a sound.

    A model does this that the operator loads beside the chat model (`--transcription-model`), or one of
    another server (`--upstreams`).
    """
    wanted = _granularities(body)
    task = TranscriptionTask(
        body.sound,
        language=body.language or None,
        prompt=body.prompt or None,
        temperature=body.temperature,
        wants_segments=body.format in ("verbose_json", "srt", "vtt"),
        wants_words="word" in wanted,
        wants_logprobs=bool(body.include),
        streamed=bool(body.stream),
    )
    shows_segments = not wanted or "segment" in wanted
    return _answer(context, body, task, shows_segments=shows_segments)


def _granularities(body: TranscriptionRequest) -> list[Literal["word", "segment"]]:
    """The times that are asked for. Raises InvalidRequest for what does not go with the format."""
    wanted = body.timestamp_granularities or []
    if wanted and body.format != "verbose_json":
        raise bad_request.unsupported(
            "timestamp_granularities", "needs the response_format `verbose_json`."
        )
    if body.include and body.format != "json":
        raise bad_request.unsupported("include", "needs the response_format `json`.")
    if body.stream and body.format not in ("json", "text"):
        raise bad_request.unsupported("stream", "goes with the formats `json` and `text` only.")
    return wanted


def create_translation(context: RequestContext, body: TranslationRequest) -> Response:
    """Write down in English what is spoken in a sound, in whatever language."""
    task = TranscriptionTask(
        body.sound,
        translates=True,
        prompt=body.prompt or None,
        temperature=body.temperature,
        wants_segments=body.format in ("verbose_json", "srt", "vtt"),
    )
    return _answer(context, body, task, shows_segments=True)


def _answer(
    context: RequestContext, body: _SoundRequest, task: TranscriptionTask, *, shows_segments: bool
) -> Response:
    if body.format == "diarized_json":
        raise bad_request.unsupported("response_format", "`diarized_json` is not supported.")
    served = context.serve_able(Capability.TRANSCRIPTION, body.model, body.timeout)
    parts = _parts(served, task)
    if task.streamed:
        whole: OneChunk[TranscriptEvent] = OneChunk()
        return respond(context, _events(parts, task), stream=True, fold=whole)
    written = TranscriptSum()
    fold = _Fold(written, body.format, task, shows_segments=shows_segments)
    if body.format not in TEXT_TYPES:
        return respond(context, parts, stream=False, fold=fold)
    collect(context, parts, fold)
    return Response(written.as_text(body.format), content_type=TEXT_TYPES[body.format])


def _parts(served: Served, task: TranscriptionTask) -> Transcript:
    record = served.request.record
    parts = run_in_slot(
        served, lambda: run_on(served.engine, Transcriber, lambda engine: engine.transcribe(task))
    )
    try:
        for part in parts:
            if part is not None:
                if part.seconds is not None:
                    record.amount = -int(-part.seconds // 1)
                if part.tokens is not None:
                    record.prompt_tokens = part.tokens.input
                    record.completion_tokens = part.tokens.output
            yield part
    finally:
        parts.close()


def _events(
    parts: Transcript, task: TranscriptionTask
) -> Generator[TranscriptEvent | None, None, None]:
    written = TranscriptSum()
    try:
        for part in parts:
            if part is None:
                yield None
                continue
            written.add(part)
            if part.text:
                delta: TranscriptEvent = {"type": "transcript.text.delta", "delta": part.text}
                if task.wants_logprobs:
                    delta["logprobs"] = list(part.logprobs)
                yield delta
    finally:
        parts.close()
    done: TranscriptEvent = {"type": "transcript.text.done", "text": written.text}
    if task.wants_logprobs:
        done["logprobs"] = written.logprobs
    if written.usage is not None:
        done["usage"] = written.usage
    yield done


class _Fold:
    """Adds up parts to JSON."""

    has_ended = False

    def __init__(
        self,
        written: TranscriptSum,
        format: Format,
        task: TranscriptionTask,
        *,
        shows_segments: bool,
    ) -> None:
        self._written, self._format, self._task = written, format, task
        self._shows_segments = shows_segments

    def add(self, part: TranscriptPart) -> None:
        self._written.add(part)

    def whole(self) -> PlainTranscript | VerboseTranscript:
        written, task = self._written, self._task
        if self._format != "verbose_json":
            plain: PlainTranscript = {"text": written.text}
            if task.wants_logprobs:
                plain["logprobs"] = written.logprobs
            if written.usage is not None:
                plain["usage"] = written.usage
            return plain
        verbose: VerboseTranscript = {
            "task": "translate" if task.translates else "transcribe",
            "language": written.language or "",
            "duration": written.seconds or 0.0,
            "text": written.text,
        }
        if task.wants_words:
            verbose["words"] = [
                {"word": each.word, "start": each.start, "end": each.end} for each in written.words
            ]
        if self._shows_segments:
            verbose["segments"] = [_shown(each, at) for at, each in enumerate(written.segments)]
        if written.usage is not None:
            verbose["usage"] = written.usage
        return verbose


def _shown(segment: Segment, at: int) -> SegmentTimes:
    shown: Any = dict(segment.details)
    shown |= {"id": at, "start": segment.start, "end": segment.end, "text": segment.text}
    return cast(SegmentTimes, shown)


ROUTES = endpoint(
    "audio",
    Route(
        *("POST", "/audio/transcriptions", create_transcription, "Create a transcription"),
        PathPrefixes.MODEL,
        answer=PlainTranscript | VerboseTranscript,
        body=TranscriptionRequest,
        body_format="form",
        chunk=TranscriptEvent,
        media_types=("text/plain", "text/vtt"),
        scope="write",
        usage="audio_transcriptions",
    ),
    Route(
        *("POST", "/audio/translations", create_translation, "Create a translation"),
        PathPrefixes.MODEL,
        answer=PlainTranscript | VerboseTranscript,
        body=TranslationRequest,
        body_format="form",
        media_types=("text/plain", "text/vtt"),
        scope="write",
        usage="audio_transcriptions",
    ),
)
