"""The OpenAPI document: what a reader, a generated client and "Try it out" make of it."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_type_hints
from urllib.parse import quote

import httpx
import pytest
from flask.testing import FlaskClient
from openai.types import completion_create_params as completion_params
from openai.types.chat import completion_create_params as chat_params

from extensions.openai.engines.echo import EchoEngine
from extensions.openai.engines.swappable import SwappableEngine
from extensions.openai.settings import Settings
from extensions.openai.web.app import create_app
from tests.support.process import ServerProcess

CHATS = "/v1/chat/completions"
OTHER_MODELS = ("/v1/embeddings", "/rerank", "/audio/speech", "/images/generations", "/moderations")
PARAMS = {
    "ChatCompletionRequest": chat_params.CompletionCreateParamsBase,
    "CompletionRequest": completion_params.CompletionCreateParamsBase,
}
REQUIRED = {
    "ChatCompletionRequest": ["model", "messages"],
    "CompletionRequest": ["model"],  # a prompt has a default
}


def document(engine: Any = None, **options: Any) -> Any:
    app = create_app(Settings(**options), engine or EchoEngine())
    return app.test_client().get(options.get("api_prefix", "") + "/openapi.json").json


def operations(document: Any) -> list[tuple[str, str, Any]]:
    return [
        (method, path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


def example_of(operation: Any) -> Any:
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    return body.get("example")


def stored(client: httpx.Client, path: str, name: str) -> str:
    """The id of what a client has made before."""
    if name == "message_id":  # the chat's id is in the path already
        return f"{path.split('/messages')[0].rsplit('/', 1)[1]}-0"
    if "/agents/" in path:
        return "companion"
    if "/keys/" in path:
        return "alice"
    if "/console/" in path:
        return "main.js"
    if "/memories/" in path:
        fact = {"agent": "companion", "user": "ann", "text": "Ann has a dog."}
        return str(client.post("/v1/memories", json=fact).json()["id"])
    if "/conversations/" in path:
        said = [{"role": "user", "content": "Hi", "id": "msg_1"}]
        conversation = client.post("/v1/conversations", json={"items": said})
        return "msg_1" if name == "item_id" else str(conversation.json()["id"])
    if "/files/" in path:
        form = {"data": {"purpose": "vision"}, "files": {"file": b"a"}}
        return str(client.post("/v1/files", **form).json()["id"])  # type: ignore[arg-type]
    if "/uploads/" in path:
        empty = {"filename": "a", "purpose": "vision", "bytes": 0, "mime_type": "text/plain"}
        return str(client.post("/v1/uploads", json=empty).json()["id"])
    if "/batches/" in path:
        new = {"input_file_id": "file-1", "endpoint": CHATS, "completion_window": "24h"}
        batch = client.post("/v1/batches", json=new).json()
        while batch["status"] == "validating":  # there is no such file
            time.sleep(0.02)
            batch = client.get(f"/v1/batches/{batch['id']}").json()
        return str(batch["id"])
    if "/responses/" in path:
        response = client.post("/v1/responses", json={"model": "m", "input": "Hi"})
        return str(response.json()["id"])
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
    if "/streams/" in path:
        named = {"x-openedai-stream-id": "s"}
        assert client.post(CHATS, json=body | {"stream": True}, headers=named).is_success
        return "s"
    session = {"x-openedai-session-key": "s"}
    chat = client.post(CHATS, json=body | {"store": True}, headers=session)
    if "/sessions/" in path:
        return str(client.get("/v1/sessions").json()["first_id"])
    return str(chat.json()["id"])


@pytest.fixture
def locked(embedded_model: Path | None, random_model: Path) -> Iterator[ServerProcess]:
    """With a key, since the first key that the examples make would lock it."""
    chosen = [] if embedded_model else ["--model", str(random_model)]
    process = ServerProcess(*chosen, "--threads", "1", "--api-key", "secret")
    process.wait_until_ready()
    yield process
    process.stop()


def test_every_example_works_as_it_comes(locked: ServerProcess) -> None:
    """What "Try it out" and "Execute" send, one after the other, to the stand-alone host."""
    key = {"Authorization": "Bearer secret"}
    with httpx.Client(base_url=locked.url, timeout=60, headers=key) as client:
        written = client.get("/openapi.json").json()
        # Whom an example names.
        assert client.put("/v1/internal/agents/companion", json={"memory": True}).is_success
        # The model goes last, and is there again for what comes next.
        rows = sorted(operations(written), key=lambda row: "unload" in row[1])
        assert len(rows) > 15
        for method, path, operation in rows:
            parameters = operation.get("parameters", ())
            for each in parameters:
                if each["in"] == "path":
                    example = (
                        each["example"] if "example" in each else stored(client, path, each["name"])
                    )
                    path = path.replace(f"{{{each['name']}}}", quote(example, safe=""))
            query = {
                each["name"]: each["example"]
                for each in parameters
                if each["in"] == "query" and "example" in each
            }
            body = example_of(operation)
            if "multipart/form-data" in operation.get("requestBody", {}).get("content", ()):
                continue  # a file that a person chooses
            if "requestBody" in operation:
                assert body is not None, path
            answer = client.request(method, path, params=query, json=body)
            # Only what is made in the background can be cancelled, and that is not.
            expected = 400 if "/responses/" in path and path.endswith("/cancel") else 200
            if method == "post" and path.endswith(OTHER_MODELS):
                expected = 501  # this server has no models for them
            if path.endswith(("/cancel", "/pause", "/resume")) and "/batches/" in path:
                expected = 409  # it has failed
            if path.startswith("/v1/internal/models/"):
                expected = 400  # it was started without --models
            if path.startswith("/v1/internal/requests/"):
                expected = 400  # it was started without --debug
            if "/images/files/" in path:
                expected = 404  # none was made here, and another file is not shown there
            assert answer.status_code == expected, (path, answer.text)
        chat = written["paths"]["/v1/chat/completions"]["post"]
        assert client.post("/v1/chat/completions", json=example_of(chat)).status_code == 200


def test_examples_name_the_model_that_is_loaded() -> None:
    front = SwappableEngine()
    client = create_app(Settings(), front).test_client()

    def named() -> Any:
        written: Any = client.get("/openapi.json").json
        return example_of(written["paths"]["/v1/chat/completions"]["post"])["model"]

    assert named() == "MODEL"
    for name in ("first", "org/second"):
        front.set(EchoEngine(name=name))
        assert named() == name


@pytest.mark.parametrize("name", PARAMS)
def test_required_fields_then_those_of_the_reference_then_others(name: str) -> None:
    schema = document()["components"]["schemas"][name]
    fields, required = list(schema["properties"]), REQUIRED[name]
    assert schema["required"] == required
    assert fields[: len(required)] == required
    # Completions take a format as chats do.
    reference = {*get_type_hints(PARAMS[name]), "stream", "response_format"}
    known = [field in reference for field in fields]
    assert known == sorted(known, reverse=True), "a field of the reference behind one that is not"
    assert fields.index("hooks") < fields.index("top_k"), "the native sampler's are last"
    assert schema["properties"]["model"]["type"] == "string"


def test_a_model_is_not_required_where_the_operator_says_so() -> None:
    schema = document(require_model=False)["components"]["schemas"]["ChatCompletionRequest"]
    assert schema["required"] == ["messages"]


def test_every_operation_has_a_tag_and_a_description() -> None:
    written = document()
    tags = [tag["name"] for tag in written["tags"]]
    assert tags[:4] == ["Chat", "Completions", "Responses", "Conversations"]
    assert all(re.match(r"[A-Z]", tag["description"]) for tag in written["tags"])
    for _, path, operation in operations(written):
        (tag,) = operation["tags"]
        assert tag in tags and operation["summary"] and operation["description"], path
    assert next(iter(written["paths"])) == "/v1/chat/completions"


def test_what_can_stream_has_events() -> None:
    streaming = {
        (method, path)
        for method, path, operation in operations(document())
        if "text/event-stream" in operation["responses"]["200"]["content"]
    }
    assert {("get", "/v1/responses/{response_id}"), ("post", "/v1/responses")} <= streaming
    assert ("get", "/v1/responses/{response_id}/input_items") not in streaming


def test_servers_are_where_the_client_is() -> None:
    def servers(client: FlaskClient, path: str, **options: Any) -> list[str]:
        answer: Any = client.get(path, **options).json
        return [server["url"] for server in answer["servers"]]

    plain = create_app(Settings(api_port=5001), EchoEngine()).test_client()
    assert servers(plain, "/openapi.json") == ["/", "http://localhost"]
    behind = create_app(
        Settings(trusted_proxies=("127.0.0.1",), api_prefix="/api", api_key="k"), EchoEngine()
    ).test_client()
    reported = {
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "llm.example",
        "X-Forwarded-Prefix": "/llm",
    }
    found = servers(behind, "/api/openapi.json", headers=reported)
    assert found == ["/llm", "https://llm.example/llm"]
    assert "/api/v1/chat/completions" in behind.get("/api/openapi.json").json["paths"]
