"""The listening server: addresses, stopping while answers run, and the whole program with signals."""

from __future__ import annotations

import json
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from extensions.openai.engines.echo import EchoEngine
from extensions.openai.server.limits import DEFAULT_LIMITS, ServerLimits
from extensions.openai.server.server import APIServer
from extensions.openai.server.start_error import StartError
from extensions.openai.settings import Settings
from extensions.openai.web.app import create_app
from tests.conftest import Serve
from tests.support.paced import PacedEngine
from tests.support.process import ServerProcess
from tests.support.reference import assert_envelope, sse_payloads
from tests.support.wire import Wire, ask, streaming

CHAT = "/v1/chat/completions"


def chat(model: str, **fields: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "Hi"}], **fields}


def make(limits: ServerLimits = DEFAULT_LIMITS, **options: Any) -> APIServer:
    settings = Settings(**options)
    return APIServer(create_app(settings, EchoEngine()), settings, limits)


def test_port_zero_takes_a_free_one(serve: Serve) -> None:
    server = serve(EchoEngine())
    assert server.port > 0
    assert server.url == f"http://127.0.0.1:{server.port}"
    assert ask(server.port, "GET", "/health").status == 200


def test_the_url_has_the_prefix(serve: Serve) -> None:
    server = serve(EchoEngine(), api_prefix="/custom")
    assert server.url.endswith("/custom")
    assert ask(server.port, "GET", "/custom/health").status == 200
    assert ask(server.port, "GET", "/health").status == 404


def test_a_port_in_use_is_one_clear_line(serve: Serve) -> None:
    port = serve(EchoEngine()).port
    with pytest.raises(StartError) as caught:
        make(api_port=port)
    message = str(caught.value)
    assert str(port) in message and "--api-port" in message and "\n" not in message


def test_an_unknown_address_is_one_clear_line() -> None:
    for host in ("no-such-host.invalid", "203.0.113.77"):
        with pytest.raises(StartError) as caught:
            make(api_port=0, listen_host=host, api_key="k")
        assert host in str(caught.value) and "\n" not in str(caught.value)


def test_ipv6_loopback(serve: Serve) -> None:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    server = serve(EchoEngine(), listen_host="::1")
    assert server.url == f"http://[::1]:{server.port}"
    with Wire(server.port, "::1") as wire:
        wire.request("GET", "/health", headers={"Host": f"[::1]:{server.port}"})
        assert wire.answer().status == 200


def test_a_stopped_port_is_free_at_once() -> None:
    server = make(api_port=0)
    port = server.port
    server.start()
    assert ask(port, "GET", "/health").status == 200
    server.stop(5)
    with pytest.raises(OSError):
        Wire(port)
    again = make(api_port=port)
    again.start()
    assert ask(port, "GET", "/health").status == 200
    again.stop(5)


def test_a_server_without_connections_stops_at_once() -> None:
    took = []
    for _ in range(5):
        server = make(api_port=0)
        server.start()
        assert ask(server.port, "GET", "/health").status == 200
        began = time.monotonic()
        server.stop(5)
        took.append(time.monotonic() - began)
        assert not server.is_running
    # The machine may be busy for a moment, but not each time.
    assert min(took) < 0.1, took


def test_stopping_ends_streams_with_an_event_and_whole_answers_with_503() -> None:
    engine = PacedEngine(endless=True, pace=0.01, parallel=4)
    settings = Settings(api_port=0, drain_timeout=0.1)
    server = APIServer(create_app(settings, engine), settings)
    server.start()
    with (
        streaming(server.port, CHAT, chat("paced", stream=True)) as stream,
        streaming(server.port, CHAT, chat("paced", stream=True, n=2)) as several,
        streaming(server.port, CHAT, chat("paced")) as whole,
    ):
        for wire in (stream, several):
            assert wire.head()[1] == 200
        assert engine.wait_for_active(4)
        server.stop(8)
        for wire in (stream, several):
            payloads = sse_payloads(b"".join(wire.chunks()))
            assert assert_envelope(json.loads(payloads[-1]))["code"] == "shutting_down"
        answer = whole.answer()
        assert answer.status == 503
        assert assert_envelope(answer.json())["code"] == "shutting_down"
    assert engine.wait_for_active(0)


