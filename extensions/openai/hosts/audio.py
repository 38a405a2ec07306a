"""Loads the models that hear and speak, beside the chat model."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ..engines.model_spec import ModelLoadError
from ..engines.protocol import Capability
from ..settings import Settings
from ..web.services import Services

if TYPE_CHECKING:
    from ..engines.audio.speaking import SpeakingEngine

log = logging.getLogger("openedai")

ESPEAK = "espeak-ng"
"""In place of a file: the program of this name."""


def wanted(settings: Settings) -> Mapping[Capability, str]:
    """The models that the operator names."""
    named = {
        Capability.TRANSCRIPTION: settings.transcription_model,
        Capability.SPEECH: settings.speech_model,
    }
    return {capability: name for capability, name in named.items() if name}


def load_audio(services: Services) -> None:
    """Load those that the operator names, and serve them. Raises ModelLoadError."""
    settings = services.settings
    if settings.transcription_model:
        from ..engines.audio.whisper import WhisperEngine

        folder = Path(settings.transcription_model).expanduser()
        hearing = WhisperEngine(
            folder,
            name=folder.resolve().name,
            device=settings.transcription_device,
            max_minutes=settings.transcription_minutes,
        )
        services.models.add(hearing.info.model, hearing)
        log.info("transcription: %s", hearing.info.model)
    if settings.speech_model:
        speaking = _voices(settings.speech_model)
        services.models.add(speaking.info.model, speaking)
        log.info("speech: %s", speaking.info.model)


def _voices(named: str) -> SpeakingEngine:
    if named == ESPEAK:
        from ..engines.audio.espeak import EspeakEngine

        return EspeakEngine()
    from ..engines.audio.piper import SUFFIX, PiperEngine

    path = Path(named).expanduser()
    return PiperEngine(path, name=path.resolve().name.removesuffix(SUFFIX))


def load_webui_audio(services: Services) -> None:
    """The same in a webui, with the Whisper model of its extension besides. A model that cannot be loaded is
    logged."""
    try:
        load_audio(services)
    except ModelLoadError as error:
        log.error("no audio: %s", error)
    from ..engines.webui.whisper import WebuiWhisper, has_whisper

    if has_whisper():
        hearing = WebuiWhisper(max_minutes=services.settings.transcription_minutes)
        services.models.add(hearing.info.model, hearing)
        log.info("transcription: %s", hearing.info.model)
