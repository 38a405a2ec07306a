"""Engines that make and change pictures."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Protocol, runtime_checkable

HEAD_BYTES = 12
"""Of a file, by which its type is known."""


def picture_type(head: bytes) -> str | None:
    """The media type of a file with these first bytes; None: it is no PNG, JPEG or WebP."""
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if head.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    return "image/webp" if head[:4] == b"RIFF" and head[8:12] == b"WEBP" else None


@dataclass(frozen=True, slots=True)
class PictureFile:
    """A client's file. Nothing of it has been checked but its size and its first bytes."""

    file: BinaryIO = field(repr=False)
    size: int
    type: str
    """`image/png`, ..., by its first bytes."""


@dataclass(frozen=True, slots=True)
class PictureTask:
    """Pictures to make of a text, of pictures and a text, or of a picture alone."""

    prompt: str | None
    """None: variations of the picture."""
    count: int = 1
    options: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of the request, as the reference names them: `size`, `quality`, ..."""
    pictures: tuple[PictureFile, ...] = ()
    """Empty: they are made of the text alone."""
    mask: PictureFile | None = None


@dataclass(frozen=True, slots=True)
class Picture:
    """One that was made: as base64, or where it can be fetched from."""

    base64: str | None = field(default=None, repr=False)
    url: str | None = field(default=None, repr=False)
    revised_prompt: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Pictures:
    """The answer to a task."""

    pictures: tuple[Picture, ...]
    created: int | None = None
    said: Mapping[str, Any] = field(default_factory=dict)
    """What the server says of them: `size`, `quality`, `background`, `output_format`, `usage`."""


PictureSteps = Generator["Pictures | None", None, None]
"""None as in `protocol.Pieces`, then the pictures; closing it ends the work."""


@runtime_checkable
class PictureMaker(Protocol):
    """Capability `images`."""

    def make_pictures(self, task: PictureTask) -> PictureSteps:
        """Raises InvalidRequest for options that it does not have, EngineFailed."""
