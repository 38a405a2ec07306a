"""What really travels: bytes on a socket, clients that leave, limits, broken HTTP."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from typing import Any

import pytest

from extensions.openai import chat as chat_endpoint
from extensions.openai.engines.echo import EchoEngine
from extensions.openai.engines.swappable import SwappableEngine
from tests.conftest import Serve
from tests.support.paced import PacedEngine
from tests.support.reference import (
    assert_chunks,
    assert_envelope,
    sse_chunks,
    sse_payloads,
)
from tests.support.wire import Wire, ask, streaming

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
SOON = 40.0  # seconds within which the work for a client who left has ended


def chat(model: str = "paced", **fields: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "Hi"}], **fields}


def test_the_exact_bytes_of_a_stream(serve: Serve) -> None:
    port = serve(EchoEngine()).port
    body = {"model": "echo", "prompt": "hé", "stream": True}
    with streaming(port, COMPLETIONS, body) as wire:
        version, status, headers = wire.head()
        assert (version, status) == ("HTTP/1.1", 200)
        assert headers["content-type"] == "text/event-stream; charset=utf-8"
        assert headers["cache-control"] == "no-cache"
        assert headers["x-accel-buffering"] == "no"
        assert re.fullmatch(r"\d+", headers["openai-processing-ms"])
        assert headers["x-request-id"]
        assert headers["transfer-encoding"] == "chunked"
        data = b"".join(wire.chunks())
    blocks = data.split(b"\n\n")
    assert blocks[-2:] == [b"data: [DONE]", b""]
    for block in blocks[:-2]:
        assert re.fullmatch(rb"data: \{.*\}", block) and b"\n" not in block
    assert [json.loads(block[6:])["choices"][0]["text"] for block in blocks[:-2]] == ["h", "é", ""]


def test_events_arrive_one_by_one_and_not_at_the_end(serve: Serve) -> None:
    engine = PacedEngine(["one", "two"])
    engine.gate.clear()
    port = serve(engine).port
    with streaming(port, COMPLETIONS, {"model": "paced", "prompt": "x", "stream": True}) as wire:
        assert engine.wait_for_active(1)
        engine.gate.set()
        wire.head()
        first = next(wire.chunks())
        assert first.count(b"data: ") == 1 and first.endswith(b"\n\n")
        rest = first + b"".join(wire.chunks())
    assert_chunks(sse_chunks(rest), usage=False)


@pytest.mark.parametrize("usage", [None, False, True])
@pytest.mark.parametrize("path", [COMPLETIONS, CHAT])
def test_usage_in_a_stream_is_there_when_asked_and_only_then(
    serve: Serve, path: str, usage: bool | None
) -> None:
    port = serve(EchoEngine()).port
    body = chat("echo", stream=True) if path == CHAT else {
        "model": "echo", "prompt": ["ab", "c"], "n": 2, "stream": True
    }  # fmt: skip
    if usage is not None:
        body["stream_options"] = {"include_usage": usage}
    data = ask(port, "POST", path, body).body
    assert_chunks(sse_chunks(data), usage=bool(usage))
    assert (b'"usage":null' in data) is bool(usage)


@pytest.mark.parametrize(
    "id", ["abc", "req_0123", "a-b.c:d/e+f=", "x" * 128, "3fa85f64-5717-4562-b3fc-2c963f66afa6"]
)
def test_a_sane_request_id_comes_back(serve: Serve, id: str) -> None:
    port = serve(EchoEngine()).port
    for path in ("/v1/models", "/nowhere"):
        assert ask(port, "GET", path, x_request_id=id).headers["x-request-id"] == id


@pytest.mark.parametrize(
    "id", ["", "x" * 129, "x" * 10_000, "a b", "a\tb", "<script>", "é", "a,b", '"', "a\x7fb", "a;b"]
)
def test_any_other_request_id_is_replaced(serve: Serve, id: str) -> None:
    port = serve(EchoEngine()).port
    given = ask(port, "GET", "/v1/models", x_request_id=id).headers["x-request-id"]
    assert given != id and re.fullmatch(r"[A-Za-z0-9._:/+=-]{8,128}", given)


def test_a_request_id_cannot_add_a_header(serve: Serve) -> None:
    port = serve(EchoEngine()).port
    with Wire(port) as wire:
        wire.send(
            b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n"
            b"x-request-id: a\r\n  Set-Cookie: evil=1\r\nConnection: close\r\n\r\n"
        )
        answer = wire.answer()
    assert "set-cookie" not in answer.headers
    assert "evil" not in answer.headers.get("x-request-id", "")


def test_every_answer_has_an_id_and_its_time(serve: Serve) -> None:
    port = serve(EchoEngine()).port
    for method, path, body in (
        ("GET", "/", None),
        ("GET", "/health", None),
        ("GET", "/v1/models", None),
        ("GET", "/nowhere", None),
        ("DELETE", "/v1/models", None),
        ("OPTIONS", "/v1/models", None),
        ("POST", CHAT, {}),
        ("POST", CHAT, chat("echo")),
        ("POST", CHAT, chat("echo", stream=True)),
    ):
        headers = ask(port, method, path, body).headers
        assert headers["x-request-id"], (method, path)
        assert re.fullmatch(r"\d+", headers["openai-processing-ms"]), (method, path)


def test_ids_are_different(serve: Serve) -> None:
    port = serve(EchoEngine()).port
    assert len({ask(port, "GET", "/health").headers["x-request-id"] for _ in range(10)}) == 10


@pytest.mark.parametrize("path", [COMPLETIONS, CHAT])
def test_comments_keep_a_silent_stream_open(serve: Serve, path: str) -> None:
    engine = PacedEngine(["late"])
    engine.gate.clear()
    port = serve(engine, keep_alive=0.1).port
    body = chat(stream=True) if path == CHAT else {"model": "paced", "prompt": "x", "stream": True}
    with streaming(port, path, body) as wire:
        assert wire.head()[1] == 200
        chunks = wire.chunks()
        early = [next(chunks) for _ in range(3)]
        assert all(re.fullmatch(rb"(:[^\n]*\n\n)+", chunk) for chunk in early), early
        engine.gate.set()
        rest = b"".join(early) + b"".join(chunks)
    assert_chunks(sse_chunks(rest), usage=False)


def test_a_long_silence_has_chunks_without_text(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that reads a long prompt's stream may give up when only comments come."""
    monkeypatch.setattr(chat_endpoint, "SILENCE_S", 0.01)
    engine = PacedEngine(["late"])
    engine.gate.clear()
    port = serve(engine).port
    with streaming(port, CHAT, chat(stream=True, n=2)) as wire:
        wire.head()
        chunks = wire.chunks()
        early = b"".join(next(chunks) for _ in range(3))
        engine.gate.set()
        all_of_them = sse_chunks(early + b"".join(chunks))
    assert_chunks(all_of_them, usage=False)
    choices = [each["choices"][0] for each in all_of_them]
    deltas = [each["delta"] for each in choices]
    assert deltas[:3] == [{"role": "assistant", "content": "", "refusal": None}, {}, {}]
    assert [each["index"] for each in choices if "role" in each["delta"]] == [0, 1]
    assert "".join(each.get("content", "") for each in deltas) == "latelate"


