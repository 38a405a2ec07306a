"""Transcriptions and speech by another server.

data: {"type": "transcript.text.delta", "delta": "Hello"}

data: {"type": "transcript.text.done", "text": "Hello", "usage": {"type": "duration", "seconds": 1.4}}
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ....errors import UpstreamFailed
from ...callback_bridge import Emit
from ...remote.event_stream import sse_events
from ...remote.failures import error_of
from ...remote.http_client import ReaderLeft
from ...remote.multipart import FormBody, FormFile
from ...sounds import (
    Segment,
    SpeechBytes,
    SpeechTask,
    TokensUsed,
    Transcript,
    TranscriptionTask,
    TranscriptPart,
    Word,
)
from .exchange import UNREADABLE, Exchanges, count, parsed, read_leniently, whole

DETAILS = (
    *("id", "seek", "tokens", "temperature", "avg_logprob", "compression_ratio", "no_speech_prob"),
)
"""What a segment may have besides its text and times."""


def transcribe(task: TranscriptionTask, exchanges: Exchanges) -> Transcript:
    """The parts of the transcript, by `POST /audio/transcriptions` or `/audio/translations`."""
    path = "/audio/translations" if task.translates else "/audio/transcriptions"
    body = _form(task, exchanges)

    def work(emit: Emit[TranscriptPart | None]) -> None:
        with exchanges.asked(path, body, emit) as reply:
            if task.streamed and not reply.is_json:
                for part in _events(reply.body, exchanges.name):
                    if emit(part):
                        raise ReaderLeft
                reply.finish()
                return
            answer = parsed(whole(reply.body))
        for part in _parts(answer):
            if emit(part):
                return

    return exchanges.begin(work)


def _form(task: TranscriptionTask, exchanges: Exchanges) -> FormBody:
    sound = task.sound
    parts: list[tuple[str, Any]] = [
        ("file", FormFile(sound.file, sound.size, f"sound{sound.suffix}"))
    ]
    detailed = task.wants_segments or task.wants_words
    given = {
        "response_format": "verbose_json" if detailed else "json",
        "language": task.language,
        "prompt": task.prompt,
        "temperature": task.temperature,
        "stream": "true" if task.streamed else None,
    }
    parts += [(name, str(value)) for name, value in given.items() if value is not None]
    if task.wants_words:
        parts.append(("timestamp_granularities[]", "word"))
        parts.append(("timestamp_granularities[]", "segment"))
    if task.wants_logprobs:
        parts.append(("include[]", "logprobs"))
    return exchanges.form(parts)


def _parts(answer: Any) -> Iterator[TranscriptPart]:
    """Those of a JSON answer, verbose or not."""
    with read_leniently():
        seconds = answer.get("duration")
        head = TranscriptPart(
            language=_text_or_none(answer.get("language")),
            seconds=None if seconds is None else float(seconds),
            words=tuple(map(_word, answer.get("words") or ())),
            logprobs=tuple(answer.get("logprobs") or ()),
        )
        segments = [_segment(each) for each in answer.get("segments") or ()]
        text, end = str(answer["text"]), _end(answer.get("usage"))
    yield head
    if segments:
        # The text is told apart from the segments, whose texts may begin with blanks.
        yield from (TranscriptPart(segment=each) for each in segments)
    yield TranscriptPart(text)
    yield end


def _segment(said: Mapping[str, Any]) -> Segment:
    details = {name: said[name] for name in DETAILS if said.get(name) is not None}
    return Segment(float(said["start"]), float(said["end"]), str(said["text"]), details)


def _word(said: Mapping[str, Any]) -> Word:
    return Word(str(said["word"]), float(said["start"]), float(said["end"]))


def _events(body: Iterator[bytes], name: str) -> Iterator[TranscriptPart]:
    """Those of a stream. Raises UpstreamFailed where it breaks off."""
    heard = ""
    for event in sse_events(body):
        if event.data == b"[DONE]":
            break
        said = parsed(event.data)
        if isinstance(said, dict) and said.get("error"):
            raise error_of(name, 500, said)
        with read_leniently():
            if said["type"] == "transcript.text.delta":
                heard += said["delta"]
                yield TranscriptPart(said["delta"], logprobs=tuple(said.get("logprobs") or ()))
            elif said["type"] == "transcript.text.done":
                if not heard:
                    yield TranscriptPart(str(said["text"]))
                yield _end(said.get("usage"))
                return
    raise UpstreamFailed("The server that has the model ended before the transcript was complete.")


def _end(used: Any) -> TranscriptPart:
    """What it says of its usage."""
    if not isinstance(used, Mapping):
        return TranscriptPart()
    if used.get("type") == "duration":
        with read_leniently():
            return TranscriptPart(seconds=float(used["seconds"]))
    read, written = count(used.get("input_tokens")), count(used.get("output_tokens"))
    if read is None or written is None:
        return TranscriptPart()
    details = used.get("input_token_details")
    return TranscriptPart(
        tokens=TokensUsed(read, written, details if isinstance(details, Mapping) else {})
    )


def _text_or_none(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def speak(task: SpeechTask, exchanges: Exchanges) -> SpeechBytes:
    """The file as it comes, by `POST /audio/speech`."""
    body: dict[str, Any] = {
        "input": task.text,
        "voice": task.voice,
        "response_format": task.format,
    }
    if task.speed != 1:
        body["speed"] = task.speed
    if task.instructions is not None:
        body["instructions"] = task.instructions

    def work(emit: Emit[bytes | None]) -> None:
        size = 0
        with exchanges.asked("/audio/speech", body, emit) as reply:
            if reply.is_json:
                raise UpstreamFailed(UNREADABLE)
            for part in reply.body:
                size += len(part)
                if emit(part):
                    raise ReaderLeft
        if not size:
            raise UpstreamFailed("The server that has the model answered no sound.")

    return exchanges.begin(work)
