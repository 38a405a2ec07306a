"""A real vLLM as the upstream: `make test-vllm URL=http://127.0.0.1:8000/v1`, with any small model in it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from flask.testing import FlaskClient

from extensions.openai.engines.upstreams_file import engines_of
from extensions.openai.settings import Settings
from extensions.openai.web.app import create_app
from tests.support.reference import sse_chunks

URL = os.environ.get("UPSTREAM_VLLM", "").rstrip("/")
pytestmark = pytest.mark.skipif(not URL, reason="UPSTREAM_VLLM names no server")
HELLO = [{"role": "user", "content": "Hello"}]
SCHEMA = {
    "type": "object",
    "properties": {"yes": {"type": "boolean"}},
    "required": ["yes"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def model() -> str:
    return str(httpx.get(f"{URL}/models", timeout=30).json()["data"][0]["id"])


@pytest.fixture(scope="module")
def client(model: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlaskClient]:
    file = tmp_path_factory.mktemp("upstreams") / "upstreams.yaml"
    file.write_text(json.dumps({"upstreams": {"gpu": {"address": URL, "models": [model]}}}))
    (served,) = engines_of(Settings(upstreams=str(file)))
    yield create_app(Settings(), served.engine).test_client()
    served.engine.close()


def answer(client: FlaskClient, path: str, **body: Any) -> Any:
    with client.post(f"/v1/{path}", json={"model": "any", **body}) as found:
        assert found.status_code == 200, found.get_data(as_text=True)
        return found.json


def chat(client: FlaskClient, **body: Any) -> Any:
    return answer(client, "chat/completions", messages=HELLO, **body)


def test_a_chat_is_vllms_own_streamed_or_not(client: FlaskClient, model: str) -> None:
    sent = {"messages": HELLO, "max_tokens": 8, "temperature": 0}
    own = httpx.post(f"{URL}/chat/completions", json={"model": model, **sent}, timeout=60).json()
    found = chat(client, max_tokens=8, temperature=0)
    text = own["choices"][0]["message"]["content"]
    assert found["choices"][0]["message"]["content"] == text
    assert found["choices"][0]["finish_reason"] == own["choices"][0]["finish_reason"]
    for name in ("prompt_tokens", "completion_tokens", "total_tokens"):
        assert found["usage"][name] == own["usage"][name]
    with client.post("/v1/chat/completions", json={"model": "any", **sent, "stream": True}) as got:
        chunks = sse_chunks(got.data)
    deltas = (each["choices"][0]["delta"].get("content") for each in chunks)
    assert "".join(filter(None, deltas)) == text


def test_what_is_demanded_is_enforced(client: FlaskClient) -> None:
    def text(**body: Any) -> str:
        return str(chat(client, **body)["choices"][0]["message"]["content"])

    assert re.fullmatch("[ab]{3}c", text(regex="[ab]{3}c", max_tokens=20))
    assert text(guided_choice=["red", "blue"], max_tokens=20) in ("red", "blue")
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}
    assert json.loads(text(response_format=form, max_tokens=60)).keys() == {"yes"}


def test_log_probabilities_and_several_choices(client: FlaskClient) -> None:
    entries = chat(client, max_tokens=2, logprobs=True, top_logprobs=2)["choices"][0]["logprobs"]
    assert [len(each["top_logprobs"]) for each in entries["content"]] == [2, 2]
    found = answer(client, "completions", prompt="Hello", max_tokens=4, n=2, temperature=0)
    first, second = found["choices"]
    assert first["text"] == second["text"] and found["usage"]["completion_tokens"] == 8


def test_other_dialects(client: FlaskClient) -> None:
    response = answer(client, "responses", input="Hello", max_output_tokens=16)
    assert response["object"] == "response" and response["output"]
    message = answer(client, "messages", messages=HELLO, max_tokens=8)
    assert message["type"] == "message" and message["usage"]["output_tokens"] == 8


def test_its_context_is_known(client: FlaskClient) -> None:
    (known, *_) = client.get("/v1/models").json["data"]
    own = httpx.get(f"{URL}/models", timeout=30).json()["data"][0]["max_model_len"]
    assert known["context_length"] == own
