"""Few open files, or nothing that can be written: others are served, and the log says why."""

from __future__ import annotations

import os
import socket
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from extensions.openai.engines.echo import EchoEngine
from extensions.openai.server import acceptor
from extensions.openai.system import machine
from tests.conftest import Serve
from tests.support.process import ServerProcess
from tests.support.wire import Wire, ask


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the time is read from /proc")
def test_idle_connections_make_room_where_few_files_may_be_open() -> None:
    server = ServerProcess("--loader", "echo", limits="-n 80")
    try:
        server.wait_until_ready()
        with ExitStack() as stack:
            for _ in range(120):
                stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            assert ask(server.port, "GET", "/health").status == 200
            before = cpu_seconds(server.process.pid)
            time.sleep(1.0)
            assert cpu_seconds(server.process.pid) - before < 0.5, "it tries again and again"
        assert server.output.count("only 80 files may be open here") == 1
        assert server.output.count("closing idle ones") == 1
    finally:
        server.stop()


def test_a_system_without_room_is_asked_again_a_little_later(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """`accept` fails as it does when no file can be opened; waitress would try again at once."""
    server = serve(EchoEngine())
    listener = server.listeners[0]
    real, failed = listener.accept, 0

    def fails() -> object:
        nonlocal failed
        failed += 1
        if failed > 3:
            return real()
        raise OSError(next(iter(acceptor.EXHAUSTED)), "Too many open files")

    monkeypatch.setattr(listener, "accept", fails)
    begun = time.monotonic()
    with Wire(server.port) as wire:
        wire.request("GET", "/health")
        assert wire.answer().status == 200
    assert failed == 4 and time.monotonic() - begun > 3 * acceptor.EXHAUSTED_PAUSE_S
    assert caplog.text.count("cannot accept a connection") == 1


def test_the_limit_on_files_is_raised_where_the_system_lets_us(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limits = {"now": (256, 10_000)}

    class Resource:
        RLIMIT_NOFILE, RLIM_INFINITY = 7, -1

        def getrlimit(self, _: int) -> tuple[int, int]:
            return limits["now"]

        def setrlimit(self, _: int, wanted: tuple[int, int]) -> None:
            if wanted[0] > 5000:
                raise ValueError("the kernel's limit")
            limits["now"] = wanted

    monkeypatch.setattr(machine, "resource", Resource())
    assert machine.raise_file_limit(1000) == 1000
    assert limits["now"] == (1000, 10_000)
    limits["now"] = (256, 300)
    assert machine.raise_file_limit(1000) == 300
    limits["now"] = (256, -1)
    assert machine.raise_file_limit(6000) == 256
    limits["now"] = (80, 80)
    assert machine.raise_file_limit(1000) == 80
    monkeypatch.setattr(machine, "resource", None)
    assert machine.raise_file_limit(1000) == machine.DEFAULT_OPEN_FILES


def test_nothing_can_be_written(serve: Serve) -> None:
    """Bodies, answers, usage: with `ulimit -f 0` every write to a file fails."""
    server = ServerProcess("--loader", "echo", "--debug", limits="-f 0")
    try:
        server.wait_until_ready()
        text = "x" * 3_000_000
        for _ in range(3):
            body = {"model": "echo", "prompt": "Hi", "user": text, "max_tokens": 4}
            answer = ask(server.port, "POST", "/v1/completions", body)
            assert answer.status == 200, answer.body
    finally:
        server.stop()
