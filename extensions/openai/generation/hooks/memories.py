"""What extensions want an agent to remember of a user: their hook `memories_of(text, messages)`, which only
this server calls.

It gets the whole text of an answer and the messages that were sent, as chats have them, and returns facts.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ...engines.protocol import Message
from ...errors import ExtensionFailed
from ..agents.memory import UserMemory
from ..chat.session_history import as_said
from ..events import Events
from .extension_hooks import Hooks, guarded

log = logging.getLogger("openedai")

HOOK = "memories_of"


def remembering(
    events: Events, messages: Sequence[Message], hooks: Hooks, memory: UserMemory
) -> Events:
    """The events of answers to `messages`. What extensions want remembered of an answer is saved before its
    end is passed on, so before the client's next request."""
    said = [as_said(message) for message in messages]
    texts: dict[int, list[str]] = {}
    try:
        for event in events:
            if event is not None:
                text = texts.setdefault(event.index, [])
                text.append(event.text)
                if event.finish is not None:
                    _remember("".join(text), said, hooks, memory)
            yield event
    finally:
        events.close()


def _remember(
    text: str, messages: Sequence[Mapping[str, Any]], hooks: Hooks, memory: UserMemory
) -> None:
    """A fact that cannot be saved is left out and logged without its words: the answer is not to be lost for
    it."""
    for name, fact in _facts(text, messages, hooks):
        problem = memory.note(fact) if isinstance(fact, str) else "it is no text"
        if problem is not None:
            log.warning("a fact of the extension %s is not remembered: %s", name, problem)


def _facts(
    text: str, messages: Sequence[Mapping[str, Any]], hooks: Hooks
) -> Iterator[tuple[str, object]]:
    """What each extension gives, with its name."""
    for name, module in hooks.having(HOOK):
        try:
            given = guarded(name, HOOK, getattr(module, HOOK))(text, messages)
        except ExtensionFailed:  # it is in the log
            continue
        if not isinstance(given, list | tuple):
            log.error("the extension %s gave no list in its %s", name, HOOK)
            continue
        for fact in given:
            yield name, fact
