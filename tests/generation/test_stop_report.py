"""What ended an answer, as vLLM and llama.cpp's server report it; only where a request asks."""

from __future__ import annotations

from typing import Any

import pytest

from extensions.openai.engines.echo import EchoEngine
from tests.support.api import Api

HELLO = [{"role": "user", "content": "one two three"}]
ASKED: dict[str, dict[str, Any]] = {
    "completions": {"prompt": "one two three"},
    "chat/completions": {"messages": HELLO},
}


@pytest.fixture(scope="module")
def api() -> Api:
    return Api(EchoEngine())


def whole(api: Api, path: str, **body: Any) -> dict[str, Any]:
    answer = api.client.post(f"/v1/{path}", json={"model": "x", **ASKED[path], **body})
    assert answer.status_code == 200, answer.get_data(as_text=True)
    choices: list[dict[str, Any]] = answer.json["choices"]
    return choices[0]


@pytest.mark.parametrize("path", ASKED)
@pytest.mark.parametrize(
    ("body", "report"),
    [
        ({"stop": ["zz", " th", "three"]}, (" th", " th")),
        ({}, (None, "")),
        ({"max_tokens": 3}, (None, "")),
    ],
)
def test_the_stop_string_or_nothing(
    api: Api, path: str, body: dict[str, Any], report: tuple[object, object]
) -> None:
    plain = whole(api, path, **body)
    assert not plain.keys() & {"stop_reason", "stopping_word"}
    asked = whole(api, path, return_stop_reason=True, **body)
    assert (asked["stop_reason"], asked["stopping_word"]) == report
    assert {name: asked[name] for name in plain} == plain
    chunks = api.chunks(path, return_stop_reason=True, **ASKED[path], **body)
    parts = [part for chunk in chunks for part in chunk["choices"]]
    assert (parts[-1]["stop_reason"], parts[-1]["stopping_word"]) == report
    assert not any("stop_reason" in part for part in parts[:-1])


def test_each_choice_has_its_own(api: Api) -> None:
    answer = api.complete(["a. b", "no end"], stop=["."], return_stop_reason=True)
    assert [choice["stop_reason"] for choice in answer["choices"]] == [".", None]


@pytest.mark.parametrize("path", ASKED)
def test_a_stop_token_is_reported_by_its_id(path: str, tiny: Api) -> None:
    """As vLLM: the id of one of `stop_token_ids`, and nothing where the request lists none."""
    end = min(tiny.engine.info.end_tokens)
    bias = {str(end): 100}
    body = {"logit_bias": bias, "temperature": 0, "max_tokens": 3, "return_stop_reason": True}
    listed = whole(tiny, path, stop_token_ids=[end], **body)
    assert (listed["finish_reason"], listed["stop_reason"]) == ("stop", end)
    assert listed["logprobs"] is None and listed["stopping_word"] == ""
    assert whole(tiny, path, **body)["stop_reason"] is None
