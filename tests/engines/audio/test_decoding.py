"""Clients' sounds as samples: each format, and what is none."""

from __future__ import annotations

import io
import tracemalloc

import numpy as np
import pytest

from extensions.openai.engines.audio.decoding import SAMPLE_RATE, samples_of
from extensions.openai.errors import InvalidRequest
from tests.support.sound_files import HERTZ, file_of, pitch, tone


@pytest.mark.parametrize(
    ("format", "subtype"),
    [
        ("WAV", None),
        ("WAV", "FLOAT"),
        ("FLAC", None),
        ("OGG", "VORBIS"),
        ("OGG", "OPUS"),
        ("MP3", None),
    ],
)
def test_a_sound_is_heard_as_it_is(format: str, subtype: str | None) -> None:
    rate = 48_000 if subtype == "OPUS" else 22_050
    both = np.stack([tone(1.5, rate), tone(1.5, rate)], axis=1)
    data = file_of(both, format, subtype, rate)
    samples = samples_of(io.BytesIO(data), 60, lambda: False)
    assert len(samples) == pytest.approx(1.5 * SAMPLE_RATE, rel=0.05)
    assert pitch(samples) == pytest.approx(HERTZ, rel=0.01)
    assert np.abs(samples).max() == pytest.approx(0.5, abs=0.05)


WAV = file_of(np.zeros(22_050), "WAV")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n", "Invalid file format"),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", "Invalid file format"),
        (b"\x89PNG\r\n\x1a\n" + bytes(64), "Invalid file format"),
        (b"x", "Invalid file format"),
        (b"RIFF\0\0\0\0WAVE", "cannot be decoded"),
        (b"\0\0\0\x20ftypisom" + bytes(64), "cannot be decoded"),
        (b"OggS" + bytes(64), "cannot be decoded"),
        (b"fLaC" + b"\xff" * 64, "cannot be decoded"),
        (file_of(np.zeros(100), "WAV"), "shorter than"),
    ],
)
def test_what_is_no_sound_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words) as caught:
        samples_of(io.BytesIO(data), 60, lambda: False)
    assert caught.value.param == "file"


def test_a_small_file_with_a_long_sound_is_refused_before_it_is_in_memory() -> None:
    data = file_of(np.zeros(8000 * 60 * 20, "int16"), "FLAC", rate=8000)
    assert len(data) < 200_000, "20 minutes of silence"
    tracemalloc.start()
    try:
        with pytest.raises(InvalidRequest, match="longer than 1 minutes"):
            samples_of(io.BytesIO(data), 60, lambda: False)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 8 << 20, "a minute of samples, not 20"
    assert samples_of(io.BytesIO(data), 60, lambda: True) is None
