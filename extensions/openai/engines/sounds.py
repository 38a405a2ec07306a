"""Engines that hear and speak: sounds into text, and text into sounds."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Literal, Protocol, runtime_checkable

SpeechFormat = Literal["mp3", "opus", "aac", "flac", "wav", "pcm"]
SPEECH_TYPES: Mapping[SpeechFormat, str] = {
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
}
"""The media type of each format."""


@dataclass(frozen=True, slots=True)
class SoundFile:
    """A client's file. Nothing of it has been checked but its size."""

    file: BinaryIO = field(repr=False)
    size: int
    """Bytes."""
    suffix: str = ""
    """Of its name, such as `.mp3`; empty: it has none that is known."""


@dataclass(frozen=True, slots=True)
class TranscriptionTask:
    """A sound to write down."""

    sound: SoundFile
    translates: bool = False
    """Whether to write English, whatever is spoken."""
    language: str | None = None
    """ISO-639-1; None: as it is heard."""
    prompt: str | None = None
    temperature: float | None = None
    wants_segments: bool = False
    wants_words: bool = False
    wants_logprobs: bool = False
    streamed: bool = False


@dataclass(frozen=True, slots=True)
class Word:
    """A word, and the seconds of its beginning and end."""

    word: str
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of the text, with times in seconds."""

    start: float
    end: float
    text: str
    details: Mapping[str, Any] = field(default_factory=dict)
    """What the model says of it besides, under the names of the reference: `tokens`, `avg_logprob`, ..."""


@dataclass(frozen=True, slots=True)
class TokensUsed:
    """What another server counts for a sound."""

    input: int
    output: int
    details: Mapping[str, Any] = field(default_factory=dict)
    """Its `input_token_details`."""


@dataclass(frozen=True, slots=True)
class TranscriptPart:
    """The next part of a transcript. What is known of the whole comes with any of the parts."""

    text: str = ""
    segment: Segment | None = None
    words: tuple[Word, ...] = ()
    logprobs: tuple[Mapping[str, Any], ...] = ()
    language: str | None = None
    """Of the sound, as the model names it."""
    seconds: float | None = None
    """How long the sound is."""
    tokens: TokensUsed | None = None


Transcript = Generator["TranscriptPart | None", None, None]
"""None as in `protocol.Pieces`. The texts of all parts together are the text; closing it ends the work."""


@runtime_checkable
class Transcriber(Protocol):
    """Capability `transcription`."""

    def transcribe(self, task: TranscriptionTask) -> Transcript:
        """Write down a sound. Raises InvalidRequest for a file that is no sound, EngineFailed."""


@dataclass(frozen=True, slots=True)
class SpeechTask:
    """A text to speak."""

    text: str
    voice: str
    format: SpeechFormat = "mp3"
    speed: float = 1.0
    instructions: str | None = None


SpeechBytes = Generator["bytes | None", None, None]
"""A file as it is made. None as in `protocol.Pieces`; closing it ends the work."""


@runtime_checkable
class Speaker(Protocol):
    """Capability `speech`."""

    def speak(self, task: SpeechTask) -> SpeechBytes:
        """Speak a text. Raises InvalidRequest for a voice or a format that it does not have, EngineFailed."""
