"""The head of a GGUF file: enough to size a context, and to tell a broken file before loading it.

Source: the GGUF specification (ggml, docs/gguf.md), versions 2 and 3.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

MAGIC = b"GGUF"
_SCALARS = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    7: "?",
    10: "Q",
    11: "q",
    12: "d",
}
_STRING, _ARRAY = 8, 9
_MAX_STRING = 1 << 28  # bytes; more can only be a broken file
_MAX_DIMENSIONS = 8

# Tensor types by number: values in a block, bytes of a block. Types that are missing here are only
# checked to begin inside the file.
_BLOCKS = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34),
    10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210),
    20: (32, 18), 23: (256, 136), 30: (1, 2),
}  # fmt: skip


class BadModelFile(Exception):
    """Not a GGUF file, or not the whole of one. The message names the file only by its name."""


Value = int | float | bool | str | list["Value"]


@dataclass(frozen=True, slots=True)
class GGUFHeader:
    """What the head of a model file says."""

    metadata: dict[str, Value]

    @property
    def architecture(self) -> str:
        return str(self.metadata.get("general.architecture", ""))

    def number(self, key: str) -> int:
        """A number under `<architecture>.key`; a list per layer gives its largest; 0 where missing."""
        value = self.metadata.get(f"{self.architecture}.{key}", 0)
        numbers = value if isinstance(value, list) else [value]
        return max((int(n) for n in numbers if isinstance(n, (int, float))), default=0)

    @property
    def context_length(self) -> int:
        """Tokens the model was trained for; 0 when the file does not say."""
        return self.number("context_length")

    @property
    def kv_bytes_per_token(self) -> int:
        """Bytes that one token takes in a 16-bit cache of keys and values."""
        heads = self.number("attention.head_count") or 1
        kv_heads = self.number("attention.head_count_kv") or heads
        head_size = self.number("embedding_length") // heads
        key = self.number("attention.key_length") or head_size
        value = self.number("attention.value_length") or head_size
        return 2 * self.number("block_count") * kv_heads * (key + value)


def read_header(path: Path) -> GGUFHeader:
    """Read a file's head and check that its last tensor is inside the file. Raises BadModelFile."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            return _read(file, size, path.name)
    except (struct.error, EOFError, MemoryError, RecursionError) as error:
        raise BadModelFile(
            f"{path.name} is cut off or damaged: its head cannot be read."
        ) from error
    except OSError as error:
        raise BadModelFile(f"{path.name} cannot be read: {error.strerror}.") from error


def _read(file: BinaryIO, size: int, name: str) -> GGUFHeader:
    if file.read(4) != MAGIC:
        raise BadModelFile(f"{name} is not a GGUF model file.")
    version, tensors, entries = _unpack(file, "IQQ")
    if version not in (2, 3):
        raise BadModelFile(f"{name} has GGUF version {version}; versions 2 and 3 are known.")
    metadata: dict[str, Value] = {}
    for _ in range(entries):
        key = _string(file)
        metadata[key] = _value(file, *_unpack(file, "I"))
    last_offset, last_size = 0, 0
    for _ in range(tensors):
        _string(file)
        (dimensions,) = _unpack(file, "I")
        if dimensions > _MAX_DIMENSIONS:
            raise EOFError
        shape = _unpack(file, f"{dimensions}Q")
        kind, offset = _unpack(file, "IQ")
        if offset >= last_offset:
            values, block = _BLOCKS.get(kind, (1, 0))
            count = 1
            for extent in shape:
                count *= extent
            last_offset, last_size = offset, count // values * block
    alignment = metadata.get("general.alignment", 32)
    step = alignment if isinstance(alignment, int) and alignment > 0 else 32
    begin = -(-file.tell() // step) * step
    missing = begin + last_offset + last_size - size
    if missing > 0:
        raise BadModelFile(
            f"{name} is not whole: at least {missing} bytes are missing at its end. "
            "Please download it again."
        )
    return GGUFHeader(metadata)


def _unpack(file: BinaryIO, layout: str) -> tuple[int, ...]:
    layout = "<" + layout
    return struct.unpack(layout, file.read(struct.calcsize(layout)))


def _string(file: BinaryIO) -> str:
    (length,) = _unpack(file, "Q")
    if length > _MAX_STRING:
        raise EOFError
    text = file.read(length)
    if len(text) < length:
        raise EOFError
    return text.decode("utf-8", "replace")


def _value(file: BinaryIO, kind: int) -> Value:
    if kind == _STRING:
        return _string(file)
    if kind == _ARRAY:
        inner, count = _unpack(file, "IQ")
        return [_value(file, inner) for _ in range(count)]
    if kind not in _SCALARS:
        raise EOFError
    return _unpack(file, _SCALARS[kind])[0]
