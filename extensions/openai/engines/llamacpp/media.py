"""Media as llama.cpp takes them."""

from __future__ import annotations

from base64 import b64encode

from ..protocol import Media


def encoded(media: Media) -> str:
    """The file as base64."""
    return b64encode(media.data).decode()