def test_a_stream_that_speaks_gets_no_comments(serve: Serve) -> None:
    engine = PacedEngine(["a"] * 30, pace=0.01)
    port = serve(engine, keep_alive=0.2).port
    data = ask(port, "POST", COMPLETIONS, {"model": "paced", "prompt": "x", "stream": True}).body
    assert not re.search(rb"^:", data, re.MULTILINE)


def test_an_error_before_the_first_token_has_its_status(serve: Serve) -> None:
    port = serve(PacedEngine(fail_after=0)).port
    answer = ask(port, "POST", CHAT, chat(stream=True))
    assert answer.status == 500
    assert "secret" not in str(assert_envelope(answer.json()))


@pytest.mark.parametrize("n", [1, 3])
def test_an_error_after_it_is_the_last_event(serve: Serve, n: int) -> None:
    port = serve(PacedEngine(["a"], endless=True, fail_after=2, parallel=4)).port
    answer = ask(port, "POST", CHAT, chat(stream=True, n=n))
    assert answer.status == 200
    payloads = sse_payloads(answer.body)
    assert "secret" not in str(assert_envelope(json.loads(payloads[-1])))
    assert all("error" not in json.loads(payload) for payload in payloads[:-1])


def test_an_error_of_a_whole_answer(serve: Serve) -> None:
    port = serve(PacedEngine(["a"], endless=True, fail_after=2)).port
    answer = ask(port, "POST", CHAT, chat())
    assert answer.status == 500
    error = assert_envelope(answer.json())
    assert error["type"] == "server_error" and "secret" not in str(error)


