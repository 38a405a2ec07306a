"""What a request may need, at most but for the tokenizer's opinion."""

from __future__ import annotations

from typing import Any

import pytest

from extensions.openai.completions import CompletionRequest
from extensions.openai.generation.chat.request import ChatCompletionRequest
from extensions.openai.limits.token_estimate import expected_tokens
from extensions.openai.schemas.validation import RequestModel, check


@pytest.mark.parametrize(
    ("body", "tokens"),
    [
        ({}, 16),
        ({"prompt": "12345678"}, 2 + 16),
        ({"prompt": "123456789"}, 3 + 16),
        ({"prompt": "12345678", "max_tokens": 100}, 2 + 100),
        ({"prompt": "12345678", "max_tokens": 0}, 2),
        ({"prompt": "1234", "suffix": "5678", "max_tokens": 1}, 2 + 1),
        ({"prompt": [1, 2, 3], "max_tokens": 5}, 3 + 5),
        ({"prompt": ["1234", "5678"], "max_tokens": 5}, 2 + 10),
        ({"prompt": [[1, 2], [3]], "max_tokens": 5, "n": 3}, 3 + 30),
        ({"prompt": "1234", "max_tokens": 5, "n": 1, "best_of": 4}, 1 + 20),
    ],
)
def test_completions(body: dict[str, Any], tokens: int) -> None:
    assert expected_tokens(check(CompletionRequest, body)) == tokens


@pytest.mark.parametrize(
    ("more", "tokens"),
    [
        ({}, 16),
        ({"max_tokens": 7}, 7),
        ({"max_tokens": 7, "max_completion_tokens": 9}, 9),
        ({"max_tokens": 7, "n": 3}, 21),
    ],
)
def test_chat(more: dict[str, Any], tokens: int) -> None:
    output = [{"role": "user", "content": "x" * 400}]
    parts = [{"role": "user", "content": [{"type": "text", "text": "x" * 400}]}]
    for messages in (output, parts):
        found = expected_tokens(check(ChatCompletionRequest, {"messages": messages, **more}))
        assert tokens + 100 <= found <= tokens + 105  # roles and types are a few characters


def test_pictures_are_no_text() -> None:
    def size(url: str) -> int:
        parts = [{"type": "image_url", "image_url": {"url": url}}]
        body = {"messages": [{"role": "user", "content": parts}], "max_tokens": 1}
        return expected_tokens(check(ChatCompletionRequest, body))

    assert size("data:image/png;base64," + "A" * 9000) < 12
    assert size("A" * 9000) < 12


def test_bodies_without_text() -> None:
    assert expected_tokens(RequestModel()) == 0
