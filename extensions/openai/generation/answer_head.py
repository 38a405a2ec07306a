"""The head of an answer: id, time, model, fingerprint."""

from __future__ import annotations

import secrets
import time

from typing_extensions import TypedDict

from ..engines.protocol import EngineInfo


class AnswerHead(TypedDict):
    """The same in every chunk of an answer and in the whole object."""

    id: str
    created: int
    model: str
    system_fingerprint: str


def answer_head(prefix: str, info: EngineInfo) -> AnswerHead:
    """Make the head of a new answer; its id is `prefix` and 128 random bits."""
    return {
        "id": prefix + secrets.token_hex(16),
        "created": int(time.time()),
        "model": info.model,
        "system_fingerprint": info.fingerprint,
    }


def head_of(chunk: AnswerHead) -> AnswerHead:
    """The head of a chunk."""
    return {
        "id": chunk["id"],
        "created": chunk["created"],
        "model": chunk["model"],
        "system_fingerprint": chunk["system_fingerprint"],
    }
