"""An example: rewrites what the user writes and what the model answers, word by word.

It runs in text-generation-webui and in our own host, there and here on the UI and through the API. The
words come from the settings file: `example_rewrite-input: {FR: France}`.
"""

import re
from collections.abc import Mapping
from typing import Any

params: dict[str, Any] = {
    "display_name": "Rewrite",
    "is_tab": False,
    "input": {"FR": "France"},
    "output": {"Paris": "**Paris**"},
}


def input_modifier(string: str, state: Any = None, is_chat: bool = False) -> str:
    """The user's words, before they go into the prompt."""
    return rewrite(string, params["input"])


def output_modifier(string: str, state: Any = None, is_chat: bool = False) -> str:
    """The model's words, before anybody reads them; always the whole text so far."""
    return rewrite(string, params["output"])


def rewrite(text: str, words: Mapping[str, str]) -> str:
    """The text with whole words replaced."""
    if not words:
        return text
    pattern = "|".join(map(re.escape, words))
    return re.sub(rf"(?<!\w)({pattern})(?!\w)", lambda found: words[found[0]], text)
