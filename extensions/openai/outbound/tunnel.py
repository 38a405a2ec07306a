"""`--public-api`: keeps a tunnel open while the server runs.

A thread starts cloudflared, polls its metrics, logs when the tunnel opens or breaks and its address, and
restarts it, with growing delays, when it ends. No failure of this can end the API.
"""

from __future__ import annotations

import json
import logging
import re
import socket
import subprocess
import threading
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..settings import Settings, SettingsError
from . import cloudflared
from .cloudflared import TunnelError

log = logging.getLogger("openedai")

CONNECTIONS = re.compile(r"^cloudflared_tunnel_ha_connections (\d+)", re.MULTILINE)
HOSTNAME = re.compile(r'\buserHostname="(https?://[^"\s]+)"')
STAMP = re.compile(r"^\S+Z (INF|WRN|ERR|FTL) ")


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds."""

    poll_interval: float = 1.0
    """Between two checks of the tunnel's state."""
    first_retry: float = 2.0
    last_retry: float = 60.0
    """The delay between retries doubles from the first to the last."""
    connect_timeout: float = 120.0
    """Without a connection, after which the program is restarted."""
    stop_timeout: float = 2.0
    """For the program to end."""


@dataclass(frozen=True, slots=True)
class TunnelState:
    """The state of the tunnel."""

    state: Literal["opening", "up", "down", "closed"]
    url: str | None = None
    """The public base URL, if known."""
    problem: str | None = None
    """Why it is down, or was down before it is reopened."""
    starts: int = 0
    """How often the program was started."""


