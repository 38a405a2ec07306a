"""The files that are written by hand, in the model's folder, and texts rendered with the chat template (no torch)."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from jinja2 import Template
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer

MODEL_DIR = Path(__file__).resolve().parents[2]


def config() -> SimpleNamespace:
    """config.json: the sizes of the network and the ids of special tokens.

    All widths are multiples of 32, because Q8_0 (the number format of the GGUF file) has blocks of 32.
    """
    return SimpleNamespace(**json.loads((MODEL_DIR / "config.json").read_text(encoding="utf-8")))


def tokenizer() -> Tokenizer:
    return Tokenizer.from_file(str(MODEL_DIR / "tokenizer.json"))


@cache
def template() -> Template:
    """The chat template, with the settings that chat libraries use: real letters, keys in their own order."""
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    return environment.from_string((MODEL_DIR / "chat_template.jinja").read_text(encoding="utf-8"))


def render(messages: list[dict[str, Any]], tools: Any = None, add_generation_prompt: bool = False) -> str:
    """The text that the model sees for these messages."""
    return template().render(messages=messages, tools=tools or None, add_generation_prompt=add_generation_prompt)


def pieces(messages: list[dict[str, Any]], tools: Any = None) -> list[tuple[str, bool]]:
    """The rendered text cut into (part, is it the assistant's own?) in order.

    The assistant's part runs from just after its header to its end mark, both what it says and the mark: that is what
    the model must learn to write.
    """
    header, end = "<|im_start|>assistant\n", "<|im_end|>"
    parts: list[tuple[str, bool]] = []
    rest = render(messages, tools)
    while header in rest:
        before, rest = rest.split(header, 1)
        answer, rest = rest.split(end, 1)
        parts += [(before + header, False), (answer + end, True)]
    return [part for part in [*parts, (rest, False)] if part[0]]
