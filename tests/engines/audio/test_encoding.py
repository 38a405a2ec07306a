"""Spoken samples as files: each is what it says."""

from __future__ import annotations

import io

import numpy as np
import pytest

from extensions.openai.engines.audio.decoding import SAMPLE_RATE, samples_of
from extensions.openai.engines.audio.encoding import encoded
from extensions.openai.engines.sounds import SPEECH_TYPES, SpeechFormat
from tests.support.sound_files import HERTZ, pitch, tone


@pytest.mark.parametrize("format", SPEECH_TYPES)
def test_each_format_is_what_it_says(format: SpeechFormat) -> None:
    samples = (tone(1.0) * 32767).astype("<i2").tobytes()
    parts = [samples[at : at + 5000] for at in range(0, len(samples), 5000)]
    parts.insert(2, b"")
    made = b"".join(encoded(iter(parts), 22_050, format))
    if format == "pcm":
        heard, rate = np.frombuffer(made, "<i2") / 32768, 24_000
    else:
        heard, rate = samples_of(io.BytesIO(made), 60, lambda: False), SAMPLE_RATE
    assert len(heard) / rate == pytest.approx(1.0, abs=0.12)
    assert pitch(heard, rate) == pytest.approx(HERTZ, rel=0.02)
