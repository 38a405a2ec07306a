"""A conversation as webuis keep it: rows of what the user wrote and what was answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ...engines.protocol import Media, Message


@dataclass(slots=True)
class _Turn:
    """What the user wrote and what was answered, with the messages that it is made of."""

    user: str = ""
    assistant: str = ""
    messages: list[Message] = field(default_factory=list)

    def with_texts(self, user: str, assistant: str) -> list[Message]:
        """The messages with other texts; what is no text of either (tools, system) stays."""
        if (user, assistant) == (self.user, self.assistant):
            return self.messages
        made = [
            message
            for message in self.messages
            if message.role not in ("user", "assistant") or message.tool_calls
        ]
        asked = next((each for each in self.messages if each.role == "user"), None)
        first = [_reworded(asked or Message("user", ""), user)] if user else []
        return [*first, *made, *([Message("assistant", assistant)] if assistant else [])]


def _reworded(message: Message, text: str | None) -> Message:
    """The message with another text, its media behind it."""
    if text == message.content:
        return message
    media = [part for part in message.parts if isinstance(part, Media)]
    parts: tuple[str | Media, ...] = (text or "", *media) if media else ()
    return replace(message, content=text, parts=parts)


class Turns:
    """Make rows of a conversation, and messages of the rows."""

    def __init__(self, messages: Sequence[Message], *, open_end: bool) -> None:
        rest = list(messages)
        self.last: str | None = None
        """What the user says now; None where the last message is not the user's."""
        self._final: Message | None = None
        if open_end and rest and rest[-1].role == "user":
            self._final = rest.pop()
            self.last = self._final.content or ""
        self._head: list[Message] = []
        self._rows: list[_Turn] = []
        for message in rest:
            if message.role == "user":
                self._rows.append(_Turn(user=message.content or "", messages=[message]))
            elif not self._rows and message.role != "assistant":
                self._head.append(message)
            else:
                if not self._rows:
                    self._rows.append(_Turn())
                self._rows[-1].messages.append(message)
                if message.role == "assistant" and not message.tool_calls:
                    said = [self._rows[-1].assistant, message.content or ""]
                    self._rows[-1].assistant = "\n".join(text for text in said if text)

    def history(self) -> dict[str, list[list[str]]]:
        """As hooks know it."""
        internal = [[row.user, row.assistant] for row in self._rows]
        return {"internal": internal, "visible": [list(row) for row in internal]}

    def messages(self, history: Mapping[str, Any], last: str | None) -> tuple[Message, ...]:
        """The conversation with what hooks made of it."""
        made = list(self._head)
        rows = [(str(row[0]), str(row[1])) for row in history.get("internal", ())]
        old = [(row.user, row.assistant) for row in self._rows]
        for turn, (user, assistant) in zip(_aligned(self._rows, old, rows), rows, strict=True):
            made += turn.with_texts(user, assistant)
        if self._final is not None:
            made.append(_reworded(self._final, last))
        return tuple(made)


def _aligned(
    turns: Sequence[_Turn], old: Sequence[tuple[str, str]], new: Sequence[tuple[str, str]]
) -> list[_Turn]:
    """The turn that each new row was; a new one where it was none. Rows may be added and left out, and
    if as many are there as before, each is what it was."""
    if len(old) == len(new):
        return list(turns)
    found: list[_Turn] = []
    at = 0
    for row in new:
        place = next((i for i in range(at, len(old)) if old[i] == row), None)
        if place is None:
            found.append(_Turn())
        else:
            found.append(turns[place])
            at = place + 1
    return found
