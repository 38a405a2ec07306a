"""What ended an answer, where a request asks: vLLM's `stop_reason` and llama.cpp's `stopping_word`."""

from __future__ import annotations

from collections.abc import Set

from typing_extensions import TypedDict

from ..engines.protocol import Capability, EngineInfo
from .events import Event


class StopReport(TypedDict, total=False):
    """What ended a choice; on its last chunk, where the request asks for it or the answer repeated itself."""

    stop_reason: str | int | None
    """The stop string, one of the request's `stop_token_ids`, or `repetition`; null: the model's own end, a
    limit, or calls."""
    stopping_word: str
    """The stop string; empty without one."""


LOOP: StopReport = {"stop_reason": "repetition", "stopping_word": ""}
"""Also where the request asks for no report."""


class StopReporter:
    """Reports what ended each choice of one answer."""

    def __init__(self, stop_tokens: Set[int]) -> None:
        """`stop_tokens`: those of the request."""
        self._stop_tokens = stop_tokens
        self._last: dict[int, int | None] = {}
        """The last token of each choice, where the engine reports tokens."""

    def add(self, event: Event) -> StopReport:
        """Take the next event of a choice; return its report with the last one, else an empty one."""
        if event.logprobs:
            self._last[event.index] = event.logprobs[-1].id
        if event.finish is None:
            return {}
        if event.loop:
            return LOOP
        reason: str | int | None = event.stop_string
        if reason is None and event.finish == "stop":
            last = self._last.get(event.index)
            reason = last if last in self._stop_tokens else None
        return {"stop_reason": reason, "stopping_word": event.stop_string or ""}


def end_token_logprobs(info: EngineInfo) -> int | None:
    """The alternatives to ask the engine for when only the token that ends the answer has to be known."""
    return 0 if Capability.LOGPROBS in info.capabilities and not info.is_remote else None
