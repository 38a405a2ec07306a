"""The short cut past Flask answers as Flask does. Pages in browsers send an Origin, and go through Flask."""

from __future__ import annotations

import json
from typing import Any

import pytest

from extensions.openai.engines.echo import EchoEngine
from tests.conftest import Serve
from tests.support.reference import sse_payloads
from tests.support.wire import Answer, ask

ORIGIN = "http://localhost:8000"
COMPLETIONS, CHAT = "/v1/completions", "/v1/chat/completions"
GOOD = {"model": "echo", "prompt": "hey", "messages": [{"role": "user", "content": "hey"}]}
BAD_KEY = "Bearer wrong"


def seen(answer: Answer) -> tuple[int, dict[str, str], Any]:
    """What does not change from one request to the next."""
    ours = {name: value for name, value in answer.headers.items() if "access-control" not in name}
    for name in ("date", "openai-processing-ms", "x-request-id", "vary"):
        ours.pop(name, None)
    if answer.headers["content-type"].startswith("text/event-stream"):
        return answer.status, ours, [_without_chance(each) for each in sse_payloads(answer.body)]
    return answer.status, ours, _without_chance(answer.body)


def _without_chance(data: bytes | str) -> Any:
    try:
        value = json.loads(data)
    except ValueError:
        return data
    return {name: each for name, each in value.items() if name not in ("id", "created")}


@pytest.mark.parametrize("path", [COMPLETIONS, CHAT])
@pytest.mark.parametrize(
    "body",
    [
        GOOD,
        {**GOOD, "stream": True},
        {**GOOD, "stream": True, "n": 3},
        {**GOOD, "temperature": "warm"},
        {**GOOD, "model": "nobody", "stream": True},
        b"",
        b"[]",
        b'{"model":',
        b'"' + b"x" * (1 << 20),
    ],
    ids=["whole", "stream", "several", "wrong", "no model", "nothing", "array", "cut", "large"],
)
def test_both_ways_give_the_same_answer(serve: Serve, path: str, body: Any) -> None:
    if isinstance(body, dict) and path == COMPLETIONS:
        body = {name: value for name, value in body.items() if name != "messages"}
    port = serve(EchoEngine(), max_body_mb=1).port
    direct, through = ask(port, "POST", path, body), ask(port, "POST", path, body, origin=ORIGIN)
    assert through.headers["access-control-allow-origin"] == ORIGIN
    assert "access-control-allow-origin" not in direct.headers
    if isinstance(body, dict) and body.get("n"):  # their parts come in any order
        assert direct.status == through.status == 200
        assert sorted(map(str, seen(direct)[2])) == sorted(map(str, seen(through)[2]))
    else:
        assert seen(direct) == seen(through)


@pytest.mark.parametrize("headers", [
    {"authorization": BAD_KEY},
    {},
    {"authorization": "Bearer right", "content_type": "text/plain"},
    {"authorization": "Bearer right", "content_encoding": "gzip"},
    {"authorization": "Bearer right", "host": "bad host"},
])  # fmt: skip
def test_both_ways_refuse_alike(serve: Serve, headers: dict[str, str]) -> None:
    port = serve(EchoEngine(), api_key="right").port
    direct = ask(port, "POST", CHAT, GOOD, **headers)
    assert direct.status in (400, 401, 415)
    assert seen(direct) == seen(ask(port, "POST", CHAT, GOOD, origin=ORIGIN, **headers))


@pytest.mark.parametrize("path", ["/v1/chat/completions/", "/v1//chat/completions", "/v1/chat"])
def test_other_spellings_are_flasks(serve: Serve, path: str) -> None:
    port = serve(EchoEngine()).port
    assert ask(port, "POST", path, GOOD).status == (200 if path.endswith("s/") else 404)
    assert ask(port, "DELETE", CHAT).status == 405


@pytest.mark.parametrize("sent", [json.dumps(GOOD).encode(), b"[]"])
def test_answers_end_with_a_newline(serve: Serve, sent: bytes) -> None:
    """So that a shell's prompt stands on a line of its own; also what the HTTP layer refuses."""
    port = serve(EchoEngine()).port
    headers = {"Content-Type": "application/json"}
    for answer in (
        ask(port, "POST", CHAT, sent, **headers),
        ask(port, "GET", "/v1/models"),
        ask(port, "GET", "/v1/models", **{"Content-Length": "x"}),
    ):
        assert answer.body.endswith(b"}\n")
        assert answer.body.count(b"\n") == 1
