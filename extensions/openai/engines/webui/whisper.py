"""A webui's own transcriptions: the Whisper model that its extension `whisper_stt` has loaded.

The extension's function gives the bare text of any file that FFmpeg opens, also of a list of addresses. So
its model is called here, with samples that were decoded within our bounds, and says times and the language:

    {"text": " Hello.", "language": "en", "segments": [{"start": 0.0, "end": 0.8, "text": " Hello.", ...}]}

Source: text-generation-webui, `extensions/whisper_stt`; openai-whisper, `transcribe`.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

from ...errors import EngineFailed, InvalidRequest, ModelLoading
from ...schemas import bad_request
from ..audio.decoding import SAMPLE_RATE, samples_of
from ..audio.whisper import TEMPERATURES
from ..callback_bridge import Emit, iterate_callback
from ..protocol import Capability, EngineInfo
from ..sounds import Segment, Transcript, TranscriptionTask, TranscriptPart, Word
from ..tokenless import TokenlessEngine, tokenless_info
from .host import host_args
from .ui_state import extensions

NAME = "webui-whisper"
"""Under which it is served, whatever is loaded."""
EXTENSION = "whisper_stt"
MODEL = "WHISPERMODEL"
"""The extension's name for the loaded model; None while there is none."""
DETAILS = ("seek", "tokens", "temperature", "avg_logprob", "compression_ratio", "no_speech_prob")


class WebuiWhisper(TokenlessEngine):
    """One sound at a time, as the model cannot do more. What is loaded is looked up for each request."""

    def __init__(self, *, max_minutes: int) -> None:
        super().__init__(
            tokenless_info(
                NAME, "text-generation-webui", Capability.TRANSCRIPTION, "Whisper of its extension."
            )
        )
        self._max_seconds = 60 * max_minutes
        self._lock = threading.Lock()

    @property
    def info(self) -> EngineInfo:
        return self._info if _loaded() is not None else replace(self._info, capabilities=())

    def transcribe(self, task: TranscriptionTask) -> Transcript:
        """As in Transcriber."""
        model = _loaded()
        if model is None:
            raise ModelLoading("No Whisper model is loaded. Load one in the web UI.")
        if task.wants_logprobs:
            raise bad_request.unsupported("include", "has no log-probabilities with this model.")
        if task.translates and not model.is_multilingual:
            raise bad_request.unsupported("model", "knows English only, and does not translate.")

        def work(emit: Emit[TranscriptPart | None]) -> None:
            samples = samples_of(task.sound.file, self._max_seconds, lambda: emit(None))
            if samples is None:
                return
            with self._lock:
                said = _said(model, samples, task)
            seconds = round(len(samples) / SAMPLE_RATE, 3)
            if emit(TranscriptPart(language=said.get("language"), seconds=seconds)):
                return
            for each in said["segments"]:
                if emit(_part(each)):
                    return

        return iterate_callback(work)

    def close(self) -> None:
        """Nothing to free: the model is the webui's."""


def has_whisper() -> bool:
    """Whether the extension is there or will be, and what decodes sounds."""
    if find_spec("av") is None:
        return False
    chosen = getattr(host_args(), "extensions", None) or ()
    return EXTENSION in chosen or _extension() is not None


def _extension() -> Any:
    found = (extension for name, extension in extensions() if name == EXTENSION)
    return next(found, None)


def _loaded() -> Any:
    return getattr(_extension(), MODEL, None)


def _said(model: Any, samples: Any, task: TranscriptionTask) -> dict[str, Any]:
    """Raises InvalidRequest for a language that is none, and EngineFailed."""
    try:
        said: dict[str, Any] = model.transcribe(
            samples,
            language=task.language and task.language.lower(),
            task="translate" if task.translates else "transcribe",
            initial_prompt=task.prompt,
            temperature=task.temperature or TEMPERATURES,
            word_timestamps=task.wants_words,
        )
    except ValueError as error:
        if task.language is None:
            raise EngineFailed("The model failed at this sound.") from error
        raise InvalidRequest(
            "Invalid 'language': the model does not know it.",
            param="language",
            code="invalid_value",
        ) from None
    except RuntimeError as error:
        raise EngineFailed("The model failed at this sound.") from error
    return said


def _part(said: dict[str, Any]) -> TranscriptPart:
    words = tuple(
        Word(each["word"].strip(), round(float(each["start"]), 3), round(float(each["end"]), 3))
        for each in said.get("words", ())
    )
    start, end = round(float(said["start"]), 3), round(float(said["end"]), 3)
    details = {name: said[name] for name in DETAILS}
    return TranscriptPart(said["text"], Segment(start, end, said["text"], details), words)
