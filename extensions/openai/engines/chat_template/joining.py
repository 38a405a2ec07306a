"""Two messages of one role made one."""

from __future__ import annotations

from dataclasses import replace

from ..protocol import Media, Message

EMPTY_LINE = "\n\n"


def joined(first: Message, second: Message) -> Message:
    """Both messages as one of the first one's role, with an empty line between their texts."""
    both = with_text_behind(first, second, EMPTY_LINE)
    thoughts = [each for each in (first.reasoning, second.reasoning) if each]
    return replace(
        both,
        tool_calls=first.tool_calls + second.tool_calls,
        reasoning=EMPTY_LINE.join(thoughts) or None,
        name=first.name if first.name == second.name else None,
    )


def with_text_behind(message: Message, other: Message, between: str) -> Message:
    """A message with what another one says behind its own text."""
    if not (message.content or message.parts):
        return replace(message, content=other.content, parts=other.parts)
    if not (other.content or other.parts):
        return message
    content = f"{message.content or ''}{between}{other.content or ''}"
    if not (message.parts or other.parts):
        return replace(message, content=content)
    return replace(message, content=content, parts=(*_parts(message), between, *_parts(other)))


def _parts(message: Message) -> tuple[str | Media, ...]:
    return message.parts or (message.content or "",)
