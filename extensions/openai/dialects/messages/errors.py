"""Errors as Anthropic's clients read them.

Source: Anthropic API reference, "Errors".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from typing_extensions import TypedDict

from ...errors import APIError, ContextLengthExceeded, QueueFull, QueueTimeout, RequestMemoryFull

ErrorType = Literal[
    "invalid_request_error",
    "authentication_error",
    "permission_error",
    "not_found_error",
    "timeout_error",
    "request_too_large",
    "rate_limit_error",
    "api_error",
    "overloaded_error",
]
OVERLOADED = 529
TYPES: Mapping[int, ErrorType] = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    OVERLOADED: "overloaded_error",
}
"""By status; below 500 all others are the request's fault, and from there on the server's."""


class AnthropicErrorBody(TypedDict):
    """What is inside of `error`."""

    type: ErrorType
    message: str


class AnthropicError(TypedDict):
    """The JSON body of every answer that is not a success, and the last event of a failed stream."""

    type: Literal["error"]
    error: AnthropicErrorBody
    request_id: str


def status_of(error: APIError) -> int:
    """The status that the error has there: a full queue is 529."""
    if isinstance(error, (QueueFull, QueueTimeout, RequestMemoryFull)):
        return OVERLOADED
    return error.status


def envelope_of(error: APIError, request_id: str) -> AnthropicError:
    """The error in Anthropic's shape; the field that is wrong is named in the message."""
    status = status_of(error)
    kind = TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")
    return {
        "type": "error",
        "error": {"type": kind, "message": _message(error)},
        "request_id": request_id,
    }


def _message(error: APIError) -> str:
    """Agents look for these words before they shorten a conversation."""
    if isinstance(error, ContextLengthExceeded):
        most = error.context_length - 1  # a token of the answer has to fit, too
        return f"prompt is too long: {error.prompt_tokens} tokens > {most} maximum"
    return error.message
