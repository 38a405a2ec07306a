"""A thought that only its client keeps, in OpenAI's official client: the model sees it again."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from tests.families.choosing import families_that
from tests.families.conftest import Speak
from tests.families.served import Served
from tests.support.families import Family

ANSWER, THOUGHT = "It is 7 degrees.", "Let me see."
TOOLS: list[Any] = [{"type": "function", "name": "get_time", "parameters": {"type": "object"}}]
CALL = {"type": "function_call", "call_id": "c1", "name": "get_time", "arguments": "{}"}
RESULT = {"type": "function_call_output", "call_id": "c1", "output": "7"}
QUESTION = {"role": "user", "content": "Weather? say:thought"}


@pytest.fixture
def server(family: Family, speak: Speak) -> Served:
    return speak(family, {"thought": family.says(ANSWER, thought=THOUGHT)})


@families_that(lambda family: family.name == "qwen35")
def test_the_model_sees_it_again(server: Served) -> None:
    """The template shows the thought of a turn that a result follows."""
    with openai.OpenAI(
        api_key="unused",
        base_url=f"{server.process.url}/v1",
        max_retries=0,
        _strict_response_validation=True,
    ) as client:

        def prompt(*items: dict[str, Any]) -> int:
            given: Any = [QUESTION, *items, CALL, RESULT]
            counted = client.responses.input_tokens.count(model="any", tools=TOOLS, input=given)
            return counted.input_tokens

        wanted: Any = {"model": "any", "input": [QUESTION], "store": False}
        response = client.responses.create(**wanted, include=["reasoning.encrypted_content"])
        plain = response.output[0].model_dump(exclude={"encrypted_content", "status"})
        sealed = response.output[0].model_dump(exclude={"content", "status"})
        assert plain["content"][0]["text"].strip("\n") == THOUGHT
        assert THOUGHT not in sealed["encrypted_content"]
        assert prompt(sealed) == prompt(plain) > prompt()
        assert prompt(plain | sealed) == prompt(plain), "the thought is not shown twice"
