"""Clients that send slowly, read slowly, or do nothing: they hold nothing that others need."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest

from extensions.openai.engines.echo import EchoEngine
from extensions.openai.server.limits import ServerLimits
from extensions.openai.server.server import APIServer
from extensions.openai.server.socket_state import HUNG_UP
from tests.conftest import Serve
from tests.support.paced import PacedEngine
from tests.support.reference import assert_envelope
from tests.support.wire import Answer, Wire, ask, streaming

CHAT = "/v1/chat/completions"
HEAD = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n"


def chat(**fields: Any) -> dict[str, Any]:
    return {"model": "paced", "messages": [{"role": "user", "content": "Hi"}], **fields}


def wait_for(condition: Callable[[], bool], timeout: float = 50.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        threading.Event().wait(0.02)


def connections(server: APIServer) -> int:
    return len(server.connections)


@pytest.mark.parametrize(
    "sent",
    [
        b"G",
        HEAD,
        HEAD + b"Content-Length: 100\r\n\r\n{",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{",
    ],
    ids=["a letter", "half a head", "half a body", "half a chunk"],
)
def test_a_request_that_does_not_come_to_its_end(serve: Serve, sent: bytes) -> None:
    server = serve(EchoEngine(), receive_timeout=0.3)
    with Wire(server.port) as wire:
        wire.send(sent)
        answer = wire.answer()
        assert answer.status == 408
        assert assert_envelope(answer.json())["code"] == "request_too_slow"
        assert wire.rest() == b""
    wait_for(lambda: connections(server) == 0)


def test_dripping_does_not_gain_time(serve: Serve) -> None:
    """Slowloris: a byte now and then."""
    limits = ServerLimits(linger_total=2)
    port = serve(EchoEngine(), limits, receive_timeout=0.5).port
    began = time.monotonic()
    with Wire(port) as wire:
        wire.send(HEAD)
        with pytest.raises(OSError):
            for _ in range(200):
                wire.send(b"X: a\r\n")
                threading.Event().wait(0.1)
    assert time.monotonic() - began < 8


def test_hundreds_that_drip_hold_up_nobody(serve: Serve) -> None:
    server = serve(EchoEngine(), ServerLimits(linger_silence=0.2), receive_timeout=2)
    with ExitStack() as stack:
        wires = [stack.enter_context(Wire(server.port)) for _ in range(200)]
        for wire in wires:
            wire.send(HEAD)
        wait_for(lambda: connections(server) == 200)
        threads = threading.active_count()
        for _ in range(5):
            assert ask(server.port, "GET", "/health").status == 200
        assert threading.active_count() <= threads + 4, "a slow client holds no thread"
        wait_for(lambda: connections(server) == 0, 30)


def test_what_came_fast_gains_no_time(serve: Serve) -> None:
    """A client that sends nearly all of a large body at once, and then a byte now and then."""
    server = serve(EchoEngine(), receive_timeout=0.5)
    with Wire(server.port) as wire:
        wire.send(HEAD + b"Content-Length: 10000000\r\n\r\n" + b"x" * 2_000_000)
        answer: Answer | None = None
        wire.sock.settimeout(0.1)
        for _ in range(150):
            try:
                answer = wire.answer()
                break
            except TimeoutError:
                wire.send(b"x")
    assert answer is not None and answer.status == 408
    wait_for(lambda: connections(server) == 0)


def test_a_slow_body_that_makes_progress_is_served(serve: Serve) -> None:
    """At 1,000 bytes a second and more it may take as long as it needs."""
    port = serve(EchoEngine(), receive_timeout=0.3).port
    body = b'{"model":"echo","prompt":"' + b"x" * 7000 + b'"}'
    with Wire(port) as wire:
        wire.request("POST", "/v1/completions", headers={"Content-Length": str(len(body))})
        for at in range(0, len(body), 1000):
            wire.send(body[at : at + 1000])
            threading.Event().wait(0.15)
        assert wire.answer().status == 200


def test_a_kept_connection_is_not_taken_for_a_slow_one(serve: Serve) -> None:
    port = serve(EchoEngine(), receive_timeout=0.2).port
    with Wire(port) as wire:
        for _ in range(3):
            wire.request("GET", "/health")
            assert wire.answer().status == 200
            threading.Event().wait(0.6)


def test_time_that_an_answer_takes_is_not_the_next_requests_fault(serve: Serve) -> None:
    port = serve(PacedEngine(["a"] * 60, pace=0.02), receive_timeout=0.5).port
    with Wire(port) as wire:
        wire.request("POST", CHAT, chat())
        wire.send(b"GET /health HTTP/1.1\r\n")
        assert wire.answer().status == 200
        wire.send(b"Host: localhost\r\n\r\n")
        assert wire.answer().status == 200


def test_idle_connections_are_closed(serve: Serve) -> None:
    server = serve(EchoEngine(), ServerLimits(idle_connection=0.3))
    with Wire(server.port) as silent, Wire(server.port) as breaking, Wire(server.port) as used:
        used.request("GET", "/health")
        assert used.answer().status == 200
        breaking.send(b"\r\n\r\n")
        for wire in (silent, breaking, used):
            assert wire.rest() == b""


def test_in_a_crowd_idle_connections_make_room(serve: Serve) -> None:
    """More connections than there may be: the oldest idle ones are closed, and others are served."""
    engine = PacedEngine(endless=True, pace=0.01)
    server = serve(engine, ServerLimits(connections=60))
    with ExitStack() as stack:
        stream = stack.enter_context(Wire(server.port))
        stream.request("POST", CHAT, chat(stream=True))
        assert engine.wait_for_active(1)
        wires = [stack.enter_context(Wire(server.port)) for _ in range(100)]
        for wire in wires[:30]:
            wire.send(HEAD)
        assert ask(server.port, "GET", "/health").status == 200
        wait_for(lambda: connections(server) <= 46)
        assert engine.wait_for_active(1), "who is being answered is not idle"


def test_a_reader_that_trickles_is_hung_up_on(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    """A byte now and then is no reading; it would hold its slot for days."""
    caplog.set_level("INFO", "openedai")
    engine = PacedEngine(["x" * 100_000], endless=True)
    port = serve(engine, stall_timeout=1).port
    with streaming(port, CHAT, chat(stream=True)) as wire:
        assert engine.wait_for_active(1)
        with pytest.raises(OSError):
            for _ in range(600):
                if not wire.sock.recv(10):
                    raise ConnectionResetError
                threading.Event().wait(0.05)
                if engine.wait_for_active(0, 0.01):
                    raise ConnectionResetError
    assert engine.wait_for_active(0)
    assert "did not read its answer" in caplog.text


def test_the_memory_of_a_slow_reader_is_bounded_and_others_are_served(serve: Serve) -> None:
    engine = PacedEngine(["x" * 20_000], endless=True, parallel=3)
    server = serve(engine)
    with (
        streaming(server.port, CHAT, chat(stream=True)),
        streaming(server.port, CHAT, chat(stream=True, n=1)),
    ):
        assert engine.wait_for_active(2)
        for _ in range(5):
            assert ask(server.port, "POST", CHAT, chat(max_tokens=1)).status == 200

        def most() -> int:
            return max(each.total_outbufs_len for each in server.connections)

        wait_for(lambda: most() > 1 << 20)
        threading.Event().wait(0.5)  # in which the engine would say a hundred times as much
        assert most() < 1.2 * (1 << 20)


def test_a_clock_that_is_set_cuts_nobody_off(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that is complete here and still on its way, a body that has come by half."""
    engine = PacedEngine(["x" * 12_000_000])
    server = serve(engine)
    body = b'{"model":"paced","prompt":"a","max_tokens":1}'
    with Wire(server.port) as reading, Wire(server.port) as sending:
        reading.request("POST", CHAT, chat(max_tokens=1))
        sending.request("POST", "/v1/completions", headers={"Content-Length": str(len(body))})
        sending.send(body[:10])
        wait_for(lambda: engine.wait_for_active(0, 0.01) and engine.started == 1)
        wait_for(lambda: any(c.total_outbufs_len and not c.requests for c in server.connections))
        now = time.time()
        monkeypatch.setattr(time, "time", lambda: now + 86400)
        for listener in server.listeners:
            listener.next_channel_cleanup = 0  # waitress looks every 30 seconds
        assert ask(server.port, "GET", "/health").status == 200
        threading.Event().wait(0.2)
        assert len(reading.answer().body) > 12_000_000
        sending.send(body[10:])
        assert sending.answer().status == 200


@pytest.mark.parametrize("how", ["many requests", "unread answer"])
def test_a_client_that_the_server_does_not_listen_to_is_seen_leaving(
    serve: Serve, how: str
) -> None:
    """waitress stops reading from a client with 64 requests ahead, or with unread responses."""
    if not HUNG_UP:
        pytest.skip("this system does not tell")
    words = ["x" * 100_000] if how == "unread answer" else ["x"]
    engine = PacedEngine(words, endless=True, pace=0.01)
    port = serve(engine).port
    with Wire(port) as wire:
        if how == "many requests":
            for _ in range(100):
                wire.request("POST", CHAT, chat())
        else:
            wire.request("POST", CHAT, chat(stream=True))
        assert engine.wait_for_active(1)
        threading.Event().wait(0.5)
        wire.sock.shutdown(socket.SHUT_WR)
        assert engine.wait_for_active(0)
    assert engine.started == 1
