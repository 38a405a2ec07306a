"""Processes that are measured: started, watched through /proc, and ended by their own pid."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
READY = 120.0  # seconds that a server may take to start
TICKS = os.sysconf("SC_CLK_TCK")


class DidNotStart(Exception):
    """A server ended, or did not answer in time; the message is one line."""


class Server:
    """A program that listens on `port` of the loopback, in a process of its own."""

    def __init__(
        self,
        command: Sequence[str],
        port: int,
        *,
        ready: str = "/health",
        environment: Mapping[str, str] | None = None,
        folder: Path = ROOT,
    ) -> None:
        """Start it and wait until `ready` answers 200. Raises DidNotStart."""
        self.port = port
        self._began = time.perf_counter()
        self._process = subprocess.Popen(
            command,
            cwd=folder,
            env=os.environ | dict(environment or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._wait(f"http://127.0.0.1:{port}{ready}", " ".join(command))
        self.started_after = time.perf_counter() - self._began

    @property
    def pid(self) -> int:
        return self._process.pid

    def cpu(self) -> float:
        """Seconds of processor time so far, user and system."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(") ")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def rss(self) -> int:
        """Bytes of memory now."""
        return self._status("VmRSS")

    def peak_rss(self) -> int:
        """The most bytes of memory since the start or `forget_peak`."""
        return self._status("VmHWM")

    def forget_peak(self) -> None:
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def stop(self) -> None:
        """End it, however it is."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(15)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(10)

    def _status(self, name: str) -> int:
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) << 10
        raise OSError(f"/proc does not tell {name}")

    def _wait(self, url: str, what: str) -> None:
        while time.perf_counter() - self._began < READY:
            if self._process.poll() is not None:
                raise DidNotStart(f"ended with status {self._process.returncode}: {what}")
            try:
                with urllib.request.urlopen(url, timeout=5) as answer:
                    if answer.status == 200:
                        return
            except (OSError, urllib.error.URLError):
                pass  # not yet
            time.sleep(0.02)
        self.stop()
        raise DidNotStart(f"not ready after {READY:.0f} s: {what}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def python(*arguments: str) -> list[str]:
    """A command that runs Python as this one does."""
    return [sys.executable, *arguments]


def ask(program: Sequence[str], plan: Mapping[str, Any]) -> Any:
    """Run a program that takes JSON and answers JSON."""
    done = subprocess.run(
        program, cwd=ROOT, input=json.dumps(plan).encode(), stdout=subprocess.PIPE, check=True
    )
    return json.loads(done.stdout)


def machine() -> str:
    """The machine in a line: processor, cores, memory, system."""
    model = "an unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    system = os.uname()
    return (
        f"{model}, {os.cpu_count()} cores, {memory:.0f} GiB, {system.sysname} {system.release}, "
        f"Python {sys.version.split()[0]}"
    )
