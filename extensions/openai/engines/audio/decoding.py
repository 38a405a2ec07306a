"""A client's sound as samples: decoded by FFmpeg (PyAV), within a bound of time.

The format is chosen here, by the first bytes: FFmpeg also knows lists of addresses and of files, which a
client must not make it open.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, BinaryIO

from ...errors import InvalidRequest

log = logging.getLogger("openedai")

SAMPLE_RATE = 16_000  # of Whisper's models
MIN_S = 0.1
FRAMES_BETWEEN_CHECKS = 256


def format_of(head: bytes) -> str | None:
    """FFmpeg's name of the format of a file that begins like this; None: none that is taken."""
    for name, is_it in (
        ("wav", head[:4] == b"RIFF" and head[8:12] == b"WAVE"),
        ("flac", head[:4] == b"fLaC"),
        ("ogg", head[:4] == b"OggS"),
        ("mp4", head[4:8] == b"ftyp"),
        ("matroska", head[:4] == b"\x1a\x45\xdf\xa3"),
        ("mpeg", head[:4] == b"\x00\x00\x01\xba"),
        ("aac", head[:1] == b"\xff" and head[1:2] in (b"\xf0", b"\xf1", b"\xf8", b"\xf9")),
        ("mp3", head[:3] == b"ID3" or (head[:1] == b"\xff" and head[1:2] >= b"\xe0")),
    ):
        if is_it:
            return name
    return None


def samples_of(file: BinaryIO, max_seconds: int, is_left: Callable[[], bool]) -> Any:
    """The sound in a file: 32-bit floats, mono, SAMPLE_RATE a second. None once `is_left` says that no client
    waits.

    Raises InvalidRequest where it is none, broken, too short or longer than `max_seconds`.
    """
    import av
    import numpy

    file.seek(0)
    name = format_of(file.read(16))
    file.seek(0)
    if name is None:
        raise _refused(
            "Invalid file format. Supported formats: flac, m4a, mp3, mp4, mpeg, mpga, oga, ogg, wav, webm."
        )
    # 16 bits, as it may be long.
    data, most = bytearray(), max_seconds * SAMPLE_RATE * 2
    try:
        with av.open(file, "r", format=name, metadata_errors="ignore") as container:
            if not container.streams.audio:
                raise _refused("Invalid 'file': there is no sound in it.")
            resampler = av.AudioResampler("s16", "mono", SAMPLE_RATE)
            for at, frame in enumerate(container.decode(container.streams.audio[0])):
                if at % FRAMES_BETWEEN_CHECKS == 0 and is_left():
                    return None
                frame.pts = None
                for made in resampler.resample(frame):
                    data += made.to_ndarray().tobytes()
                if len(data) > most:
                    raise _refused(
                        f"Invalid 'file': it is longer than {max_seconds // 60} minutes."
                    )
            for made in resampler.resample(None):
                data += made.to_ndarray().tobytes()
    except (av.error.FFmpegError, ValueError, OverflowError) as error:
        log.debug("a sound cannot be decoded: %s", type(error).__name__)
        raise _refused("Invalid 'file': the sound cannot be decoded.") from None
    if len(data) < MIN_S * SAMPLE_RATE * 2:
        raise _refused(f"Invalid 'file': it is shorter than {MIN_S} seconds.")
    return numpy.frombuffer(data, "<i2").astype("float32") / 32768


def _refused(message: str) -> InvalidRequest:
    return InvalidRequest(message, param="file", code="invalid_value")
