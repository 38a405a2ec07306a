"""Every way to fail ends in the one envelope, with the right status and headers."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from flask.testing import FlaskClient

from extensions.openai.engines.echo import EchoEngine
from extensions.openai.engines.protocol import EngineInfo
from extensions.openai.errors import APIError, all_errors
from extensions.openai.settings import Settings
from extensions.openai.web.app import create_app
from tests.support.reference import assert_envelope

POSTS = ["/v1/completions", "/v1/chat/completions", "/v1/engines/echo/completions"]


class Broken(EchoEngine):
    """Fails with a reason that clients must not see."""

    @property
    def info(self) -> EngineInfo:
        raise RuntimeError("the secret reason")


@pytest.mark.parametrize("error", all_errors(), ids=lambda error: error.__name__)
def test_every_class_has_a_status_a_type_and_a_line_of_its_own(error: type[APIError]) -> None:
    assert 400 <= error.status < 600
    assert error.type and error.__doc__
    # OpenAI's 429 says in its type what there was too much of.
    others = error.status >= 500 or error.status == 429
    assert (error.type != "invalid_request_error") is others
    assert error.code is None or error.code.replace("_", "").isalpha()


@pytest.mark.parametrize(
    "path",
    ["/nowhere", "/v1", "/v1/nope", "/v1/models/x/y/z/completions", "/v1/engines/completions"],
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_no_such_address(client: FlaskClient, path: str, method: str) -> None:
    answer = client.open(path, method=method)
    assert answer.status_code in (404, 405)
    assert_envelope(answer.json, status=answer.status_code)
    assert answer.headers["x-request-id"]


def test_a_very_long_address_is_not_repeated(client: FlaskClient) -> None:
    answer = client.get("/" + "a" * 20_000)
    assert answer.status_code == 404
    assert len(assert_envelope(answer.json)["message"]) < 1000


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/completions", {"POST", "OPTIONS"}),
        ("PUT", "/v1/chat/completions", {"GET", "HEAD", "POST", "OPTIONS"}),
        ("PUT", "/v1/chat/completions/x", {"GET", "HEAD", "POST", "DELETE", "OPTIONS"}),
        ("DELETE", "/v1/models", {"GET", "HEAD", "OPTIONS"}),
        ("POST", "/v1/models", {"GET", "HEAD", "OPTIONS"}),
        ("POST", "/health", {"GET", "HEAD", "OPTIONS"}),
        ("PATCH", "/openai/deployments/echo/chat/completions", {"POST", "OPTIONS"}),
    ],
)
def test_the_wrong_method(client: FlaskClient, method: str, path: str, allowed: set[str]) -> None:
    answer = client.open(path, method=method)
    assert answer.status_code == 405
    assert set(answer.headers["Allow"].replace(" ", "").split(",")) == allowed
    assert_envelope(answer.json, status=405)


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"]
)
def test_a_body_that_is_not_json_by_its_type(client: FlaskClient, path: str, kind: str) -> None:
    answer = client.post(path, data=b'{"model": "echo"}', content_type=kind)
    assert answer.status_code == 415
    assert "application/json" in assert_envelope(answer.json, status=415)["message"]


@pytest.mark.parametrize("kind", ["application/json", "application/json; charset=utf-8", "", None])
def test_json_by_any_right_type(client: FlaskClient, kind: str | None) -> None:
    answer = client.post(
        "/v1/completions", data=b'{"model":"echo","prompt":"x"}', content_type=kind
    )
    assert answer.status_code == 200


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize(
    ("body", "position"),
    [
        (b"", (1, 1)),
        (b"{", None),
        (b'{"model": "echo",}', (1, 17)),
        (b'{\n  "model": echo\n}', (2, 12)),
        (b"{'model': 'echo'}", (1, 2)),
        (b'{"model": "echo"} x', (1, 19)),
        (b'{"model": "\xff"}', None),
        (b'{"model": "\\ud800"}', None),
        (b'{"model": "a\nb"}', None),
        (b"[" * 100_000, None),
        (b"\xef\xbb\xbf{}", None),
        ("{}".encode("utf-16"), None),
        (b"nul", None),
    ],
)
def test_broken_json_is_told_with_its_place(
    client: FlaskClient, path: str, body: bytes, position: tuple[int, int] | None
) -> None:
    answer = client.post(path, data=body, content_type="application/json")
    assert answer.status_code == 400
    error = assert_envelope(answer.json, status=400)
    assert error["param"] is None
    assert "JSON" in error["message"] and "line" in error["message"]
    if position is not None:
        assert f"line {position[0]}, column {position[1]}" in error["message"]


@pytest.mark.parametrize("body", [b"null", b"[]", b'"text"', b"5", b"true", b'[{"model": "echo"}]'])
@pytest.mark.parametrize("path", POSTS)
def test_a_body_must_be_an_object(client: FlaskClient, path: str, body: bytes) -> None:
    answer = client.post(path, data=body, content_type="application/json")
    assert answer.status_code == 400
    assert "object" in assert_envelope(answer.json, status=400)["message"]


@pytest.mark.parametrize("path", ["/v1/models", "/health", "/v1/models/echo", "/"])
def test_a_fault_of_ours_says_nothing_of_its_reason(
    path: str, caplog: pytest.LogCaptureFixture
) -> None:
    answer = create_app(Settings(), Broken()).test_client().get(path)
    assert answer.status_code == 500
    error = assert_envelope(answer.json)
    assert error["type"] == "server_error"
    assert "secret" not in answer.get_data(as_text=True)
    assert answer.headers["x-request-id"] in caplog.text, "the log leads from the id to the reason"
    assert "the secret reason" in caplog.text


def test_a_server_that_stops_says_so(settings: Settings) -> None:
    app = create_app(settings, EchoEngine())
    client = app.test_client()
    with client.get("/health") as before:
        assert before.status_code == 200
    assert app.extensions["openai"].active_requests.drain(0, 0)
    answer = client.get("/health")
    assert answer.status_code == 503
    assert assert_envelope(answer.json)["code"] == "shutting_down"
    assert int(answer.headers["Retry-After"]) >= 1
    assert answer.headers["x-request-id"]


@pytest.mark.parametrize("debug", [False, True])
def test_no_prompt_and_no_key_in_the_log(caplog: pytest.LogCaptureFixture, debug: bool) -> None:
    caplog.set_level(logging.DEBUG)
    client = create_app(Settings(api_key="the-key", debug=debug), EchoEngine()).test_client()
    headers = {"Authorization": "Bearer the-key"}
    for body in ({"model": "echo", "prompt": "a private text"}, {"prompt": 5, "user": "private"}):
        client.post("/v1/completions", json=body, headers=headers)
    assert "private" not in caplog.text and "the-key" not in caplog.text


def test_requests_are_counted_off_however_they_end(settings: Settings) -> None:
    """A server can only drain when every request that came in was seen to leave."""
    app = create_app(settings, EchoEngine())
    client = app.test_client()
    bodies: list[Any] = [{"model": "echo", "prompt": "x"}, {}, {"model": "no", "prompt": "x"}]
    for body in bodies:
        for stream in (False, True):
            client.post("/v1/completions", json={**body, "stream": stream}).close()
    for path in ("/", "/nowhere", "/docs", "/docs/assets/nowhere", "/v1/completions"):
        for method in ("GET", "HEAD", "OPTIONS"):
            client.open(path, method=method).close()
    assert app.extensions["openai"].active_requests.drain(0, 0)
