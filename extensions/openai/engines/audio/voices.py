"""Names of voices, and sentences: what the engines that speak share."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ...errors import InvalidRequest

OPENAI_VOICES = (
    *("alloy", "ash", "ballad", "coral", "echo", "fable", "onyx", "nova", "sage", "shimmer"),
    *("verse", "marin", "cedar"),
)
MAX_LISTED = 30
SENTENCE_END = re.compile(r"(?<=[.!?…。！？])[\"'”’)\]]*\s+|\s*\n+\s*")


def chosen(name: str, voices: Sequence[str]) -> str:
    """The voice with this name. OpenAI's names, which many clients have fixed, stand for the voices in turn.

    Raises InvalidRequest with those that there are."""
    if name in voices:
        return name
    if name in OPENAI_VOICES:
        return voices[OPENAI_VOICES.index(name) % len(voices)]
    listed = ", ".join(voices[:MAX_LISTED]) + (", ..." if len(voices) > MAX_LISTED else "")
    raise InvalidRequest(
        f"Invalid 'voice': there is no such voice here. There are {listed}.",
        param="voice",
        code="invalid_value",
    )


def sentences(text: str) -> list[str]:
    """The parts of a text that are spoken one by one; none for a text of blanks."""
    return [part for each in SENTENCE_END.split(text) if (part := each.strip())]
