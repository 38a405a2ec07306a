"""An example: lets an agent remember what a user says of themselves, without a call of the model's.

It acts on requests for agents with `memory: true` that name a user, under text-generation-webui and under our
own host. The settings file chooses what is looked for, patterns with the fact that each one makes:
`example_memories-patterns: {"my name is (\\w+)": The user's name is {}.}`
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

params: dict[str, Any] = {
    "display_name": "Memories",
    "is_tab": False,
    "patterns": {
        r"my name is (\w+)": "The user's name is {}.",
        r"I live in (\w+)": "The user lives in {}.",
    },
}


def memories_of(text: str, messages: Sequence[Mapping[str, Any]]) -> list[str]:
    """Facts from the last message that the user wrote; `text` is the answer to it."""
    said = next((each["content"] for each in reversed(messages) if each["role"] == "user"), None)
    return [
        fact.format(*found.groups())
        for pattern, fact in params["patterns"].items()
        for found in re.finditer(pattern, said or "", re.IGNORECASE)
    ]
