"""The tunnel, with a stand-in for cloudflared that keeps the real one's contract."""

from __future__ import annotations

import http.server
import io
import json
import os
import platform
import re
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask_cloudflared import CLOUDFLARED_CONFIG

from extensions.openai.configuration.sources import load
from extensions.openai.engines.swappable import SwappableEngine
from extensions.openai.hosts.running_server import RunningServer
from extensions.openai.outbound import cloudflared
from extensions.openai.outbound.cloudflared import TunnelError
from extensions.openai.outbound.tunnel import Timing, Tunnel, tunnel_for
from extensions.openai.server.server import APIServer
from extensions.openai.settings import Settings, SettingsError
from extensions.openai.web.app import create_app
from tests.support.paced import PacedEngine
from tests.support.process import ROOT, ServerProcess
from tests.support.wire import Wire, ask

QUICK = Timing(poll_interval=0.05, first_retry=0.05, last_retry=0.2, connect_timeout=60.0)
LOCAL = "http://127.0.0.1:9"
STAND_IN = ROOT / "tests" / "support" / "stand_in_cloudflared.py"
TOKEN = "eyJ" + "x" * 100


def wait(condition: Callable[[], Any], what: str = "it") -> Any:
    deadline = time.monotonic() + 40
    while time.monotonic() < deadline:
        if result := condition():
            return result
        time.sleep(0.02)
    raise AssertionError(f"{what} did not happen")


