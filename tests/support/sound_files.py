"""Sounds as files of many formats, and what one hears in them."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import soundfile

from extensions.openai.engines.audio.decoding import SAMPLE_RATE

HERTZ = 440


def tone(seconds: float, rate: int = 22_050) -> Any:
    return 0.5 * np.sin(2 * np.pi * HERTZ * np.arange(int(seconds * rate)) / rate)


def file_of(samples: Any, format: str, subtype: str | None = None, rate: int = 22_050) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=format, subtype=subtype)
    return file.getvalue()


def pitch(samples: Any, rate: int = SAMPLE_RATE) -> float:
    spectrum = np.abs(np.fft.rfft(samples))
    return float(np.argmax(spectrum)) * rate / len(samples)
