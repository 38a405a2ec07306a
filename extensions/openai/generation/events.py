"""Events of a running generation, the same for all dialects."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

from ..engines.protocol import Finish, PromptUsage, ServerCall, TokenLogprob, ToolCallDelta


@dataclass(slots=True)  # not frozen, as in `Piece`
class Event:
    """A piece of one choice, with stop strings already applied."""

    index: int
    text: str = ""
    reasoning: str = ""
    tokens: int = 0
    thought_tokens: int = 0
    prompt: PromptUsage | None = None
    finish: Finish | None = None
    logprobs: tuple[TokenLogprob, ...] = ()
    logprobs_at: int = 0
    """The character of the answer at which the first of `logprobs` begins."""
    tool_calls: tuple[ToolCallDelta, ...] = ()
    echo: bool = False
    stop_string: str | None = None
    """The stop string that ended it, on its last event."""
    loop: bool = False
    """It was ended because it repeated itself."""
    server_calls: tuple[ServerCall, ...] = ()


Events = Generator["Event | None", None, None]
"""The events of a request, each choice ending with one that has `finish`; None as in `Pieces`."""
