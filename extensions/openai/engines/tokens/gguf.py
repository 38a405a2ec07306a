"""Reads the header of a GGUF file in bounded time and memory.

Source: the GGUF specification (ggml, docs/gguf.md), versions 2 and 3. `gguf_checks.py` checks whether the
values make sense for a model.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
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
_MAX_HEADER_BYTES = 512 << 20  # a vocabulary of 260,000 tokens takes about 10 million
_MAX_ENTRIES = 65_536
_MAX_TENSORS = 262_144
_MAX_ELEMENTS = 16 << 20  # of all arrays together
_MAX_KEY_BYTES = 65_535  # as the specification says
_MAX_TENSOR_NAME_BYTES = 63  # GGML_MAX_NAME is 64 with the terminating zero
_MAX_DIMENSIONS = 4  # GGML_MAX_DIMS
_MAX_VALUES = 2**63 - 1  # of a tensor

# Tensor types by number: values in a block, bytes of a block. For missing types, only the start of the
# tensor is checked to be inside the file.
BLOCK_SIZES = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34),
    9: (32, 40), 10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210),
    15: (256, 292), 16: (256, 66), 17: (256, 74), 18: (256, 98), 19: (256, 50), 20: (32, 18),
    21: (256, 110), 22: (256, 82), 23: (256, 136), 24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8),
    28: (1, 8), 29: (256, 56), 30: (1, 2), 34: (256, 54), 35: (256, 66), 39: (32, 17),
    40: (64, 36), 41: (128, 18),
}  # fmt: skip


class BadModelFile(Exception):
    """Not a GGUF file, an incomplete one, or one with impossible values. The message has the file's name, not
    its path."""


Value = int | float | bool | str | list["Value"]


@dataclass(frozen=True, slots=True)
class GGUFHeader:
    """The header of a model file."""

    metadata: dict[str, Value]
    tensors: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """The shapes of the tensors by name, fastest dimension first."""

    @property
    def architecture(self) -> str:
        return str(self.metadata.get("general.architecture", ""))

    def number(self, key: str) -> int:
        """The number at `<architecture>.key`; the largest of a list per layer; 0 if missing."""
        value = self.metadata.get(f"{self.architecture}.{key}", 0)
        numbers = value if isinstance(value, list) else [value]
        return max((int(n) for n in numbers if isinstance(n, (int, float))), default=0)

    @property
    def context_length(self) -> int:
        """Tokens the model was trained for; 0 when the file does not say."""
        return self.number("context_length")

    @property
    def kv_bytes_per_token(self) -> int:
        """Bytes of one token in a 16-bit KV cache."""
        heads = self.number("attention.head_count") or 1
        kv_heads = self.number("attention.head_count_kv") or heads
        head_size = self.number("embedding_length") // heads
        key = self.number("attention.key_length") or head_size
        value = self.number("attention.value_length") or head_size
        return 2 * self.number("block_count") * kv_heads * (key + value)


def read_header(path: Path) -> GGUFHeader:
    """Read a file's header and check that its tensors are inside the file. Raises BadModelFile.

    Takes at most a few seconds and a few hundred MB, whatever the file contains.
    """
    try:
        if not path.is_file():
            raise BadModelFile(f"{path.name} cannot be read: it is not a file.")
        size = path.stat().st_size
        with path.open("rb", buffering=1 << 20) as file:
            return _Reader(file, size, path.name).header()
    except (struct.error, EOFError, MemoryError, OverflowError) as error:
        raise BadModelFile(
            f"{path.name} is cut off or damaged: its header cannot be read."
        ) from error
    except OSError as error:
        raise BadModelFile(f"{path.name} cannot be read: {error.strerror}.") from error


class _Reader:
    """Reads one file from its beginning. Raises BadModelFile, EOFError and struct.error."""

    def __init__(self, file: BinaryIO, size: int, name: str) -> None:
        self._file = file
        self._size = size
        self._name = name
        self._left = min(size, _MAX_HEADER_BYTES)  # bytes that the header may still have
        self._elements = _MAX_ELEMENTS

    def header(self) -> GGUFHeader:
        if self._take(4) != MAGIC:
            raise BadModelFile(f"{self._name} is not a GGUF model file.")
        version, tensors, entries = self._unpack("IQQ")
        if version not in (2, 3):
            raise BadModelFile(
                f"{self._name} has GGUF version {version}; versions 2 and 3 are known."
            )
        for what, count, maximum in (
            ("entries", entries, _MAX_ENTRIES),
            ("tensors", tensors, _MAX_TENSORS),
        ):
            if count > maximum:
                raise BadModelFile(
                    f"{self._name} is damaged: its header has {count} {what}, more than {maximum}."
                )
        metadata = self._metadata(entries)
        return GGUFHeader(metadata, self._tensors(tensors, self._alignment(metadata)))

    def _metadata(self, entries: int) -> dict[str, Value]:
        metadata: dict[str, Value] = {}
        for _ in range(entries):
            key = self._string(_MAX_KEY_BYTES)
            (kind,) = self._unpack("I")
            if key in metadata:
                raise BadModelFile(f"{self._name} is damaged: it has {_shown(key)} twice.")
            metadata[key] = self._value(kind)
        return metadata

    def _alignment(self, metadata: Mapping[str, Value]) -> int:
        alignment = metadata.get("general.alignment", 32)
        if (
            not isinstance(alignment, int)
            or isinstance(alignment, bool)
            or not 0 < alignment <= 1 << 20
            or alignment & (alignment - 1)
        ):
            raise BadModelFile(f"{self._name} is damaged: general.alignment is not a power of two.")
        return alignment

    def _tensors(self, count: int, alignment: int) -> dict[str, tuple[int, ...]]:
        shapes: dict[str, tuple[int, ...]] = {}
        ends: list[int] = []
        for _ in range(count):
            name = self._string(_MAX_TENSOR_NAME_BYTES)
            (dimensions,) = self._unpack("I")
            if not 0 < dimensions <= _MAX_DIMENSIONS:
                raise BadModelFile(
                    f"{self._name} is damaged: the tensor {_shown(name)} has {dimensions} dimensions."
                )
            shape = self._unpack(f"{dimensions}Q")
            kind, offset = self._unpack("IQ")
            if name in shapes:
                raise BadModelFile(
                    f"{self._name} is damaged: it has the tensor {_shown(name)} twice."
                )
            per_block, block = BLOCK_SIZES.get(kind, (1, 0))
            values = prod(shape)
            if not 0 < values <= _MAX_VALUES or shape[0] % per_block or offset % alignment:
                raise BadModelFile(
                    f"{self._name} is damaged: the tensor {_shown(name)} has an impossible shape, type or "
                    "offset."
                )
            shapes[name] = shape
            ends.append(offset + values // per_block * block)
        begin = -(-self._file.tell() // alignment) * alignment
        missing = begin + max(ends, default=0) - self._size
        if missing > 0:
            raise BadModelFile(
                f"{self._name} is incomplete: at least {missing} bytes are missing at its end. "
                "Please download it again."
            )
        return shapes

    def _take(self, count: int) -> bytes:
        if count > self._left:
            raise EOFError
        self._left -= count
        data = self._file.read(count)
        if len(data) < count:
            raise EOFError
        return data

    def _unpack(self, layout: str) -> tuple[int, ...]:
        layout = "<" + layout
        return struct.unpack(layout, self._take(struct.calcsize(layout)))

    def _string(self, max_bytes: int = _MAX_HEADER_BYTES) -> str:
        (length,) = struct.unpack("<Q", self._take(8))
        if length > max_bytes:
            raise EOFError
        return self._take(length).decode("utf-8", "replace")

    def _value(self, kind: int) -> Value:
        if kind == _STRING:
            return self._string()
        if kind == _ARRAY:
            inner, count = self._unpack("IQ")
            return self._array(inner, count)
        if kind not in _SCALARS:
            raise EOFError
        return self._unpack(_SCALARS[kind])[0]

    def _array(self, inner: int, count: int) -> list[Value]:
        """Read an array. Nested arrays are refused: no model file has them, and llama.cpp cannot read
        them."""
        if count > self._elements:
            raise EOFError
        self._elements -= count
        if inner == _STRING:
            if 8 * count > self._left:
                raise EOFError
            return [self._string() for _ in range(count)]
        if inner not in _SCALARS:
            raise EOFError
        return list(self._unpack(f"{count}{_SCALARS[inner]}"))


def _shown(name: str) -> str:
    """A name from a file, which may be anything, for a message."""
    return repr(name[:80])
