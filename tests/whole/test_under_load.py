"""Many clients at once: floods, storms of clients that leave, stopping under load, and what is left after."""

from __future__ import annotations

import gc
import json
import random
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from extensions.openai.engines.echo import EchoEngine
from extensions.openai.observability import record
from extensions.openai.server import worker_pool
from extensions.openai.server.limits import ServerLimits
from extensions.openai.server.server import APIServer
from extensions.openai.settings import Settings
from extensions.openai.web.app import create_app
from extensions.openai.web.services import Services
from tests.support.paced import PacedEngine
from tests.support.process import ServerProcess
from tests.support.reference import assert_chunks, assert_envelope, sse_chunks, sse_payloads
from tests.support.wire import Answer, Wire, ask

CHAT = "/v1/chat/completions"
PATIENCE = 50.0  # seconds; this machine may be busy


def chat(**fields: Any) -> dict[str, Any]:
    return {"model": "paced", "messages": [{"role": "user", "content": "Hi"}], **fields}


def wait_for(condition: Callable[[], bool], timeout: float = 50.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        threading.Event().wait(0.02)


def answer_of(port: int, body: Any, **headers: str) -> Answer:
    with Wire(port) as wire:
        wire.sock.settimeout(PATIENCE)
        wire.request("POST", CHAT, body, headers)
        return wire.answer()


class Running:
    """A server in this process, and what it holds."""

    def __init__(self, engine: Any, **options: Any) -> None:
        self.engine = engine
        settings = Settings(**{"api_port": 0, "drain_timeout": 0.2, **options})
        app: Flask = create_app(settings, engine)
        self.services: Services = app.extensions["openai"]
        self.server = APIServer(app, settings, ServerLimits(idle_thread=0.2))
        self.server.start()
        self.port = self.server.port

    def connections(self) -> int:
        return len(self.server.connections)

    def is_at_rest(self) -> bool:
        """Nothing is held for anybody: no slot, place, job, connection or thread beyond those kept."""
        state = self.services.scheduler.state()
        return (
            (state.running, state.waiting, dict(state.callers)) == (0, 0, {})
            and not self.services.active_requests.matching(lambda job: True)
            and self.connections() == 0
            and self.server.threads <= worker_pool.MIN_THREADS
        )


@pytest.fixture
def running() -> Any:
    started: list[Running] = []

    def start(engine: Any, **options: Any) -> Running:
        started.append(Running(engine, **options))
        return started[-1]

    yield start
    for each in started:
        each.server.stop(5)


def test_a_flood_of_200_streams_is_answered_and_small_pages_with_it(running: Any) -> None:
    engine = PacedEngine(["a", "b", "c"], pace=0.002, parallel=4)
    server = running(engine)
    engine.gate.clear()
    with ThreadPoolExecutor(200) as pool:
        answers = [pool.submit(answer_of, server.port, chat(stream=True)) for _ in range(200)]
        wait_for(lambda: server.services.scheduler.state().waiting == 196)
        for path in ("/health", "/v1/models", "/v1/internal/queue"):
            began = time.monotonic()
            assert ask(server.port, "GET", path).status == 200
            assert time.monotonic() - began < 50
        engine.gate.set()
        for each in answers:
            answer = each.result(PATIENCE)
            assert answer.status == 200
            assert_chunks(sse_chunks(answer.body), usage=False)
    assert engine.started == 200 and engine.most_active <= 4
    wait_for(server.is_at_rest)


@pytest.mark.parametrize("stream", [False, True])
def test_a_flood_beyond_the_queue_is_answered_or_refused(running: Any, stream: bool) -> None:
    engine = PacedEngine(["a", "b", "c"], pace=0.002, parallel=2)
    server = running(engine, queue_limit=20)
    engine.gate.clear()
    with ThreadPoolExecutor(120) as pool:
        answers = [pool.submit(answer_of, server.port, chat(stream=stream)) for _ in range(120)]
        wait_for(lambda: sum(each.done() for each in answers) >= 98)
        engine.gate.set()
        counts: Counter[int] = Counter()
        for each in answers:
            answer = each.result(PATIENCE)
            counts[answer.status] += 1
            if answer.status != 200:
                assert 1 <= int(answer.headers["retry-after"]) <= 60
                assert assert_envelope(answer.json())["code"] == "queue_share_exceeded"
    assert counts == {200: 22, 429: 98}
    wait_for(server.is_at_rest)


@pytest.mark.parametrize("how", ["FIN", "RST"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_storm_of_clients_that_leave_frees_everything(
    running: Any, how: str, stream: bool
) -> None:
    engine = PacedEngine(endless=True, pace=0.005, parallel=8)
    server = running(engine)
    wires = [Wire(server.port) for _ in range(64)]
    for wire in wires:
        wire.request("POST", CHAT, chat(stream=stream))
    wait_for(lambda: server.services.scheduler.state().waiting == 56)
    for wire in wires:
        if how == "RST":
            wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        wire.close()
    assert engine.wait_for_active(0, 20)
    wait_for(server.is_at_rest)
    assert ask(server.port, "POST", CHAT, chat(max_tokens=1)).status == 200


def test_who_leaves_while_waiting_never_reaches_the_engine(running: Any) -> None:
    engine = PacedEngine(endless=True, pace=0.005)
    server = running(engine)
    first = Wire(server.port)
    first.request("POST", CHAT, chat(stream=True))
    assert engine.wait_for_active(1)
    others = [Wire(server.port) for _ in range(32)]
    for wire in others:
        wire.request("POST", CHAT, chat(stream=True))
    wait_for(lambda: server.services.scheduler.state().waiting == 32)
    for wire in (*others, first):
        wire.close()
    wait_for(server.is_at_rest)
    assert engine.started == 1


def test_a_key_with_short_requests_is_not_held_up_by_one_that_floods(running: Any) -> None:
    """No client waits for more than the answers that run already."""
    engine = PacedEngine(["a"] * 20, pace=0.005, parallel=2)
    server = running(engine, api_key="flood", admin_key="short", spare_seconds=0)
    stop = threading.Event()

    def flood() -> None:
        while not stop.is_set():
            answer_of(server.port, chat(), authorization="Bearer flood")

    threads = [threading.Thread(target=flood) for _ in range(24)]
    for thread in threads:
        thread.start()
    try:
        wait_for(lambda: server.services.scheduler.state().waiting >= 20)
        begun = engine.started
        for at in range(5):
            answer = answer_of(server.port, chat(max_tokens=1), authorization="Bearer short")
            assert answer.status == 200
            # One of the flood's for each slot, one for the turn, and the short one itself.
            assert engine.started - begun <= (at + 1) * 5
    finally:
        stop.set()
        for thread in threads:
            thread.join(PATIENCE)


MIXED = (
    "whole", "stream", "several", "too much", "not json", "no endpoint", "no http", "hung up", "reset",
    "half a body", "models", "queue", "pipelined",
)  # fmt: skip


def one_of(port: int, kind: str) -> None:
    """A request of some kind, and what must come of it."""
    with Wire(port) as wire:
        wire.sock.settimeout(PATIENCE)
        if kind in ("whole", "stream", "several", "too much", "hung up", "reset", "pipelined"):
            fields: dict[str, Any] = {"stream": kind in ("stream", "hung up")}
            if kind == "several":
                fields["n"] = 3
            if kind == "too much":
                fields["n"] = 1000
            for _ in range(3 if kind == "pipelined" else 1):
                wire.request("POST", CHAT, chat(**fields))
            if kind == "hung up":
                return
            if kind == "reset":
                wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                return
            for _ in range(3 if kind == "pipelined" else 1):
                answer = wire.answer()
                assert answer.status == (400 if kind == "too much" else 200)
                if kind == "stream":
                    assert_chunks(sse_chunks(answer.body), usage=False)
        elif kind == "not json":
            wire.request("POST", CHAT, b'{"model": ')
            assert wire.answer().status == 400
        elif kind == "no endpoint":
            wire.request("GET", "/v1/nowhere")
            assert wire.answer(method="GET").status == 404
        elif kind == "no http":
            wire.send(b"\x00\x01\x02\r\n\r\n")
            assert wire.answer().status == 400
        elif kind == "half a body":
            wire.request("POST", CHAT, headers={"Content-Length": "100"})
        else:
            wire.request("GET", "/v1/models" if kind == "models" else "/v1/internal/queue")
            assert wire.answer(method="GET").status == 200


def test_mixed_requests_leave_nothing_behind(running: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        record, "RECENT", 50
    )  # that are shown to the operator: full before the count
    server = running(PacedEngine(pace=0.001, parallel=3))
    kinds = [MIXED[at % len(MIXED)] for at in range(390)]
    random.Random(1).shuffle(kinds)
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda kind: one_of(server.port, kind), kinds[:130]))
        wait_for(server.is_at_rest)
        gc.collect()
        before = len(gc.get_objects())
        list(pool.map(lambda kind: one_of(server.port, kind), kinds[130:]))
    wait_for(server.is_at_rest)
    gc.collect()
    assert len(gc.get_objects()) < before + 500, "260 requests left something each"


# Stopping.


def test_stopping_sends_away_who_waits_and_lets_end_what_runs() -> None:
    engine = PacedEngine(["a"] * 30, pace=0.02, parallel=2)
    server = Running(engine, drain_timeout=5)
    with ThreadPoolExecutor(34) as pool:
        running = [pool.submit(answer_of, server.port, chat(stream=True)) for _ in range(2)]
        assert engine.wait_for_active(2)
        waiting = [
            pool.submit(answer_of, server.port, chat(stream=at % 2 == 0)) for at in range(32)
        ]
        wait_for(lambda: server.services.scheduler.state().waiting == 32)
        server.server.stop(9)
        for each in running:
            assert sse_payloads(each.result(PATIENCE).body)[-1] == "[DONE]"
        for each in waiting:
            answer = each.result(PATIENCE)
            assert answer.status == 503 and int(answer.headers["retry-after"]) >= 1
            assert assert_envelope(answer.json())["code"] == "shutting_down"
    assert engine.started == 2


@pytest.mark.parametrize("number", [signal.SIGTERM])
def test_sigterm_under_64_streams_loses_nothing(number: signal.Signals, random_model: Path) -> None:
    """Some run, some wait with their stream open, some have just come: each gets a last word."""
    process = ServerProcess(
        *("--model", str(random_model), "--parallel", "8", "--threads", "1"),
        *("--drain-timeout", "0.5", "--keep-alive", "0.3"),
    )
    try:
        process.wait_until_ready()
        body = {
            "model": process.model,
            "prompt": "Hello",
            "stream": True,
            "max_tokens": 2000,
            "ignore_eos": True,
        }
        wires = [Wire(process.port) for _ in range(64)]
        for at, wire in enumerate(wires):
            wire.sock.settimeout(PATIENCE)
            wire.request("POST", "/v1/completions", {**body, "stream": at % 4 != 3, "n": 64})
        wait_for(
            lambda: ask(process.port, "GET", "/v1/internal/queue").json()["requests_waiting"] > 40
        )
        threading.Event().wait(0.5)
        began = time.monotonic()
        process.signal(number)
        with ThreadPoolExecutor(64) as pool:
            answers = list(pool.map(lambda wire: wire.answer(), wires))
        assert process.wait(11 - (time.monotonic() - began)) == 0, process.output
        for answer in answers:
            if answer.headers["content-type"].startswith("text/event-stream"):
                payload = sse_payloads(answer.body)[-1]
                assert assert_envelope(json.loads(payload))["code"] == "shutting_down"
            else:
                assert answer.status == 503 and int(answer.headers["retry-after"]) >= 1
                assert assert_envelope(answer.json())["code"] == "shutting_down"
        assert "Traceback" not in process.output
        for wire in wires:
            wire.close()
    finally:
        process.stop()


def test_a_server_that_was_stopped_leaves_no_thread() -> None:
    before = set(threading.enumerate())
    server = Running(EchoEngine(), usage_days=0)  # which has a thread that ends a little later
    for _ in range(5):
        assert ask(server.port, "POST", CHAT, {**chat(), "model": "echo"}).status == 200
    server.server.stop(5)
    wait_for(lambda: {t for t in threading.enumerate() if t not in before} == set())
