"""The record of one project fact, and word groups that its questions share."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Fact:
    """One fact.

    ask: recipes (see grammar.py) for training prompts; unseen: prompts kept for
    the evaluation and never trained on; answers: what to reply, any of them;
    expect: strings of which at least one must stand in a right answer.
    """

    key: str
    ask: tuple[str, ...]
    unseen: tuple[str, ...]
    answers: tuple[str, ...]
    expect: tuple[str, ...]


APP = "(the (server|API|OpenedAI server|program|app)|OpenedAI|it|this(| server| API)|opened ai)"
HOW = (
    "(how (do|can|could|should|would) (I|you|we|one)|how to|what is the way to|tell me how to|"
    "explain how to|show me how to|I want to|I need to|what do I do to)"
)
WHAT = "(what is|what's|whats|tell me|give me|show me|which is|I need|do you know|remind me of|can you tell me)"
