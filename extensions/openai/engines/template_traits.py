"""What probing finds out about a chat template."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

CallId = Literal["any", "9 letters and digits", "functions.name:0"]


@dataclass(frozen=True, slots=True)
class ThinkingTraits:
    """How a model's chat template has it think, found out by rendering small conversations."""

    opening: str = "<think>"
    """What a thought begins with."""
    closing: str = "</think>"
    """What ends it."""
    end: str = "\n</think>\n\n"
    """The template's own text between a thought and the answer, `closing` among it."""
    opens: bool = False
    """The prompt ends inside of a thought."""
    switch: str | None = None
    """The template's variable that turns thinking on and off; None: there is none."""
    effort: bool = False
    """`reasoning_effort` changes the prompt."""


@dataclass(frozen=True, slots=True)
class TemplateTraits:
    """What a template takes, tried with small conversations when it is first asked for."""

    system: Literal["none", "first", "anywhere"] = "none"
    system_twice: bool = False
    """Two system messages in a row, at the beginning."""
    developer: bool = False
    """A message of the role `developer`; messages of that role are given as `system`."""
    user_twice: bool = False
    assistant_first: bool = False
    assistant_twice: bool = False
    assistant_last: bool = False
    user_after_result: bool = False
    """A user's message right behind the result of a tool."""
    result_without_call: bool = False
    tools: bool = False
    """Whether it shows tools."""
    calls: bool = False
    """Whether it shows earlier calls."""
    results: bool = False
    """Whether it shows the results of calls."""
    parallel_calls: bool = False
    """Two calls in one turn."""
    text_beside_calls: bool = False
    """Whether it shows what the assistant says in a turn in which it calls tools."""
    empty_arguments: bool = False
    text_as_arguments: bool = False
    """Arguments of an earlier call that are no JSON object, as they are when an answer was cut."""
    call_id: CallId = "any"
    """The form that ids of calls must have; `functions.name:0` is the place where they stand for the name."""
    arguments: Literal["object", "text"] = "object"
    """How it takes the arguments of earlier calls: as an object, or as JSON text."""
    content: Literal["text", "parts"] = "text"
    thinking: ThinkingTraits | None = None
    """None: it knows nothing of thoughts."""
    turn_ends: tuple[str, ...] = ()
    """The texts that end an answer, where they can be seen."""
    call_sample: str | None = None
    """What the template writes for a turn that calls the first of `marks.SAMPLE_CALLS`, with the end of the
    turn behind it; None where it shows no calls."""
    two_calls_sample: str | None = None
    """The same for both calls in one turn."""
