"""Answers in Kobold's shapes.

Source: LostRuins/koboldcpp, its OpenAPI document.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Literal

import orjson
from typing_extensions import TypedDict

from ...engines.protocol import Finish
from ...generation.answer_head import answer_head
from ...generation.plan import Generation
from ...generation.usage import UsageCount


class KoboldToken(TypedDict):
    """The data of an event."""

    token: str
    finish_reason: Finish | None


class KoboldResult(TypedDict):
    """An answer."""

    text: str
    finish_reason: Finish | None
    logprobs: None
    prompt_tokens: int
    completion_tokens: int


class KoboldResults(TypedDict):
    """The answer, in a list with nothing else."""

    results: list[KoboldResult]


class SoFar(TypedDict):
    """The text of an answer under way."""

    text: str


class SoFarResults(TypedDict):
    """It, in a list; an empty text if there is no such answer."""

    results: list[SoFar]


class Aborted(TypedDict):
    """Whether an answer was ended."""

    success: Literal["true", "false"]
    done: Literal["true"]


class TokenCount(TypedDict):
    """How many tokens a text has, and which."""

    value: int
    ids: list[int]


class Value(TypedDict):
    """A figure."""

    value: int


class Result(TypedDict):
    """A name."""

    result: str


class KoboldVersion(TypedDict):
    """The KoboldCpp whose API this is, and what of it there is."""

    result: Literal["KoboldCpp"]
    version: str
    protected: bool
    """Whether it needs a key."""
    vision: bool
    embeddings: bool


class MessageEvents:
    """Events called `message`; the one with a `finish_reason` is the last."""

    content_type = "text/event-stream; charset=utf-8"
    comments = True
    end = b""
    silence: bytes | None = None

    @staticmethod
    def is_last(chunk: Any) -> bool:
        return chunk["finish_reason"] is not None

    @staticmethod
    def event(chunk: Any) -> bytes:
        return b"event: message\ndata: " + orjson.dumps(chunk) + b"\n\n"

    @staticmethod
    def error(body: Any) -> bytes:
        return b"event: error\ndata: " + orjson.dumps(body) + b"\n\n"


def tokens_of(
    generation: Generation, parts: list[str]
) -> Generator[KoboldToken | None, None, None]:
    """The parts of an answer, which are put into `parts` as well; None as among events."""
    events, count = generation.events, generation.usage
    count.record.answer = answer_head("kobold-", generation.info)["id"]
    try:
        for event in events:
            if event is None:
                yield None
                continue
            count.add(event)
            if event.text or event.finish:
                parts.append(event.text)
                yield {"token": event.text, "finish_reason": event.finish}
    finally:
        events.close()


class ResultsFold:
    """The whole that the parts of an answer add up to."""

    def __init__(self, usage: UsageCount, parts: list[str]) -> None:
        self._usage, self._parts = usage, parts
        self._finish: Finish | None = None

    def add(self, chunk: KoboldToken) -> None:
        self._finish = chunk["finish_reason"]

    @property
    def has_ended(self) -> bool:
        return self._finish is not None

    def whole(self) -> KoboldResults:
        usage = self._usage.total()
        result: KoboldResult = {
            "text": "".join(self._parts),
            "finish_reason": self._finish,
            "logprobs": None,
            "prompt_tokens": usage["prompt_tokens"],
            "completion_tokens": usage["completion_tokens"],
        }
        return {"results": [result]}