def test_answers_that_end_in_time_are_whole() -> None:
    engine = PacedEngine(["a"] * 20, pace=0.01)
    settings = Settings(api_port=0, drain_timeout=40)
    server = APIServer(create_app(settings, engine), settings)
    server.start()
    with streaming(server.port, CHAT, chat("paced", stream=True)) as stream:
        assert engine.wait_for_active(1)
        began = time.monotonic()
        server.stop(45)
        assert time.monotonic() - began < 40
        stream.head()
        assert sse_payloads(b"".join(stream.chunks()))[-1] == "[DONE]"


def test_while_it_drains_new_requests_are_refused() -> None:
    engine = PacedEngine(endless=True, pace=0.01)
    settings = Settings(api_port=0, drain_timeout=2)
    server = APIServer(create_app(settings, engine), settings)
    server.start()
    with (
        streaming(server.port, CHAT, chat("paced", stream=True)),
        Wire(server.port) as other,
    ):
        assert engine.wait_for_active(1)
        stopping = threading.Thread(target=server.stop, args=(8,))
        stopping.start()
        for _ in range(200):
            other.request("GET", "/health")
            answer = other.answer()
            if answer.status == 503:
                break
            threading.Event().wait(0.005)
        assert answer.status == 503
        assert assert_envelope(answer.json())["code"] == "shutting_down"
    stopping.join(10)
    assert not stopping.is_alive()


def test_who_has_just_connected_is_told_and_not_reset() -> None:
    server = make(ServerLimits(final_request=3.0), api_port=0)
    server.start()
    with ThreadPoolExecutor(1) as pool, Wire(server.port) as early:
        early.request("GET", "/health")
        assert early.answer().status == 200
        stopping = pool.submit(server.stop, 8)
        with pytest.raises(OSError):
            for _ in range(300):  # until nobody listens any more
                socket.create_connection(("127.0.0.1", server.port), timeout=5).close()
                threading.Event().wait(0.01)
        early.request("GET", "/health")
        answer = early.answer()
        assert answer.status == 503
        assert assert_envelope(answer.json())["code"] == "shutting_down"
        early.close()
        stopping.result(20)
    assert not server.is_running


def test_who_waits_at_the_door_is_told_and_not_reset() -> None:
    """Connections that the system has made and the server has not taken in yet."""
    server = make(api_port=0)
    server.start()
    assert ask(server.port, "GET", "/health").status == 200
    for listener in server.listeners:
        looked = threading.Event()
        listener.accepting = False
        trigger: Any = listener.trigger
        trigger.pull_trigger(looked.set)  # the loop does not look at the door any more
        assert looked.wait(10)
    wires = [Wire(server.port) for _ in range(8)]
    for wire in wires:
        wire.request("GET", "/health")
    server.stop(8)
    for wire in wires:
        answer = wire.answer()
        assert answer.status == 503
        assert assert_envelope(answer.json())["code"] == "shutting_down"
        wire.close()


def test_a_client_that_does_not_read_cannot_hold_up_the_end() -> None:
    engine = PacedEngine(["x" * 100_000], endless=True)
    settings = Settings(api_port=0, drain_timeout=0.1)
    limits = ServerLimits(ending=0.5, flushing=0.3)
    server = APIServer(create_app(settings, engine), settings, limits)
    server.start()
    with streaming(server.port, CHAT, chat("paced", stream=True)) as stuck:
        stuck.head()
        threading.Event().wait(0.3)  # until buffers are full
        began = time.monotonic()
        server.stop(45)
        assert time.monotonic() - began < 40


