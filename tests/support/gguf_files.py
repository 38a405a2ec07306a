"""GGUF files taken apart and put together again, with something else in their heads."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
LAYOUTS = {
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
U32, F32, BOOL, STRING, ARRAY, U64 = 4, 6, 7, 8, 9, 10


@dataclass
class Tensor:
    """One row of the list of tensors."""

    name: bytes
    shape: tuple[int, ...]
    kind: int
    offset: int


@dataclass
class Parts:
    """A file: `entries` by key, each with its type and the bytes of its value."""

    entries: dict[str, tuple[int, bytes]]
    tensors: list[Tensor]
    data: bytes
    more: list[tuple[bytes, int, bytes]] = field(default_factory=list)
    """Further entries, such as one of a key that there is already."""

    def set(self, key: str, kind: int, value: Any) -> None:
        self.entries[key] = (kind, packed(kind, value))

    def write(self, path: Path) -> Path:
        entries = [(key.encode(), kind, raw) for key, (kind, raw) in self.entries.items()]
        entries += self.more
        head = b"GGUF" + struct.pack("<IQQ", 3, len(self.tensors), len(entries))
        for key, kind, raw in entries:
            head += struct.pack("<Q", len(key)) + key + struct.pack("<I", kind) + raw
        for tensor in self.tensors:
            head += struct.pack("<Q", len(tensor.name)) + tensor.name
            head += struct.pack(f"<I{len(tensor.shape)}Q", len(tensor.shape), *tensor.shape)
            head += struct.pack("<IQ", tensor.kind, tensor.offset)
        path.write_bytes(head + bytes(-len(head) % 32) + self.data)
        return path


def packed(kind: int, value: Any) -> bytes:
    """A value as it stands in a file; an array as (type of elements, list)."""
    if kind == STRING:
        raw = value if isinstance(value, bytes) else value.encode()
        return struct.pack("<Q", len(raw)) + raw
    if kind == ARRAY:
        inner, values = value
        return struct.pack("<IQ", inner, len(values)) + b"".join(packed(inner, v) for v in values)
    return struct.pack("<" + LAYOUTS[kind], value)


def take_apart(path: Path) -> Parts:
    """The parts of a whole file."""
    data = path.read_bytes()
    _, tensors, entries = struct.unpack_from("<IQQ", data, 4)
    at = 24

    def text() -> bytes:
        nonlocal at
        (length,) = struct.unpack_from("<Q", data, at)
        at += 8 + length
        return data[at - length : at]

    def skip(kind: int) -> None:
        nonlocal at
        if kind == STRING:
            text()
        elif kind == ARRAY:
            inner, count = struct.unpack_from("<IQ", data, at)
            at += 12
            for _ in range(count):
                skip(inner)
        else:
            at += SIZES[kind]

    found: dict[str, tuple[int, bytes]] = {}
    for _ in range(entries):
        key = text().decode()
        (kind,) = struct.unpack_from("<I", data, at)
        begin = at = at + 4
        skip(kind)
        found[key] = (kind, data[begin:at])
    rows = []
    for _ in range(tensors):
        name = text()
        (dimensions,) = struct.unpack_from("<I", data, at)
        shape = struct.unpack_from(f"<{dimensions}Q", data, at + 4)
        kind, offset = struct.unpack_from("<IQ", data, at + 4 + 8 * dimensions)
        rows.append(Tensor(name, shape, kind, offset))
        at += 16 + 8 * dimensions
    return Parts(found, rows, data[at + -at % 32 :])


def changed(source: Path, target: Path, entries: Mapping[str, tuple[int, Any] | None]) -> Path:
    """The same file with other entries; None takes one away."""
    parts = take_apart(source)
    for key, entry in entries.items():
        if entry is None:
            parts.entries.pop(key, None)
        else:
            parts.set(key, *entry)
    return parts.write(target)
