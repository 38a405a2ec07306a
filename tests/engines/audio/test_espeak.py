"""Voices of espeak-ng, where Debian's program of that name is installed."""

from __future__ import annotations

import io
import shutil
from typing import Any

import numpy as np
import pytest

from extensions.openai.engines.audio.decoding import SAMPLE_RATE, samples_of
from extensions.openai.engines.audio.espeak import EspeakEngine
from extensions.openai.engines.sounds import SpeechTask
from extensions.openai.errors import InvalidRequest

needs_espeak = pytest.mark.skipif(
    shutil.which("espeak-ng") is None, reason="espeak-ng is not installed"
)


def spoken(engine: Any, text: str, **task: Any) -> list[bytes]:
    parts = engine.speak(SpeechTask(text, **{"voice": "alloy", "format": "wav", **task}))
    return [part for part in parts if part is not None]


@needs_espeak
def test_espeak_speaks() -> None:
    engine = EspeakEngine()
    assert engine.voices[0] == "en-us" and "de" in engine.voices
    parts = spoken(engine, "Hello you. This is a test.")
    samples = samples_of(io.BytesIO(b"".join(parts)), 60, lambda: False)
    assert 1.0 < len(samples) / SAMPLE_RATE < 6.0 and np.abs(samples).max() > 0.1
    slow = samples_of(
        io.BytesIO(b"".join(spoken(engine, "Hello you. This is a test.", speed=0.5))),
        60,
        lambda: False,
    )
    assert len(slow) > 1.4 * len(samples)
    assert len(parts) > 3, "it comes while it is made"
    for task, param in (
        ({"voice": "nobody"}, "voice"),
        ({"voice": "--help"}, "voice"),
        ({"speed": 0.3}, "speed"),
        ({"instructions": "x"}, "instructions"),
    ):
        with pytest.raises(InvalidRequest) as caught:
            engine.speak(SpeechTask("x", **{"voice": "en-us", **task}))  # type: ignore[arg-type]
        assert caught.value.param == param
    with pytest.raises(InvalidRequest, match="nothing to speak"):
        engine.speak(SpeechTask("\n", "en-us"))


@needs_espeak
def test_a_client_that_leaves_ends_the_speech() -> None:
    parts = EspeakEngine().speak(SpeechTask("One. " * 800, "en-us", "wav"))
    assert next(part for part in parts if part)
    parts.close()
    with pytest.raises(StopIteration):
        next(parts)
