"""What a chat asks for besides its messages; how the engine is then asked, and its answer read."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from ...engines.protocol import Message
from ..tools.plan import ToolPlan
from .parts import PartReader
from .reasoning import ThinkingBudget
from .reasoning_budget import ThoughtForm


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a chat asks for besides its messages."""

    logprobs: int | None = None
    """As in GenerateRequest."""
    tools: ToolPlan = field(default_factory=ToolPlan)
    continued: Message | None = None
    """The assistant's message that the answer continues; it is not among the request's."""
    grammar_param: str = ""
    """The field that the request's grammar came from."""
    thinks: bool | None = None
    """Whether to think before the answer; None: as the template has it, but not before one that a grammar
    constrains."""
    budget: ThinkingBudget | None = None
    """How long it may think; None: as long as it likes."""
    bare_calls: bool = True
    """Whether a whole answer that is the JSON of a call is one, though the template has marks for calls."""


@dataclass(frozen=True, slots=True)
class AnswerShape:
    """How an answer is asked for, and how it is read."""

    prompt: str
    grammar: str | None
    param: str
    """The field that the grammar came from."""
    marks: tuple[str, ...]
    reader: PartReader
    ends: tuple[str, ...] = ()
    """Texts that end the answer, where the engine does not know."""
    thought: ThoughtForm | None = None
    """The form of a thought that has a budget, or a call of its own; None: there is none to be watched."""
    opened: bool = False
    """The prompt ends inside of the thought."""
    staged: bool = False
    """The grammar is for what comes behind a thought."""
    strict: re.Pattern[str] | None = None
    """Finds the calls whose arguments have to match the schemas of strict functions."""
    strict_end: str = ""
    """What closes such a call."""
