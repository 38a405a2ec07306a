"""What a session adds to the messages that a client sends.

A client that sends its new message only gets the whole session before it. One that sends messages of the
assistant's sends its own history: the session adds what precedes the first message of that, or nothing if it
was never said in the session.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...engines.protocol import Message as EngineMessage

INSTRUCTIONS = ("system", "developer")
Message = Mapping[str, Any]
"""As clients send it."""


def as_said(message: EngineMessage) -> dict[str, Any]:
    """A message of another dialect as chats have it, without what is no text."""
    said: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.reasoning:
        said["reasoning_content"] = message.reasoning
    if message.tool_calls:
        said["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in message.tool_calls
        ]
    if message.role == "tool":
        said["tool_call_id"] = message.tool_call_id
    return said


def instructions(sent: Sequence[Message]) -> int:
    """How many messages at the beginning belong to the request alone, and are not said in the session."""
    for at, message in enumerate(sent):
        if message["role"] not in INSTRUCTIONS:
            return at
    return len(sent)


def preceding(history: Sequence[Message], sent: Sequence[Message]) -> int:
    """How many messages of the history precede those that are sent, in which no instructions come first."""
    if all(message["role"] != "assistant" for message in sent):
        return len(history)
    said, mine = [*map(_meaning, history)], [*map(_meaning, sent)]
    # The same may have been said twice: the place from which most is the same, and of these the last.
    places = [(_common(said[at:], mine), at) for at in range(len(said))]
    length, at = max(places, default=(0, 0))
    return at if length else 0


def _common(these: Sequence[object], those: Sequence[object]) -> int:
    """How many are the same, from the first one on."""
    for at, (one, other) in enumerate(zip(these, those, strict=False)):
        if one != other:
            return at
    return min(len(these), len(those))


def _meaning(message: Message) -> object:
    """What clients give back unchanged of a message: many drop thoughts, and space at the ends."""
    content = message.get("content") or ""
    if not isinstance(content, str):
        content = "".join(part.get("text") or part.get("refusal") or "" for part in content)
    calls = [call.get("function") or call["custom"] for call in message.get("tool_calls") or ()]
    calls += [message["function_call"]] if message.get("function_call") else []
    return message["role"], content.strip(), tuple(call["name"] for call in calls)
