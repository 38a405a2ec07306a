"""Spoken samples as a file, written by FFmpeg (PyAV) while they come."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ..sounds import SpeechFormat

PCM_RATE = 24_000
"""Of `pcm`, which has no head that says it; source: OpenAI's guide "Text to speech"."""


@dataclass(frozen=True, slots=True)
class Row:
    """How FFmpeg writes a format."""

    container: str
    codec: str
    rate: int | None = None
    """Samples a second; None: those of the voice."""
    options: tuple[tuple[str, str], ...] = ()


ROWS: dict[SpeechFormat, Row] = {
    "mp3": Row("mp3", "libmp3lame", options=(("write_xing", "0"), ("id3v2_version", "0"))),
    "opus": Row("ogg", "libopus", 48_000),
    "aac": Row("adts", "aac"),
    "flac": Row("flac", "flac"),
    "wav": Row("wav", "pcm_s16le"),
    "pcm": Row("s16le", "pcm_s16le", PCM_RATE),
}


class _Written:
    """What was written and not yet taken. It cannot be gone back in, as it is on its way to a client."""

    def __init__(self) -> None:
        self._data = bytearray()

    def write(self, data: bytes) -> int:
        self._data += data
        return len(data)

    def take(self) -> bytes:
        data = bytes(self._data)
        self._data.clear()
        return data


def encoded(samples: Iterable[bytes], rate: int, format: SpeechFormat) -> Iterator[bytes]:
    """The parts of a file. `samples`: 16 bits, little-endian, mono, `rate` a second, in parts; an empty part
    says that nothing has come yet, and comes out as one."""
    import av
    import numpy

    row, written = ROWS[format], _Written()
    with av.open(written, "w", format=row.container, options=dict(row.options)) as container:
        stream: Any = container.add_stream(row.codec, rate=row.rate or rate)
        stream.layout = "mono"
        at = 0
        for part in samples:
            if not part:
                yield b""
                continue
            values = numpy.frombuffer(part, "<i2").reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(values, "s16", "mono")
            frame.sample_rate, frame.pts = rate, at
            at += values.shape[1]
            container.mux(stream.encode(frame))
            yield written.take()
        container.mux(stream.encode(None))
    yield written.take()
