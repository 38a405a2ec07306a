"""Sounds are decoded, checked and encoded again."""

from __future__ import annotations

import random
import struct
import sys
import wave
from io import BytesIO
from typing import Literal

import numpy as np
import pytest
import soundfile

from extensions.openai.errors import InvalidRequest
from extensions.openai.generation.media.audio import MAX_S, read_sound
from tests.support.media import tone, wav_header


def mp3(seconds: float = 0.5, rate: int = 16000) -> bytes:
    made = BytesIO()
    with wave.open(BytesIO(tone(440, seconds, rate))) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    soundfile.write(made, samples, rate, format="MP3")
    return made.getvalue()


def heard(data: bytes, format: Literal["wav", "mp3"] = "wav") -> tuple[int, np.ndarray]:
    """What an engine will hear: samples a second, and the samples."""
    media = read_sound(data, format, "p")
    assert (media.kind, media.format) == ("audio", "wav")
    with wave.open(BytesIO(media.data)) as file:
        assert (file.getnchannels(), file.getsampwidth()) == (1, 2)
        return file.getframerate(), np.frombuffer(file.readframes(file.getnframes()), "<i2")


def hertz(rate: int, samples: np.ndarray) -> float:
    """The loudest tone."""
    loud = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(loud) * rate / len(samples))


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_a_tone_stays_what_it_is(rate: int, channels: int) -> None:
    output, samples = heard(tone(440, 0.5, rate, channels))
    assert output == rate and len(samples) == rate // 2
    assert abs(hertz(output, samples) - 440) < 5
    assert abs(int(np.abs(samples).max()) - 20000) < 300


def test_mp3() -> None:
    rate, samples = heard(mp3(), "mp3")
    assert abs(hertz(rate, samples) - 440) < 5


def test_floats_that_are_no_numbers() -> None:
    values = [float("nan"), float("inf"), -float("inf"), 5.0, 0.5] * 2000
    data = struct.pack("<10000f", *values)
    head = struct.pack("<IHHIIHH", 16, 3, 1, 16000, 64000, 4, 32)
    body = b"WAVEfmt " + head + b"data" + struct.pack("<I", len(data)) + data
    _, samples = heard(b"RIFF" + struct.pack("<I", len(body)) + body)
    assert list(samples[:5]) == [0, 32767, -32767, 32767, 16383]


@pytest.mark.parametrize(
    ("data", "format", "words"),
    [
        (b"", "wav", "not of the format"),
        (tone(), "mp3", "not of the format"),
        (b"fLaC" + bytes(100), "wav", "not of the format"),
        (b"RIFF\0\0\0\0WAVE", "wav", "cannot be decoded"),
        (wav_header(bytes(20), 16000), "wav", "shorter than 0.1"),
        (wav_header(bytes(20000), 3999), "wav", "sample rate"),
        (wav_header(bytes(20000), 500_000), "wav", "sample rate"),
        (wav_header(bytes(4000 * MAX_S + 1), 4000), "wav", "longer than 600"),
    ],
)
def test_refusals(data: bytes, format: Literal["wav", "mp3"], words: str) -> None:
    with pytest.raises(InvalidRequest, match=words) as caught:
        read_sound(data, format, "p")
    assert caught.value.param == "p"


def test_without_the_package_sounds_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(InvalidRequest, match="lacks the package soundfile"):
        read_sound(tone(), "wav", "p")


@pytest.mark.parametrize("format", ["wav", "mp3"])
def test_broken_files_are_refused_or_heard(format: Literal["wav", "mp3"]) -> None:
    """Nothing but InvalidRequest comes of a file with broken bytes, or of a part of one."""
    source = random.Random(1)
    whole = tone() if format == "wav" else mp3()
    for _ in range(100):
        data = bytearray(whole[: source.randint(1, len(whole))])
        for _ in range(source.randint(0, 8)):
            data[source.randrange(min(len(data), 200))] = source.randrange(256)
        try:
            rate, samples = heard(bytes(data), format)
            assert len(samples) >= rate // 10
        except InvalidRequest as error:
            assert error.param == "p"
