"""A conversation in webuis' format: rows of a user's text and its answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ...engines.protocol import Media, Message


@dataclass(slots=True)
class _Row:
    """A user's text and its answer, with the messages they come from."""

    user: str = ""
    assistant: str = ""
    messages: list[Message] = field(default_factory=list)

    def with_texts(self, user: str, assistant: str) -> list[Message]:
        """The messages with other texts; messages that are not texts of either (tools, system) stay."""
        if (user, assistant) == (self.user, self.assistant):
            return self.messages
        others = [
            message
            for message in self.messages
            if message.role not in ("user", "assistant") or message.tool_calls
        ]
        question = next((each for each in self.messages if each.role == "user"), None)
        first = [_with_text(question or Message("user", ""), user)] if user else []
        return [*first, *others, *([Message("assistant", assistant)] if assistant else [])]


def _with_text(message: Message, text: str | None) -> Message:
    """The message with another text, followed by its media."""
    if text == message.content:
        return message
    media = [part for part in message.parts if isinstance(part, Media)]
    parts: tuple[str | Media, ...] = (text or "", *media) if media else ()
    return replace(message, content=text, parts=parts)


class Conversation:
    """Converts messages to rows, and modified rows back to messages."""

    def __init__(self, messages: Sequence[Message], *, open_end: bool) -> None:
        rest = list(messages)
        self.last: str | None = None
        """The text of the last message; None if it is not the user's."""
        self._final: Message | None = None
        if open_end and rest and rest[-1].role == "user":
            self._final = rest.pop()
            self.last = self._final.content or ""
        self._head: list[Message] = []
        self._rows: list[_Row] = []
        for message in rest:
            if message.role == "user":
                self._rows.append(_Row(user=message.content or "", messages=[message]))
            elif not self._rows and message.role != "assistant":
                self._head.append(message)
            else:
                if not self._rows:
                    self._rows.append(_Row())
                self._rows[-1].messages.append(message)
                if message.role == "assistant" and not message.tool_calls:
                    texts = [self._rows[-1].assistant, message.content or ""]
                    self._rows[-1].assistant = "\n".join(text for text in texts if text)

    def history(self) -> dict[str, list[list[str]]]:
        """The rows in the format of hooks."""
        internal = [[row.user, row.assistant] for row in self._rows]
        return {"internal": internal, "visible": [list(row) for row in internal]}

    def messages(self, history: Mapping[str, Any], last: str | None) -> tuple[Message, ...]:
        """The messages of a history that hooks may have changed."""
        messages = list(self._head)
        rows = [(str(row[0]), str(row[1])) for row in history.get("internal", ())]
        for row, (user, assistant) in zip(_aligned(self._rows, rows), rows, strict=True):
            messages += row.with_texts(user, assistant)
        if self._final is not None:
            messages.append(_with_text(self._final, last))
        return tuple(messages)


def _aligned(old: Sequence[_Row], new: Sequence[tuple[str, str]]) -> list[_Row]:
    """The old row for each new one, empty if it was added. If there are as many rows as before, they
    correspond in order; else by their texts."""
    if len(old) == len(new):
        return list(old)
    found: list[_Row] = []
    at = 0
    for texts in new:
        index = next(
            (i for i in range(at, len(old)) if (old[i].user, old[i].assistant) == texts), None
        )
        if index is None:
            found.append(_Row())
        else:
            found.append(old[index])
            at = index + 1
    return found