# The whole program.


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_program_and_its_streams(
    number: signal.Signals, random_model: Path
) -> None:
    """Streams that would take far longer than the time there is."""
    process = ServerProcess(
        "--model", str(random_model), "--drain-timeout", "0.5", "--parallel", "2"
    )
    try:
        process.wait_until_ready()
        model = process.model
        body = {"model": model, "prompt": "Hello", "stream": True, "max_tokens": 2000, "n": 128}
        body |= {"ignore_eos": True}
        with (
            streaming(process.port, "/v1/completions", body) as first,
            streaming(process.port, "/v1/completions", body | {"n": 100}) as second,
            streaming(process.port, "/v1/completions", body | {"stream": False}) as whole,
        ):
            for wire in (first, second):
                assert wire.head()[1] == 200
            began = time.monotonic()
            process.signal(number)
            with ThreadPoolExecutor(2) as pool:
                bodies = list(pool.map(lambda wire: b"".join(wire.chunks()), (first, second)))
            assert process.wait(10.5 - (time.monotonic() - began)) == 0, process.output
            for data in bodies:
                payloads = sse_payloads(data)
                assert assert_envelope(json.loads(payloads[-1]))["code"] == "shutting_down"
                assert all("choices" in json.loads(payload) for payload in payloads[:-1])
            assert_envelope(whole.answer().json())
        assert "Traceback" not in process.output
    finally:
        process.stop()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_nothing_runs_ends_at_once(number: signal.Signals) -> None:
    process = ServerProcess("--loader", "echo")
    try:
        process.wait_until_ready()
        began = time.monotonic()
        process.signal(number)
        assert process.wait(50) == 0
        assert time.monotonic() - began < 40
        assert "Traceback" not in process.output
    finally:
        process.stop()


def test_the_banner_has_what_an_operator_needs(server: ServerProcess) -> None:
    deadline = time.monotonic() + 10
    while "curl" not in server.output and time.monotonic() < deadline:
        threading.Event().wait(0.05)
    assert f"{server.url}/v1" in server.output
    assert server.model in server.output
    assert f"curl {server.url}/v1/chat/completions" in server.output


def test_the_curl_line_works_when_pasted(server: ServerProcess) -> None:
    import shutil
    import subprocess

    if shutil.which("curl") is None:
        pytest.skip("curl is not installed here")
    end = "Hello!\"}]}'"
    command = server.output[server.output.index("curl ") : server.output.index(end) + len(end)]
    assert max(map(len, command.splitlines())) < 80
    done = subprocess.run(
        ["sh", "-c", command + " -sS"], capture_output=True, timeout=60, check=True
    )
    assert json.loads(done.stdout)["object"] == "chat.completion"


def test_a_key_is_never_printed() -> None:
    process = ServerProcess("--loader", "echo", "--api-key", "sk-printed-nowhere", "--verbose")
    try:
        process.wait_until_ready()
        assert ask(process.port, "GET", "/v1/models").status == 401
        answer = ask(process.port, "GET", "/v1/models", authorization="Bearer sk-printed-nowhere")
        assert answer.status == 200
        process.signal(signal.SIGTERM)
        assert process.wait(50) == 0
        assert "sk-printed-nowhere" not in process.output
    finally:
        process.stop()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--listen"], "--api-key"),
        (["--listen-host", "0.0.0.0"], "--api-key"),
        (["--public-api"], "--api-key"),
        (["--keep-alive", "never"], "keep_alive"),
        (["--model", "/nowhere/x.gguf"], "x.gguf"),
    ],
)
def test_a_start_that_cannot_be_is_one_line_and_status_2(arguments: list[str], named: str) -> None:
    loader = [] if "--model" in arguments else ["--loader", "echo"]
    process = ServerProcess(*loader, *arguments)
    try:
        assert process.wait(30) == 2
        lines = [line for line in process.output.splitlines() if line.startswith("error")]
        assert any(named in line for line in lines), process.output
        assert "Traceback" not in process.output
    finally:
        process.stop()


def test_a_damaged_model_is_one_line_and_status_2(random_model: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(random_model.read_bytes()[:-1000])
    process = ServerProcess("--model", str(cut))
    try:
        assert process.wait(30) == 2
        assert "cut.gguf is incomplete" in process.output
        assert "Traceback" not in process.output
    finally:
        process.stop()


def test_mock_mode_by_the_environment() -> None:
    process = ServerProcess(environment={"USE_MOCK_API": "true"})
    try:
        process.wait_until_ready()
        assert process.model == "echo"
        answer = ask(process.port, "POST", CHAT, chat("echo"))
        assert answer.json()["choices"][0]["message"]["content"] == "Hi"
    finally:
        process.stop()


def test_a_port_in_use_ends_the_program_with_one_line(server: ServerProcess) -> None:
    process = ServerProcess("--loader", "echo", "--api-port", str(server.port))
    try:
        assert process.wait(30) == 2
        assert f"port {server.port}" in process.output and "Traceback" not in process.output
    finally:
        process.stop()
