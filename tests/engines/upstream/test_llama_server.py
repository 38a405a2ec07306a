"""llama.cpp's own server as the upstream: chats, tools and structured output in all dialects are those of the
same model in this process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from extensions.openai.engines.llamacpp.engine import LlamaCppEngine
from extensions.openai.engines.upstreams_file import engines_of
from extensions.openai.settings import Settings
from extensions.openai.web.app import create_app
from tests.engines.upstream.test_openedai import REQUESTS, content_of
from tests.support.llama_server import LlamaServerProcess

Pair = tuple[FlaskClient, FlaskClient]


@pytest.fixture(scope="module")
def pair(embedded_model: Path | None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """This server over llama-server, and this server with the model in its process."""
    if embedded_model is None:
        pytest.skip("this tree has no embedded model")
    with LlamaServerProcess(embedded_model) as server:
        file = tmp_path_factory.mktemp("upstreams") / "upstreams.yaml"
        file.write_text(server.row, encoding="utf-8")
        (there,) = engines_of(Settings(upstreams=str(file)))
        here = LlamaCppEngine(embedded_model, name=there.name, threads=1)
        yield (
            create_app(Settings(), there.engine).test_client(),
            create_app(Settings(), here).test_client(),
        )
        here.close()
        there.engine.close()


SAME = [
    *("plain", "system", "samplers", "length", "tools", "required", "named", "result", "schema"),
    *("object", "bias", "functions", "continued", "no thought"),
]
OTHERS = ["completion", "response", "response with a tool", "message", "message with a tool"]
STREAMED = ["chat: plain", "chat: tools", "chat: schema", "response", "message with a tool"]
CASES = [(name, False) for name in [*(f"chat: {each}" for each in SAME), *OTHERS]]
CASES += [(name, True) for name in STREAMED]


@pytest.mark.parametrize(("name", "stream"), CASES)
def test_answers_are_those_of_the_model_in_process(pair: Pair, name: str, stream: bool) -> None:
    path, body = REQUESTS[name]
    found, expected = (
        client.post(
            path,
            data=json.dumps({"model": "x", **body, "stream": stream}),
            content_type="application/json",
        )
        for client in pair
    )
    assert (found.status_code, expected.status_code) == (200, 200)
    there, here = (content_of(each.get_data(as_text=True), stream) for each in (found, expected))
    assert there == here


def test_its_kind_is_known_and_what_it_lacks_is_refused_by_name(pair: Pair) -> None:
    there, _ = pair
    (model,) = [each for each in there.get("/v1/models").json["data"] if each["context_length"]][:1]
    assert model["context_length"] == 4096
    for name in ("chat: regex", "chat: choice", "chat: grammar"):
        path, body = REQUESTS[name]
        answer = there.post(path, json={"model": "x", **body})
        assert answer.status_code == 400 and answer.json["error"]["param"] in body


def test_schemas_of_completions_are_enforced_there(pair: Pair) -> None:
    path, body = REQUESTS["completion of a schema"]
    answer = pair[0].post(path, json={"model": "x", **body, "max_tokens": 200, "seed": 1})
    assert answer.status_code == 200
    text = answer.json["choices"][0]["text"]
    assert text.lstrip().startswith("{") and "Once" not in text
