"""Transcription by faster-whisper, in this process, with a model of the operator: a folder in CTranslate2's
format."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from ...errors import EngineFailed, InvalidRequest
from ...schemas import bad_request
from ..callback_bridge import Emit, iterate_callback
from ..model_spec import ModelLoadError
from ..protocol import Capability
from ..sounds import Segment, Transcript, TranscriptionTask, TranscriptPart, Word
from ..tokenless import TokenlessEngine, tokenless_info
from .decoding import samples_of

log = logging.getLogger("openedai")

NEEDED = ("model.bin", "config.json", "tokenizer.json")
"""Without the last one, faster-whisper would load one from the internet."""
TEMPERATURES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
"""In turn, where a text repeats itself or is unlikely; as the reference says of 0."""


class WhisperEngine(TokenlessEngine):
    """One sound at a time. Thread-safe."""

    def __init__(
        self, folder: Path, *, name: str, device: str = "auto", threads: int = 0, max_minutes: int
    ) -> None:
        """`device`: `cpu`, `cuda` or `auto`; `threads`: 0 is the library's number; `max_minutes`: of a sound.
        Raises ModelLoadError."""
        super().__init__(
            tokenless_info(name, "faster-whisper", Capability.TRANSCRIPTION, "A Whisper model.")
        )
        try:
            import faster_whisper
        except ImportError as error:
            raise ModelLoadError(
                "--transcription-model needs the package faster-whisper: pip install 'openedai[audio]'"
            ) from error
        missing = [each for each in NEEDED if not (folder / each).is_file()]
        if missing:
            raise ModelLoadError(f"--transcription-model: {folder} has no {', '.join(missing)}")
        try:
            self._model: Any = faster_whisper.WhisperModel(
                str(folder), device=device, cpu_threads=threads, local_files_only=True
            )
        except (RuntimeError, ValueError, OSError) as error:
            raise ModelLoadError(f"--transcription-model: {error}") from error
        self._max_seconds = 60 * max_minutes

    def transcribe(self, task: TranscriptionTask) -> Transcript:
        """As in Transcriber."""
        model = self._model
        if task.language is not None and task.language.lower() not in model.supported_languages:
            raise InvalidRequest(
                "Invalid 'language': the model does not know it.",
                param="language",
                code="invalid_value",
            )
        if task.wants_logprobs:
            raise bad_request.unsupported("include", "has no log-probabilities with this model.")
        if task.translates and not model.model.is_multilingual:
            raise bad_request.unsupported("model", "knows English only, and does not translate.")

        def work(emit: Emit[TranscriptPart | None]) -> None:
            samples = samples_of(task.sound.file, self._max_seconds, lambda: emit(None))
            if samples is None:
                return
            try:
                self._write(samples, task, emit)
            except (RuntimeError, ValueError) as error:
                raise EngineFailed("The model failed at this sound.") from error

        return iterate_callback(work)

    def _write(
        self, samples: Any, task: TranscriptionTask, emit: Emit[TranscriptPart | None]
    ) -> None:
        segments, info = self._model.transcribe(
            samples,
            language=task.language and task.language.lower(),
            task="translate" if task.translates else "transcribe",
            initial_prompt=task.prompt,
            temperature=task.temperature or TEMPERATURES,
            word_timestamps=task.wants_words,
        )
        if emit(TranscriptPart(language=info.language, seconds=round(info.duration, 3))):
            return
        for each in segments:
            if emit(_part(each)):
                return

    def close(self) -> None:
        self._model = None


def _part(said: Any) -> TranscriptPart:
    """Of one of faster-whisper's segments."""
    details = {
        "seek": int(said.seek),
        "tokens": list(said.tokens),
        "temperature": float(said.temperature),
        "avg_logprob": float(said.avg_logprob),
        "compression_ratio": float(said.compression_ratio),
        "no_speech_prob": float(said.no_speech_prob),
    }
    words = tuple(
        Word(each.word.strip(), round(float(each.start), 3), round(float(each.end), 3))
        for each in said.words or ()
    )
    start, end = round(float(said.start), 3), round(float(said.end), 3)
    segment = Segment(start, end, said.text, details)
    return TranscriptPart(said.text, segment, words)
