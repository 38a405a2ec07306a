"""Fill in the middle: Mistral's shape over the same generation as `suffix` of completions."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from extensions.openai.engines.protocol import Capability
from tests.support.api import Api
from tests.support.reference import assert_envelope, sse_chunks

URL = "/v1/fim/completions"
BODY: dict[str, Any] = {"prompt": "Once upon a", "suffix": "The end.", "max_tokens": 12}


def ask(api: Api, status: int = 200, **body: Any) -> Any:
    answer = api.client.post(URL, json={"model": api.engine.info.model, **body})
    assert answer.status_code == status, answer.get_data(as_text=True)
    return sse_chunks(answer.data) if body.get("stream") else answer.json


@pytest.mark.parametrize("more", [{}, {"suffix": None}, {"stop": " "}, {"max_tokens": 0}], ids=str)
def test_it_is_the_completion_with_a_suffix(tiny: Api, more: dict[str, Any]) -> None:
    assert Capability.INFILL in tiny.engine.info.capabilities
    same: dict[str, Any] = {**BODY, "temperature": 0, **more}
    wanted = tiny.complete(same.pop("prompt"), **same)
    whole = ask(tiny, **BODY | {"temperature": 0, **more})
    (choice,) = whole["choices"]
    assert (whole["object"], choice["index"]) == ("chat.completion", 0)
    assert choice["message"] == {"role": "assistant", "content": wanted["choices"][0]["text"]}
    assert choice["finish_reason"] == wanted["choices"][0]["finish_reason"]
    counts = ("prompt_tokens", "completion_tokens", "total_tokens")
    assert [whole["usage"][name] for name in counts] == [wanted["usage"][name] for name in counts]


def test_a_stream_adds_up_to_the_whole(tiny: Api) -> None:
    whole = ask(tiny, **BODY, temperature=0)
    chunks = ask(tiny, **BODY, temperature=0, stream=True)
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    text = "".join(delta["content"] for delta in deltas)
    assert text == whole["choices"][0]["message"]["content"]
    assert deltas[0]["role"] == "assistant" and all("role" not in each for each in deltas[1:])
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks[:-1]] == [None] * len(
        chunks[:-1]
    )
    assert chunks[-1]["usage"]["completion_tokens"] == whole["usage"]["completion_tokens"]


def test_random_seed_is_seed(tiny: Api) -> None:
    texts = [
        ask(tiny, **BODY, temperature=1, **seed)["choices"][0]["message"]["content"]
        for seed in ({"random_seed": 5}, {"seed": 5}, {"random_seed": 6})
    ]
    assert texts[0] == texts[1] != texts[2]
    error = ask(tiny, 400, **BODY, random_seed=1, seed=2)["error"]
    assert error["param"] == "random_seed"


def test_a_model_that_was_not_made_for_it_says_so(client: FlaskClient) -> None:
    error = assert_envelope(client.post(URL, json={"model": "echo", **BODY}).json, status=400)
    assert (error["param"], error["code"]) == ("suffix", "unsupported_parameter")
    missing = client.post(URL, json={"model": "echo"}).json["error"]
    assert missing["param"] == "prompt"
