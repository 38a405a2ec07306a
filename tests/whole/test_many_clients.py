"""Many clients of the whole program, with its model: what they hold while they wait, and when they leave."""

from __future__ import annotations

import re
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Serve
from tests.support.paced import PacedEngine
from tests.support.process import ServerProcess
from tests.support.reference import assert_envelope
from tests.support.wire import Wire, ask

CHAT, QUEUE = "/v1/chat/completions", "/v1/internal/queue"
RESET = b"\1\0\0\0\0\0\0\0"  # a linger time of 0: closing sends RST


def long_answer(server: ServerProcess, **fields: Any) -> dict[str, Any]:
    message = {"role": "user", "content": "Tell me a story."}
    return {
        "model": server.model,
        "messages": [message],
        "max_tokens": 3000,
        "ignore_eos": True,
        **fields,
    }


def wait_for(condition: Callable[[], bool], timeout: float = 30.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        threading.Event().wait(0.02)


def queue(port: int) -> Any:
    return ask(port, "GET", QUEUE).json()


def is_idle(port: int) -> bool:
    state = queue(port)
    return (state["running"], state["waiting"], state["requests"]) == (0, 0, [])


def metric(port: int, name: str) -> float:
    page = ask(port, "GET", "/metrics").body.decode()
    return sum(float(value) for value in re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)$", page, re.M))


@pytest.mark.parametrize("how", ["FIN", "RST"])
@pytest.mark.parametrize("stream", [True, False])
def test_32_that_leave_at_once_cost_no_token_more(
    server: ServerProcess, how: str, stream: bool
) -> None:
    """Four are being answered, the others wait."""
    port = server.port
    wait_for(lambda: is_idle(port))
    left = metric(port, "openedai_cancelled_total")
    wires = [Wire(port) for _ in range(32)]
    for at, wire in enumerate(wires):
        wire.request("POST", CHAT, long_answer(server, stream=stream, user=f"u{at}"))
    wait_for(lambda: queue(port)["running"] == 4 and queue(port)["waiting"] == 28)
    for wire in wires:
        if how == "RST":
            wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        wire.close()
    wait_for(lambda: is_idle(port))
    wait_for(lambda: metric(port, "openedai_cancelled_total") == left + 32)
    sampled = metric(port, "openedai_completion_tokens_total")
    threading.Event().wait(0.3)
    assert is_idle(port) and metric(port, "openedai_completion_tokens_total") == sampled
    short = ask(port, "POST", CHAT, long_answer(server, max_tokens=2))
    assert short.json()["usage"]["completion_tokens"] == 2


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_clients_that_wait_cost_little_memory(server: ServerProcess) -> None:
    port = server.port

    def resident() -> int:
        pages = Path(f"/proc/{server.process.pid}/statm").read_text().split()[1]
        return int(pages) * 4096

    wait_for(lambda: is_idle(port))
    with ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(Wire(port)).request("POST", CHAT, long_answer(server, stream=True))
        # Not all four, where others were here just now: slots are spared for those.
        wait_for(lambda: queue(port)["running"] >= 2)
        before = resident()
        for _ in range(100):
            stack.enter_context(Wire(port)).request("POST", CHAT, long_answer(server, stream=True))
        wait_for(lambda: queue(port)["waiting"] >= 90)  # some may have been answered by now
        assert resident() - before < 40 << 20  # 0.4 MiB each
        assert ask(port, "GET", "/health").status == 200
    wait_for(lambda: is_idle(port))


@pytest.mark.parametrize("slots", [8, 3])
def test_prompts_and_choices_take_as_many_slots_as_they_are(serve: Serve, slots: int) -> None:
    engine = PacedEngine(parallel=slots)
    engine.gate.clear()
    port = serve(engine).port
    with Wire(port) as wire:
        asked = {"model": "paced", "prompt": ["a", "b", "c"], "n": 2}
        wire.request("POST", "/v1/completions", asked)
        wait_for(lambda: queue(port)["running"] == min(6, slots))
        engine.gate.set()
        assert len(wire.answer().json()["choices"]) == 6
    assert engine.started == 6 and engine.most_active == min(6, slots)
    wait_for(lambda: is_idle(port))


@pytest.mark.parametrize("stream", [True, False])
def test_a_server_that_is_full_of_others_is_503(serve: Serve, stream: bool) -> None:
    """Each of three has one request here; none of them is to blame."""
    engine = PacedEngine(endless=True)
    engine.gate.clear()
    keys = {"api_key": "one", "admin_key": "two", "password": "the third"}
    port = serve(engine, queue_limit=1, **keys).port
    asked = {"model": "paced", "prompt": "a", "stream": stream}
    with Wire(port) as runs, Wire(port) as waits:
        runs.request("POST", "/v1/completions", asked, {"Authorization": "Bearer one"})
        assert engine.wait_for_active(1)
        waits.request("POST", "/v1/completions", asked, {"Authorization": "Bearer two"})
        wait_for(lambda: ask(port, "GET", QUEUE, Authorization="Bearer two").json()["waiting"] == 1)
        answer = ask(port, "POST", "/v1/completions", asked, Authorization="Bearer the third")
        assert answer.status == 503 and 1 <= int(answer.headers["retry-after"]) <= 60
        assert assert_envelope(answer.json(), status=503)["code"] == "queue_full"
