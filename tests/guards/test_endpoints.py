"""Endpoints that are switched off."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from extensions.openai.configuration.sources import load
from extensions.openai.engines.echo import EchoEngine
from extensions.openai.settings import Settings, SettingsError
from extensions.openai.web.app import ROUTES, create_app
from tests.support.reference import assert_error_of

CHAT = {"model": "echo", "messages": [{"role": "user", "content": "Hi"}]}


def client(**options: Any) -> FlaskClient:
    return create_app(Settings(**options), EchoEngine()).test_client()


STORES_NOTHING_NEW = {
    # The model answers, and nothing is kept (of a session: the header names the key as ignored).
    *(
        "/completions",
        "/messages",
        "/messages/count_tokens",
        "/fim/completions",
        "/infill",
        "/embeddings",
    ),
    *("/rerank", "/v2/rerank", "/responses/compact", "/responses/input_tokens"),
    *("/audio/transcriptions", "/audio/translations", "/audio/speech", "/moderations"),
    *("/decisions", "/systemone"),
    *("/generate", "/api/extra/generate/stream", "/api/extra/generate/check"),
    *("/api/extra/abort", "/api/extra/tokencount"),
    *("/api/chat", "/api/generate", "/api/embed", "/api/embeddings", "/api/show"),
    # Done twice it is as done once.
    *("/chat/completions/<completion_id>", "/conversations/<conversation_id>"),
    *("/responses/<response_id>/cancel", "/uploads/<upload_id>/cancel"),
    "/batches/<batch_id>/cancel",
    # A part that is sent twice is two parts, of which the file has one.
    "/uploads/<upload_id>/parts",
}
"""Paths of POSTs without `Idempotency-Key`, besides those of tokens and of the server's own."""


def test_every_post_that_stores_takes_an_idempotency_key() -> None:
    """A new endpoint declares `once`, or is one of those that store nothing new."""
    others = {
        route.path
        for route in ROUTES
        if route.method == "POST" and not route.once and route.endpoint != "tokens"
    }
    assert {path for path in others if not path.startswith("/internal/")} == STORES_NOTHING_NEW
    document = client(message_endpoint=True).get("/openapi.json").json["paths"]
    taking = {
        path
        for path, operations in document.items()
        for each in operations.get("post", {}).get("parameters", ())
        if each["name"] == "Idempotency-Key" and each["in"] == "header"
    }
    assert {"/message", "/v1/chat/completions", "/v1/memories", "/v1/conversations"} <= taking


def test_what_a_model_writes_is_counted() -> None:
    """And begins by the short way, and loads a model again that idled."""
    streams = [r for r in ROUTES if r.method == "POST" and r.chunk and r.scope == "write"]
    assert [route.path for route in streams if route.usage is None] == []
    dialects = {"/completions", "/chat/completions", "/responses", "/messages"}
    assert dialects <= {route.path for route in streams if route.generates}


def test_everything_off_but_chat() -> None:
    only = client(endpoints=("chat",))
    assert only.post("/v1/chat/completions", json=CHAT).status_code == 200
    for route in ROUTES:
        if route.endpoint == "chat" or "<" in route.path:
            continue
        for address in route.addresses.value:
            path = address.replace("<path:model>", "echo") + route.path
            answer = only.open(path, method=route.method, json={} if route.body else None)
            assert answer.status_code == 404, path
            error = assert_error_of(path, answer.json, status=404)
            assert error.get("code", "endpoint_disabled") == "endpoint_disabled"
            assert "--endpoints" in error["message"] and route.endpoint in error["message"]
    for path in ("/openapi.json", "/docs", "/redoc", "/docs/assets/js/swagger-ui-bundle.js"):
        assert only.get(path).status_code == 404, path


def test_some_endpoints_off() -> None:
    some = client(
        disabled_endpoints=("completions", "docs"), endpoints=("chat", "completions", "models")
    )
    assert some.get("/v1/models").status_code == 200
    assert some.post("/v1/chat/completions", json=CHAT).status_code == 200
    for path in ("/v1/completions", "/v1/engines/echo/completions"):
        answer = some.post(path, json={"model": "echo", "prompt": "a"})
        assert answer.json["error"]["code"] == "endpoint_disabled"
    assert some.get("/docs").status_code == 404


def test_an_endpoint_that_is_off_is_not_in_the_document() -> None:
    paths = client(disabled_endpoints=("completions",)).get("/openapi.json").json["paths"]
    assert "/v1/chat/completions" in paths and "/v1/completions" not in paths


def test_an_endpoint_that_is_off_needs_no_key_to_say_so() -> None:
    answer = client(api_key="k", disabled_endpoints=("models",)).get("/v1/models")
    assert answer.json["error"]["code"] == "endpoint_disabled"


@pytest.mark.parametrize("name", ["endpoints", "disabled_endpoints"])
def test_a_name_that_is_none_stops_the_start(name: str) -> None:
    with pytest.raises(SettingsError) as caught:
        client(**{name: ("chat", "chats")})
    message = str(caught.value)
    assert name in message and "no endpoint chats;" in message and "completions" in message


def test_names_are_parted_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENEDAI_DISABLED_ENDPOINTS", "docs, home")
    settings = load({}, {"endpoints": "chat,docs"})
    assert (settings.endpoints, settings.disabled_endpoints) == (("chat", "docs"), ("docs", "home"))