def hang_up(wire: Wire, how: str) -> None:
    if how == "reset":
        # Closing with a linger time of 0 sends RST.
        wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    wire.close()


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("speaking", [False, True])
@pytest.mark.parametrize("kept", [False, True])
def test_a_client_that_hangs_up_frees_its_slots(
    serve: Serve, how: str, stream: bool, n: int, speaking: bool, kept: bool
) -> None:
    """While the prompt is read (nothing is said) and while the answer is made, on a new connection and
    on one that was used before."""
    engine = PacedEngine(endless=True, pace=0.01, parallel=4)
    if not speaking:
        engine.gate.clear()
    port = serve(engine).port
    wire = Wire(port)
    if kept:
        wire.request("GET", "/v1/models")
        assert wire.answer().status == 200
    wire.request("POST", CHAT, chat(stream=stream, n=n))
    assert engine.wait_for_active(n)
    if stream and speaking:
        wire.head()
        next(wire.chunks())
    hang_up(wire, how)
    assert engine.wait_for_active(0, SOON)
    engine.gate.set()
    assert ask(port, "POST", CHAT, chat(max_tokens=2)).status == 200


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_hangs_up_in_the_queue_never_runs(serve: Serve, stream: bool) -> None:
    engine = PacedEngine(endless=True, pace=0.01)
    port = serve(engine, queue_limit=1).port
    with streaming(port, CHAT, chat(stream=True)) as running:
        running.head()
        waiting = Wire(port)
        waiting.request("POST", CHAT, chat(stream=stream))
        wait_until(lambda: is_full(port))
        waiting.close()
        # The place in the queue is free again: this one is taken in, and served when its turn comes.
        following = Wire(port)
        wait_until(lambda: accepted(following))
        running.close()
        assert engine.wait_for_active(1)
        assert following.answer().status == 200
        following.close()
    assert engine.started == 2


def is_full(port: int) -> bool:
    """Whether the queue takes no more; a probe that is taken in leaves again."""
    with Wire(port) as probe:
        return not accepted(probe)


def accepted(wire: Wire) -> bool:
    """Whether a request is in the queue; one that is refused answers at once."""
    wire.request("POST", CHAT, chat(max_tokens=1))
    wire.sock.settimeout(0.5)
    try:
        status = wire.answer().status
    except TimeoutError:
        return True
    finally:
        wire.sock.settimeout(10)
    assert status == 429
    return False


