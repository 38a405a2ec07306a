"""A recogniser with faster-whisper's interface that hears tones: half a second of one is a word, its pitch.

    440 Hz for a second, then 880 Hz for half of one  ->  " 440 440" in a segment, " 880" in another

It stands in for the package where that is not installed. What it says is computed from the samples, so a
sound that was decoded wrongly is heard wrongly.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

RATE = 16_000
WORD_S = 0.5
LOUD = 0.05


@dataclass(frozen=True)
class HeardWord:
    """As faster-whisper's `Word`."""

    word: str
    start: float
    end: float


@dataclass(frozen=True)
class HeardSegment:
    """As faster-whisper's `Segment`."""

    text: str
    start: float
    end: float
    words: list[HeardWord] | None
    tokens: list[int]
    seek: int = 0
    temperature: float = 0.0
    avg_logprob: float = -0.25
    compression_ratio: float = 1.0
    no_speech_prob: float = 0.0


class WhisperModel:
    """`path`: a folder; its files are not read. One whose name ends with `.en` knows English only."""

    def __init__(self, path: str, *, device: str, cpu_threads: int, local_files_only: bool) -> None:
        assert local_files_only, "nothing is downloaded"
        multilingual = not path.endswith(".en")
        self.supported_languages = ["en", "de"] if multilingual else ["en"]
        self.model = SimpleNamespace(is_multilingual=multilingual)

    def transcribe(
        self,
        samples: Any,
        *,
        language: str | None,
        task: str,
        initial_prompt: str | None,
        temperature: float | tuple[float, ...],
        word_timestamps: bool,
    ) -> tuple[Iterator[HeardSegment], Any]:
        info = SimpleNamespace(language=language or "en", duration=len(samples) / RATE)
        return self._segments(samples, task, initial_prompt, word_timestamps), info

    def _segments(
        self, samples: Any, task: str, prompt: str | None, word_timestamps: bool
    ) -> Iterator[HeardSegment]:
        """A segment for each run of the same pitch. A translation says `Hz`, a prompt comes first."""
        unit = " Hz" if task == "translate" else ""
        said = f" {prompt}" if prompt else ""
        heard = [word for word in _pitches(samples) if word[1]]
        for pitch, run in groupby(heard, key=lambda word: word[1]):
            starts = [start for start, _ in run]
            words = [HeardWord(f" {pitch}{unit}", at, at + WORD_S) for at in starts]
            text = said + "".join(word.word for word in words)
            said = ""
            yield HeardSegment(
                text,
                starts[0],
                starts[-1] + WORD_S,
                words if word_timestamps else None,
                [pitch] * len(words),
            )


class OriginalModel:
    """The same with the interface of openai-whisper's models, as a webui's `whisper_stt` has one."""

    def __init__(self, *, multilingual: bool = True) -> None:
        path = "tones" if multilingual else "tones.en"
        self._inner = WhisperModel(path, device="cpu", cpu_threads=1, local_files_only=True)
        self.is_multilingual = multilingual

    def transcribe(self, samples: Any, *, language: str | None = None, **options: Any) -> Any:
        if language not in (None, *self._inner.supported_languages):
            raise ValueError(f"Unsupported language: {language}")
        found, info = self._inner.transcribe(samples, language=language, **options)
        segments = [_as_dict(each) for each in found]
        text = "".join(each["text"] for each in segments)
        return {"text": text, "language": info.language, "segments": segments}


def _as_dict(segment: HeardSegment) -> dict[str, Any]:
    fields = dict(vars(segment))
    words = fields.pop("words")
    return fields if words is None else {**fields, "words": [vars(word) for word in words]}


def _pitches(samples: Any) -> Iterator[tuple[float, int]]:
    """The beginning of each half of a second, and its pitch in tens of hertz; 0 for silence."""
    size = int(RATE * WORD_S)
    for at in range(0, len(samples) - size // 2, size):
        # Not its edges: encoders begin a little later or earlier.
        part = samples[at + size // 4 : at + 3 * size // 4]
        spectrum = np.abs(np.fft.rfft(part * np.hanning(len(part)), RATE))
        loud = float(np.abs(part).max()) > LOUD
        yield at / RATE, int(round(float(np.argmax(spectrum)), -1)) if loud else 0


def module() -> ModuleType:
    """What `import faster_whisper` finds."""
    found = ModuleType("faster_whisper")
    vars(found)["WhisperModel"] = WhisperModel
    return found
