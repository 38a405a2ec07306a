"""Lines of output and error files.

    {"id": "batch_req_...", "custom_id": "a", "response": {"status_code": 200, "request_id": ..., "body": {}},
     "error": null}

Source: the reference, "The request output object".
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

import orjson

from ...state.stored_batch import Tokens

if TYPE_CHECKING:
    from ...state.stored_batch import Batch
    from .line_requests import LineAnswer

UNANSWERED = {
    "expired": (
        "batch_expired",
        "This request could not be executed before the completion window expired.",
    ),
    "erased": ("erased", "This line was erased with its user."),
    "cancelled": (
        "batch_cancelled",
        "This request was not executed, because the batch was cancelled.",
    ),
}
"""Codes and messages for lines of batches that ended without them."""


def answered(custom_id: str, answer: LineAnswer) -> bytes:
    """The line for a request that was answered, with an error perhaps."""
    response = {
        "status_code": answer.status,
        "request_id": answer.request_id,
        "body": orjson.Fragment(answer.body.strip()),
    }
    return _line(custom_id, response, None)


def unanswered(custom_id: str | None, ending: str) -> bytes:
    """The line for a request that nobody will answer."""
    code, message = UNANSWERED[ending]
    return _line(custom_id, None, {"code": code, "message": message})


def input_gone(batch: Batch) -> dict[str, Any]:
    """An entry of a batch's `errors`."""
    message = f"Cannot find file '{batch.input_file}': it was deleted, or has expired."
    return {"code": "invalid_request", "message": message, "param": "input_file_id", "line": None}


def tokens_of(answer: LineAnswer) -> Tokens:
    """What a line has used."""
    record = answer.record
    used = (record.prompt_tokens, record.cached_tokens, record.completion_tokens)
    return Tokens(*used, _reasoning(answer))


def _reasoning(answer: LineAnswer) -> int:
    """Only the answer itself says it."""
    body = orjson.loads(answer.body)
    usage = body.get("usage") or {}
    for name in ("completion_tokens_details", "output_tokens_details"):
        details = usage.get(name)
        if isinstance(details, dict):
            return int(details.get("reasoning_tokens") or 0)
    return 0


def _line(custom_id: str | None, response: Any, error: Any) -> bytes:
    line = {
        "id": "batch_req_" + secrets.token_hex(16),
        "custom_id": custom_id,
        "response": response,
        "error": error,
    }
    return orjson.dumps(line)