class StandIn:
    """The program in a folder of its own, and what it writes down there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.program = folder / "bin" / "cloudflared"
        self.program.parent.mkdir()
        self.program.write_text(f'#!/bin/sh\nexec {sys.executable} {STAND_IN} "$@"\n')
        self.program.chmod(0o755)
        self.plan({})

    def plan(self, *plans: dict[str, Any]) -> None:
        (self.folder / "plan.json").write_text(json.dumps(plans))

    def say(self, command: str) -> None:
        (self.folder / "part-command").write_text(command)
        (self.folder / "part-command").rename(self.folder / "command")

    def started(self, number: int = 0) -> dict[str, Any]:
        file = self.folder / f"started-{number}"
        wait(file.exists, f"start {number}")
        return dict(json.loads(file.read_text()))


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    monkeypatch.setenv("STAND_IN", str(tmp_path))
    return StandIn(tmp_path)


@pytest.fixture
def opened(stand_in: StandIn) -> Iterator[Callable[..., Tunnel]]:
    tunnels: list[Tunnel] = []

    def open(id: str | None = None, timing: Timing = QUICK, **options: Any) -> Tunnel:
        tunnel = Tunnel(id, options.pop("program", str(stand_in.program)), timing)
        tunnels.append(tunnel)
        tunnel.start(LOCAL)
        return tunnel

    yield open
    for tunnel in tunnels:
        tunnel.stop()


def is_up(tunnel: Tunnel) -> Callable[[], bool]:
    return lambda: tunnel.state.state == "up"


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(")")[-1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("old_page", [True, False])
def test_a_quick_tunnel(stand_in: StandIn, opened: Any, old_page: bool, caplog: Any) -> None:
    caplog.set_level("INFO", "openedai")
    stand_in.plan({"hostname": "one-two.trycloudflare.com", "old_page": old_page})
    tunnel = opened()
    assert tunnel.url is None
    wait(is_up(tunnel))
    assert tunnel.url == "https://one-two.trycloudflare.com"
    # It is up, and then the log says so.
    wait(lambda: "https://one-two.trycloudflare.com" in caplog.text, "the line in the log")
    arguments = stand_in.started()["arguments"]
    assert arguments[:3] == ["tunnel", "--no-autoupdate", "--metrics"]
    assert arguments[4:] == ["--url", LOCAL]
    pid = stand_in.started()["pid"]
    tunnel.stop()
    assert not alive(pid)
    assert (tunnel.url, tunnel.state.state) == (None, "closed")


def test_nothing_of_ours_goes_to_the_program(
    stand_in: StandIn, opened: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENEDAI_API_KEY", "the-secret-key")
    monkeypatch.setenv("OPENAI_API_KEY", "the-secret-key")
    opened()
    assert "the-secret-key" not in json.dumps(stand_in.started())


@pytest.mark.parametrize("id", ["my-tunnel", "6ff42ae2-765d-4adf-8112-31c55c1551ef", TOKEN])
def test_a_named_tunnel(stand_in: StandIn, opened: Any, id: str) -> None:
    stand_in.plan({"hostname": "llm.example.com"})
    tunnel = opened(id)
    wait(is_up(tunnel))
    assert tunnel.url == "https://llm.example.com"
    seen = stand_in.started()
    token = id == TOKEN
    assert seen["arguments"][6:] == (["run"] if token else ["run", id])
    assert seen["environment"].get("TUNNEL_TOKEN") == (TOKEN if token else None)
    assert tunnel.state.problem is None


def test_a_slow_start_is_no_fault(stand_in: StandIn, opened: Any) -> None:
    stand_in.plan({"delay": 3.0})
    tunnel = opened()
    wait(lambda: tunnel.state.starts == 1)
    assert tunnel.state.state == "opening" and tunnel.url is None
    wait(is_up(tunnel))
    assert tunnel.state.starts == 1


def test_one_that_never_connects_is_started_anew(
    stand_in: StandIn, opened: Any, caplog: Any
) -> None:
    stand_in.plan({"delay": 60}, {})
    tunnel = opened(timing=Timing(poll_interval=0.05, first_retry=0.05, connect_timeout=5.0))
    pid = stand_in.started()["pid"]
    wait(is_up(tunnel))
    assert tunnel.state.starts >= 2
    assert "no connection to Cloudflare for 5 s" in caplog.text
    assert not alive(pid)


def test_a_crash_leads_to_a_new_address(stand_in: StandIn, opened: Any, caplog: Any) -> None:
    caplog.set_level("INFO", "openedai")
    stand_in.plan({"hostname": "one.trycloudflare.com"}, {"hostname": "two.trycloudflare.com"})
    tunnel = opened()
    wait(is_up(tunnel))
    stand_in.say("crash")
    wait(lambda: tunnel.url == "https://two.trycloudflare.com")
    assert "ended with status 2" in caplog.text and "datagram manager ended" in caplog.text
    assert tunnel.state.starts == 2
    for name in ("one", "two"):
        reply = f"public address is https://{name}.trycloudflare.com"
        wait(lambda: reply in caplog.text, reply)  # noqa: B023


def test_a_lost_connection_that_comes_back(stand_in: StandIn, opened: Any, caplog: Any) -> None:
    tunnel = opened()
    wait(is_up(tunnel))
    stand_in.say("disconnect")
    wait(lambda: tunnel.state.state == "down")
    assert tunnel.url is None and "no connection" in tunnel.state.problem
    stand_in.say("connect")
    wait(is_up(tunnel))
    assert tunnel.state.starts == 1
    assert "has lost its connection" in caplog.text


def test_failures_are_told_and_tried_again_later_and_later(
    stand_in: StandIn, opened: Any, caplog: Any
) -> None:
    stand_in.plan({"fail": 'failed to request quick Tunnel: "dial tcp: no such host"'})
    tunnel = opened()
    wait(lambda: tunnel.state.starts >= 4)
    assert "no such host" in tunnel.state.problem
    waits = re.findall(r"no such host.* trying again in ([\d.]+) s", caplog.text)
    assert waits[:3] == ["0.05", "0.1", "0.2"]


def test_arguments_that_the_program_does_not_know(
    stand_in: StandIn, opened: Any, caplog: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(program: Path, **_: Any) -> list[str]:
        return [str(program), "tunnel", "--nonsense"]

    monkeypatch.setattr(cloudflared, "command", wrong)
    tunnel = opened()
    wait(lambda: tunnel.state.problem)
    assert "ended with status 1" in tunnel.state.problem


def test_a_token_is_never_told(stand_in: StandIn, opened: Any, caplog: Any) -> None:
    caplog.set_level("DEBUG", "openedai")
    stand_in.plan({"fail": f"Provided Tunnel token is not valid: {TOKEN}"})
    tunnel = opened(TOKEN)
    wait(lambda: "the tunnel is down" in caplog.text)
    assert "token is not valid" in tunnel.state.problem and "token is not valid" in caplog.text
    assert TOKEN not in caplog.text and TOKEN not in repr(tunnel.state)
    assert TOKEN not in repr(Settings(public_api_id=TOKEN))


def test_a_program_that_is_none(opened: Any, tmp_path: Path) -> None:
    for name, text in (("missing", None), ("broken", "\x7fELF no program")):
        path = tmp_path / name
        if text is not None:
            path.write_text(text)
            path.chmod(0o755)
        tunnel = opened(program=str(path))
        wait(lambda: tunnel.state.problem)  # noqa: B023
        tunnel.stop()


def test_stopping_ends_a_retry_at_once(stand_in: StandIn, opened: Any) -> None:
    stand_in.plan({"fail": "no"})
    tunnel = opened(timing=Timing(poll_interval=0.05, first_retry=600))
    wait(lambda: tunnel.state.state == "down")
    began = time.monotonic()
    tunnel.stop()
    assert time.monotonic() - began < 50
    assert not any(thread.name == "openai-tunnel" for thread in threading.enumerate())


def test_stopping_does_not_wait_for_a_page_that_does_not_come(
    stand_in: StandIn, opened: Any
) -> None:
    stand_in.plan({"mute": True})
    tunnel = opened()
    pid = stand_in.started()["pid"]
    wait((stand_in.folder / "asked").exists, "the first look")
    began = time.monotonic()
    tunnel.stop()
    assert not alive(pid) and time.monotonic() - began < 4


def test_what_the_settings_ask_for(tmp_path: Path) -> None:
    assert tunnel_for(Settings()) is None
    assert isinstance(tunnel_for(Settings(public_api=True, api_key="k")), Tunnel)
    with pytest.raises(SettingsError, match="--public-api"):
        tunnel_for(Settings(public_api_id="x"))
    assert load({"public_api_id": ""}, {}).public_api_id is None


class Shop(http.server.ThreadingHTTPServer):
    """Where the program can be downloaded, or not."""

    def __init__(self) -> None:
        self.content: bytes | None = b""
        self.asked = 0
        self.cut = 0
        shop = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                shop.asked += 1
                if shop.content is None:
                    self.send_error(403)
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(len(shop.content) + shop.cut))
                self.end_headers()
                self.wfile.write(shop.content)

            def log_message(self, *_: object) -> None:
                """Quiet."""

        super().__init__(("127.0.0.1", 0), Handler)


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    shop = Shop()
    thread = threading.Thread(target=shop.serve_forever)
    thread.start()
    url = f"http://127.0.0.1:{shop.server_port}/cloudflared"
    monkeypatch.setattr(cloudflared, "address", lambda: url)
    yield shop
    shop.shutdown()
    thread.join()
    shop.server_close()


def never() -> bool:
    return False


def test_a_download(shop: Shop, stand_in: StandIn, tmp_path: Path) -> None:
    shop.content = stand_in.program.read_bytes()
    program = cloudflared.downloaded(tmp_path / "a" / "b", never)
    reply = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    assert "stand-in" in reply.stdout
    assert cloudflared.downloaded(tmp_path / "a" / "b", never) == program
    assert shop.asked == 1, "it is there already"
    os.utime(program, (1, 1))
    assert cloudflared.downloaded(tmp_path / "a" / "b", never) == program
    assert shop.asked == 2, "an old one is fetched again"
    shop.content = None
    os.utime(program, (1, 1))
    assert cloudflared.downloaded(tmp_path / "a" / "b", never) == program
    assert [file.name for file in program.parent.iterdir()] == ["cloudflared"]


@pytest.mark.parametrize("fault", ["refused", "cut", "gone", "stopped", "no-archive"])
def test_a_download_that_fails(
    shop: Shop, tmp_path: Path, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.content = b"x" * 100
    if fault == "refused":
        shop.content = None
    elif fault == "cut":
        shop.cut = 50
    elif fault == "gone":
        monkeypatch.setattr(cloudflared, "address", lambda: "http://127.0.0.1:9/cloudflared")
    elif fault == "no-archive":
        address = cloudflared.address()
        monkeypatch.setattr(cloudflared, "address", lambda: address + ".tgz")
    with pytest.raises(TunnelError) as caught:
        cloudflared.downloaded(tmp_path, lambda: fault == "stopped")
    assert "--cloudflared" in str(caught.value) and "\n" not in str(caught.value)
    if fault == "refused":
        assert "HTTP 403" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_an_archive(shop: Shop, stand_in: StandIn, tmp_path: Path, monkeypatch: Any) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        tar.add(stand_in.program, "cloudflared")
    shop.content = packed.getvalue()
    address = cloudflared.address()
    monkeypatch.setattr(cloudflared, "address", lambda: address + ".tgz")
    program = cloudflared.downloaded(tmp_path / "cache", never)
    assert program.read_bytes() == stand_in.program.read_bytes()


def test_a_machine_that_nothing_is_published_for(monkeypatch: Any, tmp_path: Path) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "abacus")
    with pytest.raises(TunnelError, match="abacus"):
        cloudflared.downloaded(tmp_path, never)


def test_a_refused_download_is_tried_again(shop: Shop, stand_in: StandIn, monkeypatch: Any) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(cloudflared, "folder", lambda: stand_in.folder / "cache")
    shop.content = None
    tunnel = Tunnel(None, None, QUICK)
    tunnel.start(LOCAL)
    try:
        wait(lambda: "HTTP 403" in (tunnel.state.problem or ""))
        monkeypatch.setenv("PATH", "/usr/bin:/bin")
        shop.content = stand_in.program.read_bytes()
        wait(is_up(tunnel))
    finally:
        tunnel.stop()


def test_the_installed_one_goes_first(stand_in: StandIn, monkeypatch: Any) -> None:
    monkeypatch.setenv("PATH", f"{stand_in.program.parent}:/usr/bin")
    assert cloudflared.find(None, never) == stand_in.program
    assert cloudflared.find(str(stand_in.program), never) == stand_in.program
    with pytest.raises(TunnelError, match="--cloudflared"):
        cloudflared.find("/no/such/program", never)


def test_names_of_the_library_are_as_we_use_them() -> None:
    for row in CLOUDFLARED_CONFIG.values():
        assert row["url"].startswith("https://github.com/cloudflare/cloudflared/releases/")
    assert cloudflared.address().startswith("https://github.com/cloudflare/cloudflared/")


@pytest.fixture
def process(stand_in: StandIn) -> Iterator[Callable[..., ServerProcess]]:
    running: list[ServerProcess] = []

    def start(*arguments: str) -> ServerProcess:
        flags = ("--loader", "echo", "--public-api", "--cloudflared", str(stand_in.program))
        started = ServerProcess(
            *flags,
            *arguments,
            environment={"OPENEDAI_API_KEY": "k", "STAND_IN": str(stand_in.folder)},
        )
        running.append(started)
        started.wait_until_ready()
        return started

    yield start
    for each in running:
        each.stop()


@pytest.mark.parametrize("prefix", ["", "/api"])
def test_the_whole_program(stand_in: StandIn, process: Any, prefix: str) -> None:
    public = "calm-river-example.trycloudflare.com"
    if prefix:
        server = ServerProcess(
            *("--loader", "echo", "--public-api", "--cloudflared", str(stand_in.program)),
            *("--api-prefix", prefix, "--log-format", "json"),
            environment={"OPENEDAI_API_KEY": "k", "STAND_IN": str(stand_in.folder)},
        )
    else:
        server = process()
    try:
        wait(lambda: f"public address is https://{public}" in server.output)
        edge = stand_in.started()["edge"]
        assert ask(edge, "GET", f"{prefix}/v1/models").status == 401
        key = {"authorization": "Bearer k"}
        page = ask(edge, "GET", f"{prefix}/").body.decode()
        assert page.count(f"https://{public}{prefix}/v1") >= 2, "as base URL and as public URL"
        local = ask(server.port, "GET", f"{prefix}/").body.decode()
        assert f"<pre>https://{public}{prefix}/v1</pre>" in local
        details = ask(server.port, "GET", f"{prefix}/v1/internal/health", **key).json()["tunnel"]
        assert details["state"] == "up" and details["url"] == f"https://{public}"
        assert b"openedai_tunnel_up 1.0" in ask(server.port, "GET", f"{prefix}/metrics", **key).body
        body = {"model": "echo", "messages": [{"role": "user", "content": "Hi"}], "stream": True}
        with Wire(edge) as wire:
            wire.request("POST", f"{prefix}/v1/chat/completions", body, key)
            assert b"[DONE]" in wire.rest()
        wait(lambda: re.search(r'address(=|":")203\.0\.113\.9', server.output), "the address")
        pid = stand_in.started()["pid"]
        server.signal(signal.SIGTERM)
        assert server.wait(20) == 0
        wait(lambda: not alive(pid), "the end of the tunnel")
    finally:
        server.stop()


def test_the_banner_tells_the_address_or_why_there_is_none(stand_in: StandIn, process: Any) -> None:
    stand_in.plan({"fail": "no route to host"})
    server = process()
    wait(lambda: "Public URL" in server.output)
    wait(lambda: "the tunnel is down" in server.output)
    assert "no route to host" in server.output
    assert ask(server.port, "GET", "/health").status == 200


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its parent")
def test_no_tunnel_is_left_when_the_program_is_killed(stand_in: StandIn, process: Any) -> None:
    server = process()
    pid = stand_in.started()["pid"]
    assert alive(pid)
    server.signal(signal.SIGKILL)
    server.wait(20)
    wait(lambda: not alive(pid), "the end of the tunnel")


def test_without_a_key_it_does_not_start() -> None:
    server = ServerProcess("--loader", "echo", "--public-api")
    try:
        assert server.wait(30) == 2
        assert "--public-api lets everyone in" in server.output and "--api-key" in server.output
    finally:
        server.stop()


def test_answers_under_way_end_before_the_tunnel(stand_in: StandIn) -> None:
    engine = PacedEngine(endless=True, pace=0.01)
    settings = Settings(public_api=True, api_key="k", api_port=0, drain_timeout=0.0)
    tunnel = Tunnel(None, str(stand_in.program), QUICK)
    app = create_app(settings, engine, tunnel)
    server = APIServer(app, settings)
    server.start()
    tunnel.start(server.url)
    try:
        wait(is_up(tunnel))
        with Wire(stand_in.started()["edge"]) as wire:
            message = {"role": "user", "content": "Hi"}
            body = {"model": "paced", "messages": [message], "stream": True}
            wire.request("POST", "/v1/chat/completions", body, {"Authorization": "Bearer k"})
            assert engine.wait_for_active(1, 20)
            RunningServer({}, app.extensions["openai"], SwappableEngine(), server, tunnel).stop(8)
            assert b'"shutting_down"' in wire.rest()
        assert tunnel.state.state == "closed"
    finally:
        tunnel.stop()
