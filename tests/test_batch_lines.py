"""Lines of batches of every kind: vectors of a real encoder, Responses, Messages, agents, sessions."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from flask.testing import FlaskClient

from extensions.openai.engines.llamacpp.embeddings import LlamaCppEmbedder
from extensions.openai.generation.hooks.extension_hooks import Hooks
from extensions.openai.settings import Settings
from tests.support.batches import line_of, lines_in, result_of
from tests.support.keys import headers_of
from tests.support.random_bert import NumpyBert, tokens_of, write_bert
from tests.test_embeddings import CONTEXT, TEXTS, WIDTH, vectors
from tests.test_stored_completions import client_of

CHATS, RESPONSES, MESSAGES = "/v1/chat/completions", "/v1/responses", "/v1/messages"


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bert(tmp_path_factory.mktemp("bert") / "bert.gguf", width=WIDTH, context=CONTEXT)


@pytest.fixture(scope="module")
def embedding(bert: Path) -> Iterator[FlaskClient]:
    client, engine = client_of(), LlamaCppEmbedder(bert, name="bert", threads=1, shortening="any")
    client.application.extensions["openai"].models.add("bert", engine)
    yield client
    engine.close()


def answers(client: FlaskClient, bodies: dict[str, Any], url: str, **more: Any) -> dict[str, Any]:
    """What becomes of these lines: status and body of each."""
    content = b"".join(line_of(name, body, url) for name, body in bodies.items())
    done = result_of(client, content, endpoint=url, **more)
    assert done["status"] == "completed", done["errors"]
    files = (done["output_file_id"], done["error_file_id"])
    lines = [line for file in files for line in lines_in(client, file, **more)]
    assert sorted(line["custom_id"] for line in lines) == sorted(bodies)
    said = {line["custom_id"]: line["response"] for line in lines}
    return {name: (each["status_code"], each["body"]) for name, each in said.items()}


def test_vectors_of_a_real_encoder(embedding: FlaskClient, bert: Path) -> None:
    asked: dict[str, Any] = {f"text-{n}": {"input": text} for n, text in enumerate(TEXTS)}
    asked |= {"all": {"input": TEXTS}, "short": {"input": "sun", "dimensions": 8}}
    asked["base64"] = {"input": "sun", "encoding_format": "base64"}
    asked |= {"empty": {"input": ""}, "long": {"input": "sun " * 500}}
    bodies = {name: {"model": "bert", **body} for name, body in asked.items()}
    found = answers(embedding, bodies, "/v1/embeddings")
    model = NumpyBert.read(bert)
    wanted = np.array([model.embedding(tokens_of(text)) for text in TEXTS])
    assert found["all"][0] == 200 and np.abs(vectors(found["all"][1]) - wanted).max() < 2e-3
    for n in range(len(TEXTS)):
        status, body = found[f"text-{n}"]
        assert (status, body["object"], body["model"]) == (200, "list", "bert")
        assert np.abs(vectors(body)[0] - wanted[n]).max() < 2e-3
        assert body["usage"]["prompt_tokens"] == len(tokens_of(TEXTS[n]))
    assert vectors(found["short"][1]).shape == (1, 8)
    packed = base64.b64decode(found["base64"][1]["data"][0]["embedding"])
    assert np.abs(np.frombuffer(packed, "<f4") - wanted[2]).max() < 2e-3
    for name in ("empty", "long"):
        direct = embedding.post("/v1/embeddings", json=bodies[name])
        assert found[name] == (direct.status_code, direct.json)
    assert (found["empty"][0], found["long"][0]) == (400, 400)


def test_lines_for_the_wrong_kind_of_model(embedding: FlaskClient) -> None:
    chat = {"messages": [{"role": "user", "content": "x"}]}
    status, body = answers(embedding, {"a": {"model": "bert", **chat}}, CHATS)["a"]
    assert status == 400 and body["error"]["param"] == "model"


def test_hooks_policy_and_usage_are_those_of_requests(tmp_path: Path) -> None:
    options: dict[str, Any] = {"data_folder": str(tmp_path), "rpm": 0, "max_tokens_limit": 6}
    key = headers_of(Settings(**options), "ann")["ann"]
    client = client_of(**options)
    shout = SimpleNamespace(output_modifier=lambda text, *_, **__: text.upper())
    client.application.extensions["openai"].hooks = Hooks(lambda: [("shout", shout)])
    said = [
        {"role": "user", "content": "a few words that are longer than the limit of this server"}
    ]
    body = {"model": "echo", "messages": said}
    direct = client.post(CHATS, json=body, headers=key, buffered=True).json
    done = result_of(client, line_of("a", body), headers=key)
    [line] = lines_in(client, done["output_file_id"], headers=key)
    answer = line["response"]["body"]
    assert answer["choices"] == direct["choices"] and answer["usage"] == direct["usage"]
    assert answer["choices"][0]["message"]["content"].isupper()
    assert answer["choices"][0]["finish_reason"] == "length"
    query = {"start_time": int(time.time()) - 3600, "group_by": "api_key_id"}
    page = client.get("/v1/organization/usage/completions", query_string=query, headers=key).json
    [used] = [each for bucket in page["data"] for each in bucket["results"]]
    counts = (used["num_model_requests"], used["input_tokens"], used["output_tokens"])
    assert used["api_key_id"] == "ann"
    assert counts == (
        2,
        *(2 * direct["usage"][f"{each}_tokens"] for each in ("prompt", "completion")),
    )


def test_responses_that_are_stored_and_go_on() -> None:
    client = client_of()
    first = client.post(RESPONSES, json={"model": "echo", "input": "Hills."}).json
    asked = {"model": "echo", "input": "And?", "previous_response_id": first["id"]}
    bodies = {
        "goes-on": asked,
        "alone": {"model": "echo", "input": "And?"},
        "kept-not": {"model": "echo", "input": "x", "store": False},
        "instructed": {"model": "echo", "input": "x", "instructions": "Be short."},
        "unknown": {**asked, "previous_response_id": "resp_unknown"},
    }
    found = answers(client, bodies, RESPONSES)
    assert {name: status for name, (status, _) in found.items()} == {
        **dict.fromkeys(bodies, 200),
        "unknown": 400,
    }
    on, alone = found["goes-on"][1], found["alone"][1]
    assert on["previous_response_id"] == first["id"] and on["object"] == "response"
    assert on["usage"]["input_tokens"] > alone["usage"]["input_tokens"]
    assert found["instructed"][1]["instructions"] == "Be short."
    for name, status in (("goes-on", 200), ("kept-not", 404)):
        assert client.get(f"{RESPONSES}/{found[name][1]['id']}").status_code == status
    assert found["unknown"][1]["error"]["code"] == "previous_response_not_found"


def test_messages() -> None:
    client = client_of()
    said = [{"role": "user", "content": [{"type": "text", "text": "Hi. There."}]}]
    body = {"model": "echo", "max_tokens": 50, "messages": said, "system": "Be short."}
    bodies = {
        "whole": body,
        "stopped": {**body, "stop_sequences": ["."]},
        "short": {**body, "max_tokens": 2},
        "wrong": {**body, "max_tokens": 0},
    }
    found = answers(client, bodies, MESSAGES)
    reasons = {name: each[1].get("stop_reason") for name, each in found.items()}
    assert reasons == {
        "whole": "end_turn",
        "stopped": "stop_sequence",
        "short": "max_tokens",
        "wrong": None,
    }
    status, error = found["wrong"]
    assert (status, error["type"]) == (400, "error")
    assert error["error"]["type"] == "invalid_request_error"
    assert found["whole"][1]["content"] == client.post(MESSAGES, json=body).json["content"]


def test_agents(tmp_path: Path) -> None:
    file = tmp_path / "agents.yaml"
    pirate = {"system": "Talk as a pirate, always.", "max_tokens": 3}
    file.write_text(yaml.safe_dump({"agents": {"pirate": pirate}}))
    client = client_of(agents=str(file))
    said = {"messages": [{"role": "user", "content": "Hello, you there!"}]}
    bodies = {
        "agent": {"model": "agent:pirate", **said},
        "model": {"model": "echo", **said},
        "unknown": {"model": "agent:nobody", **said},
    }
    found = answers(client, bodies, CHATS)
    assert found["unknown"][0] == 404
    agent, model = found["agent"][1], found["model"][1]
    assert agent["choices"][0]["finish_reason"] == "length"
    assert agent["usage"]["prompt_tokens"] > model["usage"]["prompt_tokens"]
    direct = client.post(CHATS, json=bodies["agent"]).json
    assert agent["choices"] == direct["choices"] and agent["usage"] == direct["usage"]
    found = answers(client, {"a": {"model": "agent:pirate", "input": "Hello, you!"}}, RESPONSES)
    assert found["a"][1]["incomplete_details"] == {"reason": "max_output_tokens"}


def test_sessions_of_users() -> None:
    """Lines with a `user` are turns of that user's session, as requests are."""
    client = client_of(sessions="user", batch_lines=1)

    def said(text: str, user: str) -> dict[str, Any]:
        return {"model": "echo", "user": user, "messages": [{"role": "user", "content": text}]}

    client.post(CHATS, json=said("A first turn that is rather long.", "ann"))
    bodies = {"ann": said("And?", "ann"), "bob": said("And?", "bob")}
    found = answers(client, bodies, CHATS)
    of = {name: body["usage"]["prompt_tokens"] for name, (_, body) in found.items()}
    assert of["ann"] > of["bob"]
    sessions = client.get("/v1/sessions").json["data"]
    assert len(sessions) == 2
    after = client.post(CHATS, json=said("And?", "bob")).json
    assert after["usage"]["prompt_tokens"] > of["bob"]
