"""Pictures and sounds for tests, and the parts of messages that hold them."""

from __future__ import annotations

import struct
import wave
import zlib
from base64 import b64encode
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

Part = dict[str, Any]


def picture(
    colour: Any = "red", size: tuple[int, int] = (32, 32), format: str = "PNG", **options: Any
) -> bytes:
    """A file with a picture of one colour."""
    made = BytesIO()
    mode = options.pop("mode", "RGB")
    Image.new(mode, size, colour).save(made, format, **options)
    return made.getvalue()


def halves(left: str, right: str, format: str = "PNG", **options: Any) -> bytes:
    """A picture with two halves."""
    both = Image.new("RGB", (32, 32), left)
    both.paste(Image.new("RGB", (16, 32), right), (16, 0))
    made = BytesIO()
    both.save(made, format, **options)
    return made.getvalue()


def tone(hertz: float = 440, seconds: float = 0.5, rate: int = 16000, channels: int = 1) -> bytes:
    """A WAV file with a tone."""
    at = np.arange(int(seconds * rate)) / rate
    samples = (np.sin(2 * np.pi * hertz * at) * 20000).astype("<i2")
    made = BytesIO()
    with wave.open(made, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.repeat(samples, channels).tobytes())
    return made.getvalue()


def wav_header(data: bytes, rate: int, bits: int = 8) -> bytes:
    """A WAV file of one channel with any header."""
    head = struct.pack("<IHHIIHH", 16, 1, 1, rate, rate * bits // 8, bits // 8, bits)
    body = b"WAVEfmt " + head + b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


def pdf(*pages: bytes) -> bytes:
    """A PDF whose pages have these contents, in the language of PDF; `line` makes one."""
    kids = " ".join(f"{4 + 2 * at} 0 R" for at in range(len(pages)))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Count {len(pages)} /Kids [{kids}] >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for at, content in enumerate(pages):
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents %d 0 R "
            b"/Resources << /Font << /F 3 0 R >> >> >>" % (5 + 2 * at)
        )
        packed = zlib.compress(content)
        head = b"<< /Length %d /Filter /FlateDecode >> stream\n" % len(packed)
        objects.append(head + packed + b"\nendstream")
    made, places = b"%PDF-1.7\n", b""
    for number, one in enumerate(objects, 1):
        places += b"%010d 00000 n \n" % len(made)
        made += b"%d 0 obj\n" % number + one + b"\nendobj\n"
    size = len(objects) + 1
    table = b"xref\n0 %d\n0000000000 65535 f \n" % size + places
    end = b"trailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (size, len(made))
    return made + table + end


def line(words: str) -> bytes:
    """A page's content: one line of text."""
    return b"BT /F 12 Tf 72 720 Td (%s) Tj ET" % words.encode("latin-1")


def base64(data: bytes) -> str:
    return b64encode(data).decode()


def data_url(data: bytes, type: str = "image/png") -> str:
    return f"data:{type};base64,{base64(data)}"


def text(content: str) -> Part:
    return {"type": "text", "text": content}


def image(data: bytes | str, **options: Any) -> Part:
    """An image part; a string is its address."""
    url = data if isinstance(data, str) else data_url(data)
    return {"type": "image_url", "image_url": {"url": url, **options}}


def sound(data: bytes, format: str = "wav") -> Part:
    return {"type": "input_audio", "input_audio": {"data": base64(data), "format": format}}


def file(data: bytes, name: str | None = "notes.txt") -> Part:
    return {"type": "file", "file": {"filename": name, "file_data": base64(data)}}


def user(*parts: Part) -> list[dict[str, Any]]:
    """A conversation of one message."""
    return [{"role": "user", "content": list(parts)}]
