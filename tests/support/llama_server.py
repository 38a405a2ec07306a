"""llama.cpp's own server, of the wheel, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from tests.support.process import ROOT, START_SECONDS, free_port


class LlamaServerProcess:
    """Ready once it is entered; ended by its own pid."""

    def __init__(self, model: Path, *, parallel: int = 4) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/v1"
        command = ["-m", "benchmarks.llama_server", "--own-template", "--model", str(model)]
        self._process = subprocess.Popen(
            [sys.executable, *command, "--port", str(self.port), "--parallel", str(parallel)],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    @property
    def row(self) -> str:
        """A file of upstreams with this one."""
        return f"upstreams: {{llama: {{address: '{self.url}'}}}}"

    def __enter__(self) -> LlamaServerProcess:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                with urllib.request.urlopen(f"{self.url}/models", timeout=5):
                    return self
            except OSError:
                time.sleep(0.05)
        self.__exit__()
        raise AssertionError("llama.cpp's server did not start")

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait(10)
