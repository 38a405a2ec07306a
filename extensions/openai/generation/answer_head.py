"""What all chunks of one answer have in common."""

from __future__ import annotations

import secrets
import time

from typing_extensions import TypedDict

from ..engines.protocol import EngineInfo


class AnswerHead(TypedDict):
    """Who answers: the same in every chunk of an answer, and in the folded object."""

    id: str
    created: int
    model: str
    system_fingerprint: str


def answer_head(prefix: str, info: EngineInfo) -> AnswerHead:
    """A new answer, its id `prefix` and 128 random bits, its time now."""
    return {
        "id": prefix + secrets.token_hex(16),
        "created": int(time.time()),
        "model": info.model,
        "system_fingerprint": info.fingerprint,
    }


def head_of(chunk: AnswerHead) -> AnswerHead:
    """The head that a chunk carries."""
    return {
        "id": chunk["id"],
        "created": chunk["created"],
        "model": chunk["model"],
        "system_fingerprint": chunk["system_fingerprint"],
    }
