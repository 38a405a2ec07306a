"""Errors as Ollama's clients read them: a text, in an answer and as the last line of a stream.

Source: ollama/ollama, docs/errors.md.
"""

from __future__ import annotations

from typing_extensions import TypedDict

from ...errors import APIError


class OllamaError(TypedDict):
    """The JSON body of every answer that is not a success, and the last line of a stream that failed."""

    error: str


def envelope_of(error: APIError, request_id: str) -> OllamaError:
    """The error in Ollama's shape; the field that is wrong is named in the text."""
    return {"error": error.message}
