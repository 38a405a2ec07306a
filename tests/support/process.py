"""The whole program in a process of its own, started as an operator starts it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 60.0


class ServerProcess:
    """`python server.py ...`; ready when `wait_until_ready` returns. Ended by its own pid only."""

    def __init__(
        self,
        *arguments: str,
        environment: dict[str, str] | None = None,
        limits: str | None = None,
        checkout: Path = ROOT,
        program: Sequence[str] = ("server.py", "--extensions", "openai"),
    ) -> None:
        """`limits`: arguments of the shell's `ulimit` for it, as `-n 80`. `program`: what Python runs in
        the folder `checkout`."""
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("OPENEDAI_", "OPENAI_")) and name != "USE_MOCK_API"
        }
        self._data = tempfile.TemporaryDirectory(
            prefix="openedai-data-", ignore_cleanup_errors=True
        )
        own = {"PYTHONUNBUFFERED": "1", "OPENEDAI_DATA_FOLDER": self._data.name}
        self.command = [sys.executable, *program, "--api-port", str(self.port), *arguments]
        if limits is not None:
            self.command = ["/bin/sh", "-c", f'ulimit {limits}; exec "$@"', "sh", *self.command]
        self.process = subprocess.Popen(
            self.command,
            cwd=checkout,
            env=inherited | own | (environment or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._output: list[bytes] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def output(self) -> str:
        """What it has printed so far, standard error included."""
        return b"".join(self._output).decode(errors="replace")

    def wait_until_ready(self, timeout: float = START_SECONDS, path: str = "/health") -> None:
        """Wait until /health says 200. Fails with the process's output."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                self._reader.join(5)
                raise AssertionError(
                    f"the server ended ({self.process.returncode}):\n{self.output}"
                )
            try:
                with urllib.request.urlopen(f"{self.url}{path}", timeout=5) as answer:
                    if answer.status == 200:
                        return
            except (OSError, urllib.error.URLError):
                pass
            threading.Event().wait(0.05)
        self.stop()
        raise AssertionError(f"the server was not ready after {timeout} s:\n{self.output}")

    @property
    def model(self) -> str:
        """The name of the model it serves."""
        with urllib.request.urlopen(f"{self.url}/v1/models", timeout=50) as answer:
            return str(json.load(answer)["data"][0]["id"])

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self, timeout: float) -> int:
        """The exit status. Fails with the output when the process does not end in time."""
        try:
            status = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)
            raise AssertionError(f"still running after {timeout} s:\n{self.output}") from None
        self._reader.join(5)
        return status

    def stop(self) -> None:
        """End it however it is, and free its pipe."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(12)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)
        self._reader.join(5)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self._data.cleanup()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._output.append(line)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
