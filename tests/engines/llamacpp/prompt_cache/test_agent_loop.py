"""An agent whose first line changes with each request still has its prompts cached."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from extensions.openai.engines.llamacpp.engine import LlamaCppEngine
from tests.support.api import Api

SESSIONS, TURNS = 3, 20
ENOUGH = 0.9  # of all tokens of prompts


@pytest.fixture
def api(random_model: Path) -> Iterator[Api]:
    engine = LlamaCppEngine(random_model, name="x", threads=1, parallel=4)
    yield Api(engine)
    engine.close()


def test_prompts_are_cached_behind_a_first_line_that_changes(api: Api) -> None:
    drawn = random.Random(1)

    def words(length: int) -> str:
        return "".join(drawn.choices("abcdfgijklmnop ", k=length))

    instructions = words(400)
    computed = cached = 0
    for session in range(SESSIONS):
        messages: list[dict[str, Any]] = []
        for turn in range(TURNS):
            messages.append({"role": "user", "content": words(20)})
            first = f"x-anthropic-billing-header: cc_version=2.1.{session}; cch={turn:05x};"
            answer = api.client.post(
                "/v1/messages",
                json={
                    "model": "x",
                    "max_tokens": 1,
                    "system": [{"type": "text", "text": line} for line in (first, instructions)],
                    "messages": messages,
                },
            ).get_json()
            computed += answer["usage"]["input_tokens"]
            cached += answer["usage"]["cache_read_input_tokens"]
            messages.append({"role": "assistant", "content": words(10)})
    assert cached >= ENOUGH * (cached + computed)
