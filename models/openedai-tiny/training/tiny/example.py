"""The one record that every behaviour makes, and short ways to build it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Message = dict[str, Any]


@dataclass
class Example:
    """A conversation or a plain text, with what a right last answer must hold.

    behaviour: short name, used in the evaluation table.
    messages: OpenAI chat messages; the last one is the assistant's wanted answer.
    tools: OpenAI tool descriptions, or empty.
    text: plain text without chat marks (then `messages` is empty).
    expect: strings of which at least one must stand in the answer (case ignored).
    exact: the whole answer must equal the wanted one (outer blanks ignored).
    forced: a grammar forces how the last answer begins, so its first token is not learnt.
    """

    behaviour: str
    messages: list[Message] = field(default_factory=list)
    tools: list[dict[str, Any]] = field(default_factory=list)
    text: str = ""
    expect: tuple[str, ...] = ()
    exact: bool = False
    forced: bool = False

    def as_record(self) -> dict[str, Any]:
        """The example as a JSON object without empty fields."""
        fields: dict[str, Any] = {"behaviour": self.behaviour}
        if self.messages:
            fields["messages"] = self.messages
        if self.tools:
            fields["tools"] = self.tools
        if self.text:
            fields["text"] = self.text
        if self.expect:
            fields["expect"] = list(self.expect)
        if self.exact:
            fields["exact"] = True
        if self.forced:
            fields["forced"] = True
        return fields


def user(content: str) -> Message:
    """A user message."""
    return {"role": "user", "content": content}


def assistant(content: str) -> Message:
    """An assistant message with text."""
    return {"role": "assistant", "content": content}


def pair(behaviour: str, ask: str, answer: str, expect: tuple[str, ...] = (), exact: bool = False) -> Example:
    """One question and its answer."""
    return Example(behaviour, [user(ask), assistant(answer)], expect=expect, exact=exact)
