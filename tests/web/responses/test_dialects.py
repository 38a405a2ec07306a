"""An endpoint whose clients know other events and other errors than OpenAI's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from extensions.openai.engines.echo import EchoEngine
from extensions.openai.web.app import ROUTES
from tests.conftest import Serve
from tests.support.paced import PacedEngine
from tests.support.reference import assert_envelope
from tests.support.wire import Answer, Wire, ask, streaming
from tests.web.letters import Letters

PATH = "/v1/letters"
ORIGIN = "http://localhost:8000"

ASKED = {"model": "any"}

Events = list[tuple[str, dict[str, Any]]]


@pytest.fixture
def letters() -> Letters:
    return Letters()


@pytest.fixture
def port(serve: Serve, letters: Letters) -> Iterator[int]:
    yield serve(EchoEngine(), routes=(*ROUTES, *letters.routes)).port


def events_of(body: bytes) -> Events:
    """Names and data of the events of a whole stream, whose framing must be exact."""
    assert body.endswith(b"\n\n")
    found = []
    for block in body.decode().removesuffix("\n\n").split("\n\n"):
        name, data = block.split("\n")
        assert name.startswith("event: ") and data.startswith("data: ")
        found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


def assert_error(answer: Answer, status: int, kind: str) -> str:
    """The message of an error in the envelope of letters."""
    assert answer.status == status, answer.body
    return error_of(answer.json(), kind)


def error_of(body: Any, kind: str) -> str:
    assert set(body) == {"type", "error"} and body["type"] == "error", body
    assert set(body["error"]) == {"type", "message"} and body["error"]["type"] == kind, body
    return str(body["error"]["message"])


def test_streamed_and_not_are_the_same_letter(port: int, letters: Letters) -> None:
    whole = ask(port, "POST", PATH, {**ASKED, "prompt": "héllo"}).json()
    assert whole == {"type": "letter", "model": "echo", "text": "héllo", "output_tokens": 7}
    answer = ask(port, "POST", PATH, {**ASKED, "prompt": "héllo", "stream": True})
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert b"[DONE]" not in answer.body
    events = events_of(answer.body)
    assert all(name == data["type"] for name, data in events)
    names = [name for name, _ in events]
    assert (names[0], names[-1]) == ("letter_start", "letter_stop")
    assert set(names[1:-1]) == {"letter_delta"}
    assert "".join(data["text"] for _, data in events[1:-1]) == whole["text"]
    assert events[-1][1]["output_tokens"] == whole["output_tokens"]
    assert letters.kept == [whole, whole]


def test_pages_in_browsers_get_the_same(port: int) -> None:
    """They come by way of Flask."""
    for body in ({**ASKED, "prompt": "hey", "stream": True}, {**ASKED, "prompt": 5}, b"{"):
        direct, through = (
            ask(port, "POST", PATH, body),
            ask(port, "POST", PATH, body, origin=ORIGIN),
        )
        assert (direct.status, direct.body) == (through.status, through.body)
        assert through.headers["access-control-allow-origin"] == ORIGIN


@pytest.mark.parametrize("stream", [False, True])
def test_an_error_before_the_first_chunk_has_its_status(port: int, stream: bool) -> None:
    too_long = ask(port, "POST", PATH, {**ASKED, "prompt": "x" * 9000, "stream": stream})
    assert "context length" in assert_error(too_long, 400, "invalid_request_error")
    for body in (
        {**ASKED, "prompt": 5, "stream": stream},
        b'{"prompt":',
        {**ASKED, "stream": stream},
    ):
        assert_error(ask(port, "POST", PATH, body), 400, "invalid_request_error")


@pytest.mark.parametrize("origin", [None, ORIGIN])
def test_an_engine_that_fails_before_its_first_token(
    serve: Serve, letters: Letters, origin: str | None
) -> None:
    """The stream is not begun yet, though the endpoint has returned."""
    port = serve(PacedEngine(endless=True, fail_after=0), routes=letters.routes).port
    headers = {"origin": origin} if origin else {}
    answer = ask(port, "POST", PATH, {**ASKED, "prompt": "x", "stream": True}, **headers)
    assert_error(answer, 500, "api_error")
    assert answer.headers.get("access-control-allow-origin") == origin
    assert letters.kept == []


def test_an_error_after_the_first_chunk_is_the_last_event(serve: Serve, letters: Letters) -> None:
    engine = PacedEngine(["a"], endless=True, fail_after=2)
    port = serve(engine, routes=letters.routes).port
    answer = ask(port, "POST", PATH, {**ASKED, "prompt": "x", "stream": True})
    assert answer.status == 200
    *begun, (name, data) = events_of(answer.body)
    assert [each for each, _ in begun] == ["letter_start", "letter_delta", "letter_delta"]
    assert name == "error"
    error_of(data, "api_error")
    assert_error(ask(port, "POST", PATH, {**ASKED, "prompt": "x"}), 500, "api_error")
    assert letters.kept == []


def test_what_is_kept_is_kept_before_the_client_can_know(serve: Serve, letters: Letters) -> None:
    """The last chunk says that the answer is complete; nothing follows it."""
    engine = PacedEngine()
    port = serve(engine, api_key="k", concurrent=1, routes=letters.routes).port
    with Wire(port) as wire:
        for number in range(1, 6):  # one at a time is allowed, and the last one has ended
            body = {**ASKED, "prompt": "x", "stream": True}
            wire.request("POST", PATH, body, {"Authorization": "Bearer k"})
            assert wire.head()[1] == 200
            wire.until(b"event: letter_stop\n")
            assert len(letters.kept) == number
            wire.until(b"\r\n0\r\n\r\n")


def test_a_client_that_leaves_ends_the_work(serve: Serve, letters: Letters) -> None:
    engine = PacedEngine(endless=True, pace=0.001)
    port = serve(engine, routes=letters.routes).port
    with streaming(port, PATH, {**ASKED, "prompt": "x", "stream": True}) as wire:
        wire.until(b"letter_delta")
        assert engine.wait_for_active(1)
    assert engine.wait_for_active(0, 2.0)
    assert letters.kept == []


def test_a_server_that_stops_says_so_in_the_last_event(serve: Serve, letters: Letters) -> None:
    engine = PacedEngine(endless=True, pace=0.01)
    server = serve(engine, routes=letters.routes)
    with streaming(server.port, PATH, {**ASKED, "prompt": "x", "stream": True}) as wire:
        wire.until(b"letter_delta")
        server.stop(5.0)
        rest = wire.until(b"0\r\n\r\n")
    assert b"event: error\n" in rest and b"shutting down" in rest


def test_errors_of_the_path_are_in_its_dialect(port: int) -> None:
    """Before the route is known: a method that it has not, a broken head, a foreign origin."""
    answer = ask(port, "GET", PATH)
    assert_error(answer, 405, "invalid_request_error")
    assert set(answer.headers["allow"].split(", ")) == {"OPTIONS", "POST"}
    assert_error(
        ask(port, "POST", PATH, {**ASKED, "prompt": "x"}, Host="elsewhere"), 403, "api_error"
    )
    with Wire(port) as wire:
        wire.send(f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n".encode())
        assert_error(wire.answer(), 400, "invalid_request_error")
    with Wire(port) as wire:
        wire.send(f"POST {PATH}?a=b HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".encode())
        assert_error(wire.answer(), 400, "invalid_request_error")


def test_errors_of_other_paths_are_openais(port: int) -> None:
    for method, path in (
        ("GET", f"{PATH}/none"),
        ("GET", "/v1/completions"),
        ("POST", "/v1/models"),
    ):
        assert_envelope(ask(port, method, path).json())
    with Wire(port) as wire:
        wire.send(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n")
        assert_envelope(wire.answer().json(), status=400)


@pytest.mark.parametrize("key", [None, "wrong"])
def test_a_head_that_is_refused_is_answered_in_the_dialect(
    serve: Serve, letters: Letters, key: str | None
) -> None:
    """The body is not even read."""
    port = serve(EchoEngine(), api_key="right", routes=letters.routes).port
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    body = {**ASKED, "prompt": "x" * (1 << 20)}
    assert_error(ask(port, "POST", PATH, body, **headers), 401, "authentication_error")


def test_an_endpoint_that_is_off_says_so_in_the_dialect(serve: Serve, letters: Letters) -> None:
    routes = (*ROUTES, *letters.routes)
    port = serve(EchoEngine(), disabled_endpoints=("letters",), routes=routes).port
    assert "switched off" in assert_error(ask(port, "POST", PATH, {}), 404, "api_error")


def test_the_document_describes_the_dialect(port: int) -> None:
    document = ask(port, "GET", "/openapi.json").json()
    schemas = document["components"]["schemas"]

    def error_at(path: str) -> str:
        failure = document["paths"][path]["post"]["responses"]["400"]
        return str(failure["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2])

    assert error_at(PATH) == "LetterError" and error_at("/v1/completions") == "ErrorEnvelope"
    assert set(schemas["LetterError"]["properties"]) == {"type", "error"}
    stream = document["paths"][PATH]["post"]["responses"]["200"]["content"]["text/event-stream"]
    kinds = {each["$ref"].rpartition("/")[2] for each in stream["schema"]["anyOf"]}
    assert kinds == {"LetterStart", "LetterDelta", "LetterStop"}
