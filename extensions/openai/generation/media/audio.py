"""Sounds: decoded by libsndfile, and handed on as plain 16-bit mono WAV."""

from __future__ import annotations

import logging
import wave
from io import BytesIO
from typing import Literal

from ...engines.protocol import Media
from ...errors import InvalidRequest
from ...schemas import bad_request

log = logging.getLogger("openedai")

FORMATS = {"wav": ("WAV", "WAVEX"), "mp3": ("MP3", "MPEG")}  # libsndfile's names
MIN_S, MAX_S = 0.1, 600  # llama.cpp aborts at a sound of one sample
SAMPLE_RATES_HZ = range(
    4000, 192_001
)  # samples a second; others would grow without bounds when resampled
BLOCK_SAMPLES = 1 << 16  # samples


def read_sound(data: bytes, format: Literal["wav", "mp3"], param: str) -> Media:
    """The sound in a file. Raises InvalidRequest where it is none, broken, too short or too long."""
    try:
        import numpy
        import soundfile
    except ImportError:
        raise bad_request.unsupported(
            param, "is not taken: the server lacks the package soundfile."
        ) from None
    if not _looks_like(data, format):
        raise _refused(param, f"it is not of the format '{format}'.")
    sound = BytesIO()
    try:
        with soundfile.SoundFile(BytesIO(data)) as file, wave.open(sound, "wb") as made:
            made.setnchannels(1)
            made.setsampwidth(2)
            made.setframerate(file.samplerate)
            if file.format not in FORMATS[format]:
                raise _refused(param, f"it is not of the format '{format}'.")
            if file.samplerate not in SAMPLE_RATES_HZ:
                raise _refused(
                    param,
                    f"its sample rate is not within {SAMPLE_RATES_HZ[0]} to {SAMPLE_RATES_HZ[-1]}.",
                )
            samples = 0
            for block in file.blocks(
                BLOCK_SAMPLES // file.channels, dtype="float32", always_2d=True
            ):
                samples += len(block)
                if samples > MAX_S * file.samplerate:
                    raise _refused(param, f"it is longer than {MAX_S} seconds.")
                mono = numpy.nan_to_num(block).mean(axis=1).clip(-1, 1)
                made.writeframes((mono * 32767).astype("<i2").tobytes())
            if samples < MIN_S * file.samplerate:
                raise _refused(param, f"it is shorter than {MIN_S} seconds.")
    except (soundfile.SoundFileError, RuntimeError, ValueError) as error:
        log.debug("a sound cannot be decoded: %s", type(error).__name__)
        raise _refused(param, "the sound cannot be decoded.") from None
    return Media("audio", "wav", sound.getvalue())


def _looks_like(data: bytes, format: str) -> bool:
    """By the first bytes: libsndfile knows many more formats, which need not be reachable."""
    if format == "wav":
        return data[:4] == b"RIFF" and data[8:12] == b"WAVE"
    return data[:3] == b"ID3" or (data[:1] == b"\xff" and data[1:2] >= b"\xe0")


def _refused(param: str, why: str) -> InvalidRequest:
    return InvalidRequest(f"Invalid '{param}': {why}", param=param, code="invalid_value")
