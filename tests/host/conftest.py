"""A copy of the host in a folder of its own, with extensions that the test writes into it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.host.fake_hub import FakeHub

ROOT = Path(__file__).resolve().parents[2]

PROBE = """
import json

params = {"colour": "blue", "size": 1}


def add_arguments(parser):
    parser.add_argument("--probe-port", type=int, default=5001)
    parser.add_argument("--probe-key")


def setup():
    from host import shared

    seen = {"params": params, "flags": flags, "model": shared.model.name}
    print("SETUP", json.dumps(seen), flush=True)


def load_model(spec):
    print("SPEC", spec.name, spec.path, spec.parallel, spec.context_length, spec.mmproj, flush=True)


def banner():
    return "READY"


def stop(timeout):
    print("STOPPED", flush=True)
"""


class Host:
    """The copied host. `root` is the folder of its server.py."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.running: list[subprocess.Popen[str]] = []
        shutil.copy(ROOT / "server.py", root)
        for folder in ("host", "extensions/openai"):
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / folder, root / folder, ignore=ignored)
        self.environment = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("OPENEDAI_", "HF_")) and key != "USE_MOCK_API"
        }
        # No settings, tokens or proxies of the developer's environment.
        self.environment |= {
            "HF_HOME": str(root / "hf"),
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "NO_PROXY": "*",
        }

    def extension(self, name: str, script: str, *, below: str = "extensions") -> None:
        folder = self.root / below / name
        folder.mkdir(parents=True)
        (folder / "script.py").write_text(textwrap.dedent(script), encoding="utf-8")

    def model(self, name: str) -> Path:
        """An (empty) model file below models/."""
        path = self.root / "models" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        return path

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, str(self.root / "server.py"), *arguments],
            cwd=self.root,
            env=self.environment | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.running.append(process)
        return process

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run to the end, which has to come by itself."""
        process = self.start(*arguments, **environment)
        stdout, stderr = process.communicate(timeout=50)
        return subprocess.CompletedProcess(arguments, process.returncode, stdout, stderr)

    def serve(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run until the banner of the probe, then stop; what was printed in all."""
        process = self.start(*arguments, **environment)
        until(process, "READY")
        process.send_signal(signal.SIGTERM)
        stdout, stderr = process.communicate(timeout=20)
        return subprocess.CompletedProcess(
            arguments,
            process.returncode,
            process.seen + stdout,  # type: ignore[attr-defined]
            stderr,
        )


def until(process: subprocess.Popen[str], word: str) -> str:
    """Read standard output up to the line with `word`; fails with the rest when it never comes."""
    assert process.stdout is not None
    seen = ""
    for line in process.stdout:
        seen += line
        if word in line:
            process.seen = seen  # type: ignore[attr-defined]
            return seen
    assert process.stderr is not None
    raise AssertionError(f"no {word} in:\n{seen}\n{process.stderr.read()}")


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    root = tmp_path / "app"
    root.mkdir()
    host = Host(root)
    yield host
    for process in host.running:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=10)


@pytest.fixture
def probe(host: Host) -> Host:
    """The host with the extension `probe`, chosen by the environment, and an embedded model."""
    host.extension("probe", PROBE)
    host.environment["OPENEDAI_EXTENSIONS"] = "probe"
    host.model("openedai-tiny/openedai-tiny.gguf")
    return host


@pytest.fixture
def hub(probe: Host) -> Iterator[FakeHub]:
    """A hub on this machine, which `probe` is told to use."""
    with FakeHub() as hub:
        probe.environment["HF_ENDPOINT"] = hub.address
        yield hub


def wait_for(condition: object, seconds: float = 50.0) -> None:
    """Poll a callable until it is true."""
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.02)
