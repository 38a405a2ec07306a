"""Forms as other servers take them (multipart/form-data, RFC 7578), with files that are read while they are
sent: a file is never in memory as a whole."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

BLOCK_BYTES = 64 << 10


@dataclass(frozen=True, slots=True)
class FormFile:
    """A file of a form."""

    file: BinaryIO
    size: int
    name: str
    """Of letters, digits, dots and dashes."""
    type: str = "application/octet-stream"


class FormBody:
    """A form; its length is known, and it can be read again from its beginning."""

    def __init__(self, parts: Iterable[tuple[str, str | FormFile]]) -> None:
        """The names of fields, with their values; they are ours, not a client's."""
        self._boundary = secrets.token_hex(16)
        self._parts = [(self._head(name, value), value) for name, value in parts]
        self._end = f"--{self._boundary}--\r\n".encode()

    @property
    def content_type(self) -> str:
        return f"multipart/form-data; boundary={self._boundary}"

    def __len__(self) -> int:
        return len(self._end) + sum(
            len(head) + 2 + (value.size if isinstance(value, FormFile) else len(value.encode()))
            for head, value in self._parts
        )

    def __iter__(self) -> Iterator[bytes]:
        for head, value in self._parts:
            yield head
            if isinstance(value, FormFile):
                value.file.seek(0)
                while block := value.file.read(BLOCK_BYTES):
                    yield block
            else:
                yield value.encode()
            yield b"\r\n"
        yield self._end

    def _head(self, name: str, value: str | FormFile) -> bytes:
        head = f'--{self._boundary}\r\nContent-Disposition: form-data; name="{name}"'
        if isinstance(value, FormFile):
            head += f'; filename="{value.name}"\r\nContent-Type: {value.type}'
        return f"{head}\r\n\r\n".encode()
