"""Estimates the tokens of a request from its text, without a tokenizer."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from ..schemas.validation import RequestModel

CHARACTERS_PER_TOKEN = 4
"""Of a token, in English text. The exact count is known once the model has read the prompt."""
DEFAULT_ANSWER_TOKENS = 16
"""Counted for an answer if the request sets no limit."""

MAX_UNBROKEN_CHARACTERS = 4096
"""A longer string without a blank counts as a picture or a sound."""

PROMPT_FIELDS = ("messages", "prompt", "input", "suffix")
LIMIT_FIELDS = (
    "max_completion_tokens",
    "max_output_tokens",
    "max_tokens",
    "max_new_tokens",
    "n_predict",
    "max_length",
)


def expected_tokens(body: RequestModel) -> int:
    """The prompt's estimated tokens, plus the most that the answers may have."""
    prompts = getattr(body, "prompt", None)
    several = 1
    if isinstance(prompts, list) and prompts and not isinstance(prompts[0], int):
        several = len(prompts)
    choices = max(getattr(body, "n", None) or 1, getattr(body, "best_of", None) or 1)
    asked = sum(_size(getattr(body, name, None)) for name in PROMPT_FIELDS)
    return -(-asked // CHARACTERS_PER_TOKEN) + several * choices * _most(body)


def _most(body: RequestModel) -> int:
    """Tokens of one answer; none where the endpoint generates no text."""
    kind = type(body)
    # In some dialects it is a property, of what stands inside another field.
    fields = [name for name in LIMIT_FIELDS if name in kind.model_fields or hasattr(kind, name)]
    given = [most for name in fields if (most := getattr(body, name)) is not None]
    if not given:
        return DEFAULT_ANSWER_TOKENS if fields else 0
    return given[0] if given[0] >= 0 else DEFAULT_ANSWER_TOKENS


def _size(value: Any) -> int:
    """Characters of text in a JSON value or a model; a token id counts as several."""
    if isinstance(value, str):
        is_data = value.startswith("data:") or (
            len(value) > MAX_UNBROKEN_CHARACTERS and " " not in value
        )
        return 0 if is_data else len(value)
    if isinstance(value, int):
        return CHARACTERS_PER_TOKEN
    if isinstance(value, (list, tuple)):
        return sum(map(_size, value))
    if isinstance(value, dict):
        return sum(map(_size, value.values()))
    if isinstance(value, BaseModel):
        return sum(_size(each) for _, each in value)
    return 0