def wait_until(condition: Any, timeout: float = 40.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        threading.Event().wait(0.02)


@pytest.mark.parametrize("stream", [False, True])
def test_a_full_queue_says_when_to_come_back(serve: Serve, stream: bool) -> None:
    engine = PacedEngine(endless=True, pace=0.01)
    port = serve(engine, queue_limit=0).port
    with streaming(port, CHAT, chat(stream=True)) as running:
        running.head()
        answer = ask(port, "POST", CHAT, chat(stream=stream))
        assert answer.status == 429
        assert int(answer.headers["retry-after"]) >= 1
        error = assert_envelope(answer.json())
        assert (error["code"], error["type"]) == ("queue_share_exceeded", "requests")
        assert ask(port, "GET", "/health").status == 200


def test_a_slow_reader_holds_up_nobody_else(serve: Serve) -> None:
    engine = PacedEngine(["x" * 20_000], endless=True, parallel=2)
    port = serve(engine).port
    with streaming(port, CHAT, chat(stream=True)) as slow:
        slow.head()
        assert engine.wait_for_active(1)
        for _ in range(3):
            assert ask(port, "POST", CHAT, chat(max_tokens=1)).status == 200
    assert engine.wait_for_active(0, SOON)


def test_connections_are_kept_and_requests_may_be_pipelined(serve: Serve) -> None:
    port = serve(EchoEngine()).port
    with Wire(port) as wire:
        for _ in range(3):
            wire.request("GET", "/v1/models")
            assert wire.answer().status == 200
        for prompt in "abc":
            wire.request("POST", COMPLETIONS, {"model": "echo", "prompt": prompt})
        answers = [wire.answer() for _ in range(3)]
        assert [answer.json()["choices"][0]["text"] for answer in answers] == ["a", "b", "c"]
        wire.request("POST", CHAT, {})
        assert wire.answer().status == 400
        wire.request("GET", "/health")
        assert wire.answer().status == 200


def test_a_client_that_pipelines_and_hangs_up_frees_its_slot(serve: Serve) -> None:
    engine = PacedEngine(endless=True, pace=0.01)
    port = serve(engine).port
    wire = Wire(port)
    for _ in range(3):
        wire.request("POST", CHAT, chat())
    assert engine.wait_for_active(1)
    wire.close()
    assert engine.wait_for_active(0, SOON)
    assert engine.started == 1


def test_http_1_0(serve: Serve) -> None:
    port = serve(EchoEngine()).port
    for stream in (False, True):
        with Wire(port) as wire:
            wire.request("POST", CHAT, chat("echo", stream=stream), version="HTTP/1.0")
            answer = wire.answer()
        assert answer.status == 200
        assert "transfer-encoding" not in answer.headers
        if stream:
            assert_chunks(sse_chunks(answer.body), usage=False)
        else:
            assert answer.json()["object"] == "chat.completion"


def test_a_program_without_a_host_header_is_answered(serve: Serve) -> None:
    """HTTP/1.0 needs no Host, and no browser leaves it out."""
    port = serve(EchoEngine()).port
    with Wire(port) as wire:
        wire.send(b"GET /health HTTP/1.0\r\n\r\n")
        assert wire.answer().status == 200


@pytest.mark.parametrize(
    "sent",
    [
        b"NONSENSE\r\n\r\n",
        b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nBad Header\r\n\r\n",
        b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nA : b\r\n\r\n",
        b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
        b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n",
        b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n"
        b"Content-Length: 2\r\n\r\nab",
        b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"GET /" + b"a" * 300_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 300_000 + b"\r\n\r\n",
    ],
    ids=lambda sent: repr(sent[:40]),
)
def test_broken_http_is_answered_in_the_envelope(serve: Serve, sent: bytes) -> None:
    port = serve(EchoEngine()).port
    with Wire(port) as wire:
        wire.send(sent)
        answer = wire.answer()
    assert 400 <= answer.status < 600
    assert answer.headers["content-type"] == "application/json"
    assert_envelope(answer.json())
    assert answer.headers["x-request-id"], "every answer has one"
    assert ask(port, "GET", "/health").status == 200


def test_a_body_over_the_limit(serve: Serve) -> None:
    port = serve(EchoEngine(), max_body_mb=1).port
    large = json.dumps({"model": "echo", "prompt": "x" * (1 << 20)}).encode()
    fitting = json.dumps({"model": "echo", "prompt": "x" * 4000}).encode()
    for method in ("length", "chunked"):
        with Wire(port) as wire:
            if method == "length":
                wire.request("POST", COMPLETIONS, large)
            else:
                send_chunked(wire, large)
            answer = wire.answer()
            assert answer.status == 413
            error = assert_envelope(answer.json(), status=413)
            assert "1 MiB" in error["message"]
            if answer.headers.get("connection") != "close":
                wire.request("POST", COMPLETIONS, fitting)
                assert wire.answer().status == 200


def test_a_length_beyond_all_bounds_is_refused_before_the_body(serve: Serve) -> None:
    port = serve(EchoEngine(), max_body_mb=1).port
    with Wire(port) as wire:
        wire.request("POST", COMPLETIONS, headers={"Content-Length": str(1 << 45)})
        answer = wire.answer()
    assert answer.status == 413
    assert_envelope(answer.json(), status=413)


def send_chunked(wire: Wire, body: bytes, size: int = 50_000) -> None:
    wire.request(
        "POST",
        COMPLETIONS,
        headers={"Content-Type": "application/json", "Transfer-Encoding": "chunked"},
    )
    for at in range(0, len(body), size):
        part = body[at : at + size]
        wire.send(f"{len(part):x}\r\n".encode() + part + b"\r\n")
    wire.send(b"0\r\n\r\n")


@pytest.mark.parametrize("size", [1, 7, 50_000])
def test_a_chunked_request_body(serve: Serve, size: int) -> None:
    port = serve(EchoEngine()).port
    with Wire(port) as wire:
        send_chunked(wire, json.dumps({"model": "echo", "prompt": "héllo"}).encode(), size)
        assert wire.answer().json()["choices"][0]["text"] == "héllo"


def test_a_body_that_comes_byte_by_byte(serve: Serve) -> None:
    port = serve(EchoEngine()).port
    body = json.dumps({"model": "echo", "prompt": "slow"}).encode()
    with Wire(port) as wire:
        wire.request("POST", COMPLETIONS, headers={"Content-Type": "application/json",
                                                   "Content-Length": str(len(body))})  # fmt: skip
        for at in range(len(body)):
            wire.send(body[at : at + 1])
        assert wire.answer().json()["choices"][0]["text"] == "slow"


def test_a_client_that_waits_for_100_continue(serve: Serve) -> None:
    port = serve(EchoEngine()).port
    body = json.dumps({"model": "echo", "prompt": "polite"}).encode()
    with Wire(port) as wire:
        wire.request("POST", COMPLETIONS, headers={
            "Content-Type": "application/json", "Content-Length": str(len(body)),
            "Expect": "100-continue",
        })  # fmt: skip
        assert wire.until(b"\r\n\r\n").startswith(b"HTTP/1.1 100")
        wire.send(body)
        assert wire.answer().json()["choices"][0]["text"] == "polite"


def test_a_client_that_sends_half_a_body_and_leaves(serve: Serve) -> None:
    engine = PacedEngine()
    port = serve(engine).port
    with Wire(port) as wire:
        wire.request("POST", COMPLETIONS, headers={"Content-Length": "100"})
        wire.send(b'{"model"')
    assert ask(port, "GET", "/health").status == 200
    assert engine.started == 0


def test_head_has_headers_and_no_body(serve: Serve) -> None:
    port = serve(EchoEngine()).port
    with Wire(port) as wire:
        for path in ("/v1/models", "/health", "/"):
            wire.request("HEAD", path)
            answer = wire.answer(method="HEAD")
            assert answer.status == 200 and int(answer.headers["content-length"]) > 0


def test_health_while_loading_and_after(serve: Serve) -> None:
    engine = SwappableEngine()
    port = serve(engine).port
    answer = ask(port, "GET", "/health")
    assert answer.status == 503 and int(answer.headers["retry-after"]) >= 1
    assert assert_envelope(answer.json())["code"] == "model_loading"
    engine.set(EchoEngine())
    assert ask(port, "GET", "/health").status == 200


def test_no_server_software_is_named(serve: Serve) -> None:
    headers = ask(serve(EchoEngine()).port, "GET", "/health").headers
    assert "waitress" not in headers.get("server", "") + headers.get("via", "")


def test_a_client_that_does_not_read_is_hung_up_on_and_its_work_ends(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "openedai")
    engine = PacedEngine(["x" * 100_000], endless=True)
    port = serve(engine, stall_timeout="0.5").port
    body = {"model": "paced", "prompt": "x", "stream": True, "max_tokens": 900}
    with streaming(port, COMPLETIONS, body):
        assert engine.wait_for_active(1)
        assert engine.wait_for_active(0, 10)
    assert "did not read its answer" in caplog.text


def test_a_client_that_reads_slowly_is_not_hung_up_on(serve: Serve) -> None:
    engine = PacedEngine(["x" * 100_000] * 40)
    port = serve(engine, stall_timeout="0.5").port
    body = {"model": "paced", "prompt": "x", "stream": True, "max_tokens": 100}
    with streaming(port, COMPLETIONS, body) as wire:
        wire.head()
        parts = []
        for part in wire.chunks():
            parts.append(part)
            time.sleep(0.02)
    assert b"".join(parts).endswith(b"data: [DONE]\n\n")
