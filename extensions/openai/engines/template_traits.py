"""What probing a chat template finds out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

CallId = Literal["any", "9 letters and digits", "functions.name:0"]


@dataclass(frozen=True, slots=True)
class ThinkingTraits:
    """How a model's chat template marks reasoning, found by rendering small conversations."""

    opening: str = "<think>"
    """What reasoning begins with."""
    closing: str = "</think>"
    """What ends it."""
    end: str = "\n</think>\n\n"
    """The template's text between reasoning and answer, including `closing`."""
    opens: bool = False
    """The prompt ends inside the reasoning."""
    switch: str | None = None
    """The template variable that turns thinking on and off; None: there is none."""
    effort: bool = False
    """`reasoning_effort` changes the prompt."""


@dataclass(frozen=True, slots=True)
class TemplateTraits:
    """What a template accepts, found by rendering small conversations on first use."""

    system: Literal["none", "first", "anywhere"] = "none"
    system_twice: bool = False
    """Two system messages in a row, at the beginning."""
    developer: bool = False
    """The role `developer`; without it such messages become `system`."""
    user_twice: bool = False
    assistant_first: bool = False
    assistant_twice: bool = False
    assistant_last: bool = False
    user_after_result: bool = False
    """A user message right after a tool result."""
    result_without_call: bool = False
    tools: bool = False
    """Whether it renders tools."""
    calls: bool = False
    """Whether it renders earlier calls."""
    results: bool = False
    """Whether it renders the results of calls."""
    parallel_calls: bool = False
    """Two calls in one turn."""
    text_beside_calls: bool = False
    """Whether it renders text in an assistant turn with calls."""
    empty_arguments: bool = False
    text_as_arguments: bool = False
    """Arguments of an earlier call that are not a JSON object, as in a cut answer."""
    call_id: CallId = "any"
    """The required form of call ids; `functions.name:0` where the id replaces the name."""
    arguments: Literal["object", "text"] = "object"
    """How it takes the arguments of earlier calls: as an object, or as JSON text."""
    content: Literal["text", "parts"] = "text"
    thinking: ThinkingTraits | None = None
    """None: the template has no reasoning."""
    turn_ends: tuple[str, ...] = ()
    """The texts that end an answer, if they are visible."""
    call_sample: str | None = None
    """What the template writes for a turn that calls the first of `marks.SAMPLE_CALLS`, up to and including
    the end of the turn; None where it renders no calls."""
    two_calls_sample: str | None = None
    """The same for both calls in one turn."""
