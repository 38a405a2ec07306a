"""Errors as Kobold's clients read them.

Source: LostRuins/koboldcpp, its OpenAPI document.
"""

from __future__ import annotations

from typing_extensions import TypedDict

from ...errors import APIError


class KoboldProblem(TypedDict):
    """What is wrong."""

    msg: str
    type: str


class KoboldError(TypedDict):
    """The JSON body of every answer that is not a success, and the last event of a failed stream."""

    detail: KoboldProblem


def envelope_of(error: APIError, request_id: str) -> KoboldError:
    """The error in Kobold's shape; the field that is wrong is named in the text."""
    return {"detail": {"msg": error.message, "type": error.code or error.type}}
