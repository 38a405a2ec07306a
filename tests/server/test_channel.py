"""Connections that stay open for the next request, after streams too, and those that must not."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from extensions.openai.engines.echo import EchoEngine
from tests.conftest import Serve
from tests.support.paced import PacedEngine
from tests.support.reference import assert_chunks, sse_chunks
from tests.support.wire import Wire

COMPLETIONS, CHAT = "/v1/completions", "/v1/chat/completions"


def body(prompt: str = "hey", **fields: Any) -> dict[str, Any]:
    return {"model": "echo", "prompt": prompt, **fields}


def output(data: bytes) -> str:
    return "".join(chunk["choices"][0]["text"] for chunk in sse_chunks(data))


def test_a_stream_leaves_its_connection_open(serve: Serve) -> None:
    with Wire(serve(EchoEngine()).port) as wire:
        for number in range(30):
            wire.request("POST", COMPLETIONS, body(f"nr {number}", stream=number % 3 != 0))
            answer = wire.answer()
            assert "connection" not in answer.headers
            if number % 3:
                assert answer.headers["transfer-encoding"] == "chunked"
                assert "content-length" not in answer.headers
                assert output(answer.body) == f"nr {number}"
            else:
                assert answer.json()["choices"][0]["text"] == f"nr {number}"


@pytest.mark.parametrize("wish", ["close", "Close", "TE, close"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_wants_it_closed(serve: Serve, wish: str, stream: bool) -> None:
    with Wire(serve(EchoEngine()).port) as wire:
        wire.request("POST", COMPLETIONS, body(stream=stream), {"Connection": wish})
        answer = wire.answer()
        assert answer.status == 200 and answer.headers["connection"] == "close"
        assert wire.rest() == b""


@pytest.mark.parametrize("wish", ["", "keep-alive", "Keep-Alive, TE"])
def test_before_http_1_1_only_answers_with_a_length_keep_it(serve: Serve, wish: str) -> None:
    port = serve(EchoEngine()).port
    wishes = {"Connection": wish} if wish else {}
    with Wire(port) as wire:
        wire.request("POST", COMPLETIONS, body(stream=True), wishes, version="HTTP/1.0")
        answer = wire.answer()  # up to the end of the connection
        assert answer.headers["connection"] == "close"
        assert "transfer-encoding" not in answer.headers
        assert output(answer.body) == "hey" and answer.body.endswith(b"data: [DONE]\n\n")
    with Wire(port) as wire:
        wire.request("POST", COMPLETIONS, body(), wishes, version="HTTP/1.0")
        answer = wire.answer()
        assert answer.json()["choices"][0]["text"] == "hey"
        assert answer.headers["connection"].lower() == ("keep-alive" if wish else "close")
        if wish:
            wire.request("GET", "/health", headers=wishes, version="HTTP/1.0")
            assert wire.answer().status == 200
        else:
            assert wire.rest() == b""


def test_head_has_no_body_and_what_follows_is_answered(serve: Serve) -> None:
    with Wire(serve(EchoEngine()).port) as wire:
        for path in ("/v1/models", "/docs", "/v1/openapi.json", "/nowhere"):
            for _ in range(2):
                wire.request("HEAD", path)
                head = wire.answer(method="HEAD")
                assert "transfer-encoding" not in head.headers
            wire.request("GET", "/health")
            assert wire.answer().json()


def test_requests_that_are_sent_ahead_are_answered_in_their_order(serve: Serve) -> None:
    with Wire(serve(EchoEngine()).port) as wire:
        for round in range(3):
            for number in range(12):
                wire.request("POST", COMPLETIONS, body(f"{round} {number}", stream=number % 2 == 0))
                wire.request("GET", "/health")
            for number in range(12):
                answer = wire.answer()
                text = (
                    output(answer.body) if number % 2 == 0 else answer.json()["choices"][0]["text"]
                )
                assert text == f"{round} {number}"
                assert wire.answer().status == 200


def test_a_request_that_comes_in_parts_after_another(serve: Serve) -> None:
    """Its first bytes in one packet with the end of the one before, the rest byte by byte."""
    with Wire(serve(EchoEngine()).port) as wire:
        data = b'{"model":"echo","prompt":"hey"}'
        head = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
        whole = head % len(data) + data
        wire.send(whole + whole[:40])
        assert wire.answer().status == 200
        for at in range(40, len(whole), 7):
            wire.send(whole[at : at + 7])
            if at % 5 == 0:
                threading.Event().wait(0.002)
        assert wire.answer().json()["choices"][0]["text"] == "hey"


def test_an_error_in_a_stream_keeps_the_framing(serve: Serve) -> None:
    engine = PacedEngine(["one", "two"], fail_after=1)
    with Wire(serve(engine).port) as wire:
        for _ in range(2):
            wire.request("POST", COMPLETIONS, {**body(stream=True), "model": "paced"})
            answer = wire.answer()
            assert answer.status == 200 and b'"error"' in answer.body
            assert b"secret" not in answer.body
        wire.request("GET", "/health")
        assert wire.answer().status == 200


def test_a_refusal_keeps_it_open(serve: Serve) -> None:
    with Wire(serve(EchoEngine()).port) as wire:
        for stream in (True, False):
            wire.request("POST", COMPLETIONS, body(temperature="warm", stream=stream))
            assert wire.answer().status == 400
        wire.request("POST", COMPLETIONS, body())
        assert wire.answer().status == 200


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_asks_whether_to_go_on(serve: Serve, stream: bool) -> None:
    data = b'{"model":"echo","prompt":"hey","stream":%s}' % (b"true" if stream else b"false")
    with Wire(serve(EchoEngine()).port) as wire:
        for _ in range(3):
            length = str(len(data))
            wire.request(
                "POST", COMPLETIONS, headers={"Content-Length": length, "Expect": "100-continue"}
            )
            assert wire.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            wire.send(data)
            answer = wire.answer()
            assert answer.status == 200
            assert b"hey" in answer.body or output(answer.body) == "hey"


def test_what_two_threads_send_is_sent_once(serve: Serve) -> None:
    """The loop flushes what is written, and so does a thread that has found the key to be right."""
    server = serve(EchoEngine())
    with Wire(server.port) as wire:
        wire.request("GET", "/health")
        assert wire.answer().status == 200
        (channel,) = server.connections
        loop = threading.Thread(target=channel.handle_write, daemon=True)
        with channel.outbuf_lock:
            loop.start()
            loop.join(0.1)
            assert loop.is_alive(), "it flushes what another thread is about to"
        loop.join(50)
        assert not loop.is_alive()


def test_a_stop_lets_the_stream_end_and_closes_what_was_kept(serve: Serve) -> None:
    engine = PacedEngine(["one", "two"])
    server = serve(engine, drain_timeout=10)
    with Wire(server.port) as wire, Wire(server.port) as kept:
        for each in (wire, kept):
            each.request("POST", COMPLETIONS, {**body(stream=True), "model": "paced"})
            assert_chunks(sse_chunks(each.answer().body), usage=False)
        engine.gate.clear()
        wire.request("POST", COMPLETIONS, {**body(stream=True), "model": "paced"})
        assert engine.wait_for_active(1)
        stopping = threading.Thread(target=server.stop, args=(15,))
        stopping.start()
        engine.gate.set()
        assert_chunks(sse_chunks(wire.answer().body), usage=False)
        assert wire.rest() == b"" and kept.rest() == b""
        stopping.join(15)
        assert not stopping.is_alive()


@pytest.mark.parametrize("after", [0, 3])
def test_a_client_that_leaves_in_the_middle_of_its_stream(serve: Serve, after: int) -> None:
    """The first request on a connection, and one after others."""
    engine = PacedEngine(endless=True, pace=0.01)
    with Wire(serve(engine).port) as wire:
        for _ in range(after):
            wire.request("POST", COMPLETIONS, {**body(stream=True, max_tokens=2), "model": "paced"})
            assert wire.answer().status == 200
        wire.request("POST", COMPLETIONS, {**body(stream=True, max_tokens=900), "model": "paced"})
        assert engine.wait_for_active(1)
        wire.until(b"data: ")
    assert engine.wait_for_active(0)


@pytest.mark.parametrize("after", [0, 3])
def test_a_client_that_leaves_while_nothing_comes(serve: Serve, after: int) -> None:
    engine = PacedEngine(["one"])
    with Wire(serve(engine).port) as wire:
        for _ in range(after):
            wire.request("POST", COMPLETIONS, {**body(), "model": "paced"})
            assert wire.answer().status == 200
        engine.gate.clear()
        wire.request("POST", COMPLETIONS, {**body(stream=True), "model": "paced"})
        assert engine.wait_for_active(1)
    assert engine.wait_for_active(0), "the gate stayed closed"


@pytest.mark.parametrize("pause", [0.0, 0.005, 0.03])
def test_quick_and_slow_requests_on_one_connection(serve: Serve, pause: float) -> None:
    """A thread stays with a client that asks at once, and gives the connection back when it does not."""
    server = serve(EchoEngine())
    with Wire(server.port) as wire, Wire(server.port) as other:
        for number in range(12):
            wire.request("POST", COMPLETIONS, body(f"nr {number}"))
            assert wire.answer().json()["choices"][0]["text"] == f"nr {number}"
            if number % 4 == 3:
                threading.Event().wait(pause)
            if number % 3 == 0:
                other.request("GET", "/health")
                assert other.answer().status == 200
    assert server.threads <= 4


def test_half_a_request_of_a_quick_client(serve: Serve) -> None:
    """It begins at once and then takes its time: longer than any thread stays for it."""
    data = b'{"model":"echo","prompt":"hey"}'
    with Wire(serve(EchoEngine()).port) as wire:
        for number in range(6):
            wire.request("POST", COMPLETIONS, headers={"Content-Length": str(len(data))})
            for part in (data[:9], data[9:]):
                if number > 2:
                    threading.Event().wait(0.03)
                wire.send(part)
            assert wire.answer().json()["choices"][0]["text"] == "hey"


def test_many_quick_clients_at_once(serve: Serve) -> None:
    """More clients than threads: none starves."""
    server = serve(PacedEngine(["one"], parallel=1), queue_limit=1, http_threads=4)
    wrong: list[object] = []

    def ask_often(name: int) -> None:
        with Wire(server.port) as wire:
            for number in range(25):
                wire.request("GET", f"/v1/models/nr-{name}-{number}")
                answer = wire.answer()
                if (
                    answer.status != 404
                    or f"nr-{name}-{number}" not in answer.json()["error"]["message"]
                ):
                    wrong.append(answer)

    clients = [threading.Thread(target=ask_often, args=(name,)) for name in range(10)]
    for client in clients:
        client.start()
    for client in clients:
        client.join(30)
    assert not wrong and not any(client.is_alive() for client in clients)
    assert server.threads <= 6


def test_a_quick_client_that_leaves_lets_its_connection_go(serve: Serve) -> None:
    server = serve(EchoEngine())
    with Wire(server.port) as wire:
        for _ in range(5):
            wire.request("POST", COMPLETIONS, body())
            assert wire.answer().status == 200
    for _ in range(200):
        if not server.connections:
            break
        threading.Event().wait(0.02)
    assert not server.connections
