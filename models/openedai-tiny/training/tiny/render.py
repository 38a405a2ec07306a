"""Turn examples into text with the committed chat template (Jinja, no torch)."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Template
from jinja2.sandbox import ImmutableSandboxedEnvironment

MODEL_DIR = Path(__file__).resolve().parents[2]


def _tojson(value: Any) -> str:
    """JSON as the chat libraries write it: real letters, keys in their own order."""
    return json.dumps(value, ensure_ascii=False)


@cache
def template() -> Template:
    """The committed chat template, with the settings that chat libraries use."""
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.filters["tojson"] = _tojson
    text = (MODEL_DIR / "chat_template.jinja").read_text(encoding="utf-8")
    return environment.from_string(text)


def render(
    messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None = None, add_generation_prompt: bool = False
) -> str:
    """The text that the model sees for these messages."""
    return template().render(messages=messages, tools=tools or None, add_generation_prompt=add_generation_prompt)


def pieces(messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None = None) -> list[tuple[str, bool]]:
    """The rendered text cut into (part, is it the assistant's own?) in order.

    The assistant's part runs from just after its header to its end mark, both
    what it says and the mark: that is what the model must learn to write.
    """
    header, end = "<|im_start|>assistant\n", "<|im_end|>"
    text = render(messages, tools)
    parts: list[tuple[str, bool]] = []
    rest = text
    while header in rest:
        before, rest = rest.split(header, 1)
        answer, rest = rest.split(end, 1)
        parts.append((before + header, False))
        parts.append((answer + end, True))
    parts.append((rest, False))
    return [part for part in parts if part[0]]
