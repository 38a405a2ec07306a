"""Errors as clients of Responses read them: those of OpenAI's, about the fields that they have sent."""

from __future__ import annotations

from ...errors import APIError, ErrorEnvelope

PREVIOUS, CONVERSATION = "previous_response_id", "conversation"


def envelope_of(error: APIError, request_id: str) -> ErrorEnvelope:
    """The error in the envelope."""
    envelope = error.envelope()
    envelope["error"]["param"] = param_of(error)
    return envelope


def param_of(error: APIError) -> str | None:
    """The field that an error is about: what an engine calls messages are the items of the input."""
    if error.param is None:
        return None
    for stored in (PREVIOUS, CONVERSATION):
        if error.param.startswith(stored):
            return stored  # which part of that, its client does not know
    return "input" if error.param.partition("[")[0] == "messages" else error.param
