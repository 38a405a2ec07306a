"""Answers that would not fit into memory are refused before they are begun."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from extensions.openai.engines.protocol import Capability
from extensions.openai.errors import InvalidRequest
from extensions.openai.generation.answer_size import MAX_ANSWER_TOKENS, AnswerSize, Names
from extensions.openai.settings import Settings
from extensions.openai.web.app import create_app
from tests.support.paced import PacedEngine
from tests.support.reference import assert_envelope

NAMES = Names("n", "max_tokens", "top_logprobs")
HI = [{"role": "user", "content": "Hi"}]


def reported(engine: PacedEngine) -> PacedEngine:
    """The engine, which says that it can tell log-probabilities."""
    engine.info = replace(
        engine.info, capabilities=(Capability.COMPLETION, Capability.CHAT, Capability.LOGPROBS)
    )
    return engine


@pytest.mark.parametrize(
    ("size", "limit"),
    [
        (AnswerSize(1, 100, None, 8192), 100),
        (AnswerSize(1, None, None, 8192), None),
        (AnswerSize(128, None, None, 8192), None),
        (AnswerSize(1, 9523, 20, 32_768), 9523),
        (AnswerSize(1, None, 20, 32_768), 9523),  # 200,000 / 21
        (AnswerSize(1, None, 20, 8192), None),
        (AnswerSize(4, None, 20, 8192), 2380),
        # As upper bounds clients send what no context holds.
        (AnswerSize(1, 1_000_000, 20, 8192), 1_000_000),
        (AnswerSize(2, 10, 1, 8192, echoed=49_990), 10),
        (AnswerSize(2048, 900, None, 8192), 900),
    ],
)
def test_what_fits(size: AnswerSize, limit: int | None) -> None:
    assert size.bounded(NAMES, 200_000) == limit


@pytest.mark.parametrize(
    ("size", "param", "numbers"),
    [
        (AnswerSize(32, 1000, 20, 8192), "top_logprobs", ("672000", "200000")),
        (AnswerSize(1, 9524, 20, 32_768), "top_logprobs", ("200004", "200000")),
        (AnswerSize(2, 11, 1, 8192, echoed=49_990), "top_logprobs", ("200004", "200000")),
        (AnswerSize(2048, 1000, None, 8192), "n", ("2048000", str(MAX_ANSWER_TOKENS))),
        (AnswerSize(128, None, 1, 8192, echoed=8000), "top_logprobs", ("2048000", "200000")),
    ],
)
def test_what_does_not_fit_is_named_with_both_numbers(
    size: AnswerSize, param: str, numbers: tuple[str, str]
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        size.bounded(NAMES, 200_000)
    assert caught.value.param == param and caught.value.code == "answer_too_large"
    for number in numbers:
        assert number in caught.value.message


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("path", "fields", "param"),
    [
        (
            "chat/completions",
            {"messages": HI, "n": 32, "max_tokens": 100, "logprobs": True, "top_logprobs": 20},
            "top_logprobs",
        ),
        (
            "chat/completions",
            {"messages": HI, "n": 32, "max_tokens": 100, "n_probs": 20},
            "n_probs",
        ),
        ("completions", {"prompt": "a", "n": 64, "max_tokens": 100, "logprobs": 5}, "logprobs"),
        ("completions", {"prompt": ["a"] * 200, "max_tokens": 100, "logprobs": 5}, "logprobs"),
        (
            "completions",
            {"prompt": ["abcde"] * 2000, "max_tokens": 0, "echo": True, "logprobs": 5},
            "logprobs",
        ),
    ],
)
def test_both_pages_refuse_it(path: str, fields: dict[str, Any], param: str, stream: bool) -> None:
    engine = reported(PacedEngine())
    client = create_app(Settings(max_logprobs=20_000), engine).test_client()
    answer = client.post(f"/v1/{path}", json={"model": "paced", **fields, "stream": stream})
    error = assert_envelope(answer.get_json())
    assert answer.status_code == 400
    assert (error["param"], error["code"]) == (param, "answer_too_large")
    assert "20000" in error["message"]


def test_an_answer_without_a_limit_ends_where_it_becomes_too_large() -> None:
    engine = reported(PacedEngine(["a"], endless=True))
    client = create_app(Settings(max_logprobs=200), engine).test_client()
    body = {"model": "paced", "messages": HI, "logprobs": True, "top_logprobs": 19}
    choice = client.post("/v1/chat/completions", json=body).get_json()["choices"][0]
    assert choice["finish_reason"] == "length" and len(choice["message"]["content"]) == 10