class Tunnel:
    """One tunnel. Call `start` and `stop` once each; everything else is thread-safe."""

    def __init__(
        self, id: str | None = None, program: str | None = None, timing: Timing | None = None
    ) -> None:
        """`id` is the id, name or token of an existing tunnel; None opens a quick one. `program` is
        cloudflared's path; None: it is found or downloaded."""
        self._id = id
        self._program = program
        self._timing = timing or Timing()
        self._state = TunnelState("closed")
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._local = ""

    @property
    def state(self) -> TunnelState:
        return self._state

    @property
    def url(self) -> str | None:
        """The public URL while the tunnel is up: scheme and host, without a trailing slash."""
        state = self._state
        return state.url if state.state == "up" else None

    def start(self, local: str) -> None:
        """Open the tunnel to the server at `local` (scheme, host and port), in its own thread."""
        self._local = local
        self._state = TunnelState("opening")
        self._thread = threading.Thread(target=self._keep_open, name="openai-tunnel", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the program, within about two seconds."""
        self._stopping.set()
        process = self._process
        if process is not None:
            # Do not wait for its metrics to answer.
            process.terminate()
        if self._thread is not None:
            self._thread.join(2 * self._timing.stop_timeout)
        self._state = TunnelState("closed", starts=self._state.starts)

    def _keep_open(self) -> None:
        # Linux ends the program when this thread ends, so the thread lives as long as the program.
        retry = self._timing.first_retry
        while not self._stopping.is_set():
            problem, was_up = self._open_once()
            if was_up:
                retry = self._timing.first_retry
            if self._stopping.is_set():
                return
            self._state = TunnelState("down", problem=problem, starts=self._state.starts)
            log.warning("the tunnel is down: %s; trying again in %g s", problem, retry)
            self._stopping.wait(retry)
            retry = min(2 * retry, self._timing.last_retry)

    def _open_once(self) -> tuple[str, bool]:
        """Run the program until it ends; return why it ended, and whether the tunnel was up."""
        try:
            program = cloudflared.find(self._program, self._stopping.is_set)
            return self._run(program)
        except TunnelError as error:
            return str(error), False
        except OSError as error:
            return f"cloudflared cannot be started: {error.strerror}", False

    def _run(self, program: Path) -> tuple[str, bool]:
        metrics = f"127.0.0.1:{_free_port()}"
        process = subprocess.Popen(
            cloudflared.command(program, local=self._local, metrics=metrics, id=self._id),
            env=cloudflared.environment(self._id),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            # Ctrl-C is for us only: running answers still need the tunnel.
            start_new_session=True,
        )
        self._process = process
        if self._stopping.is_set():
            process.terminate()
        assert process.stdout is not None
        output: deque[str] = deque(maxlen=50)
        reader = threading.Thread(
            target=self._read_log,
            args=(process.stdout, output),
            name="openai-tunnel-log",
            daemon=True,
        )
        reader.start()
        self._state = TunnelState(
            "opening", problem=self._state.problem, starts=self._state.starts + 1
        )
        try:
            problem, was_up = self._watch(process, f"http://{metrics}")
        finally:
            _end(process, self._timing.stop_timeout)
            reader.join(self._timing.stop_timeout)
            process.stdout.close()
        return problem or _reason(process.returncode, output), was_up

    def _watch(self, process: subprocess.Popen[bytes], page: str) -> tuple[str | None, bool]:
        """Watch the tunnel until the program ends or must be ended; return why it must be, if so, and whether
        the tunnel was up."""
        was_up, silent = False, 0.0
        while process.poll() is None and not self._stopping.wait(self._timing.poll_interval):
            url = self._ask(page)
            if self._stopping.is_set():
                break
            if url is not None:
                was_up, silent = True, 0.0
                self._set_up(url or None)
                continue
            silent += self._timing.poll_interval
            if self._state.state == "up":
                log.warning(
                    "the tunnel has lost its connection; cloudflared tries to connect again"
                )
                self._state = TunnelState(
                    *("down", self._state.url, "no connection to Cloudflare"), self._state.starts
                )
            if silent >= self._timing.connect_timeout:
                return f"no connection to Cloudflare for {self._timing.connect_timeout:g} s", was_up
        return None, was_up

    def _set_up(self, url: str | None) -> None:
        before = self._state
        if before.state == "up" and before.url == url:
            return
        self._state = TunnelState("up", url, starts=before.starts)
        where = url or "the address that was set up for it at Cloudflare"
        log.info("the tunnel is up; the public address is %s", where)

    def _ask(self, page: str) -> str | None:
        """The public URL if the tunnel is connected, empty if unknown; None if it is not connected."""
        numbers = _get(f"{page}/metrics")
        connections = CONNECTIONS.search(numbers)
        if connections is None or connections[1] == "0":
            return None
        if self._id is not None:
            return _named_address(_get_json(f"{page}/config"), self._local)
        hostname = HOSTNAME.search(numbers)
        if hostname is not None:
            return hostname[1].rstrip("/")
        host = _get_json(f"{page}/quicktunnel").get("hostname")
        return f"https://{host}" if host else None

    def _read_log(self, stream: Iterable[bytes], output: deque[str]) -> None:
        for line in stream:
            text = line.decode("utf-8", "replace").strip()
            if self._id is not None:
                text = text.replace(self._id, "[id]")
            output.append(text)
            log.debug("cloudflared: %s", text)


def tunnel_for(settings: Settings) -> Tunnel | None:
    """The tunnel of these settings, if any. Raises SettingsError."""
    if not settings.public_api:
        if settings.public_api_id is not None:
            raise SettingsError("setting public_api_id: add --public-api to open this tunnel")
        return None
    id = settings.public_api_id
    return Tunnel(id.get_secret_value() if id is not None else None, settings.cloudflared)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _end(process: subprocess.Popen[bytes], timeout: float) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()


def _reason(status: int, output: Iterable[str]) -> str:
    """Why a program ended: its last error, or else its last line."""
    lines = [line for line in output if line]
    errors = [line for line in lines if " ERR " in line or " FTL " in line]
    last = STAMP.sub("", (errors or lines or [""])[-1])[:300]
    return f"cloudflared ended with status {status}" + (f" ({last})" if last else "")


def _get(url: str) -> str:
    """A page of the program's HTTP server; empty if it does not answer."""
    # No proxy for this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=5) as answer:
            return str(answer.read(1 << 22).decode("utf-8", "replace"))
    except urllib.error.HTTPError as error:
        error.close()
    except (OSError, ValueError):
        pass  # not started yet, or already ended
    return ""


def _get_json(url: str) -> dict[str, Any]:
    try:
        value = json.loads(_get(url))
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _named_address(configuration: dict[str, Any], local: str) -> str:
    """The URL whose ingress rule leads to our port; empty if there is none."""
    port = local.rpartition(":")[2]
    rules = (configuration.get("config") or {}).get("ingress") or ()
    for rule in rules:
        if rule.get("hostname") and str(rule.get("service", "")).endswith(f":{port}"):
            return f"https://{rule['hostname']}"
    return ""
