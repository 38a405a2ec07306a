"""SIGHUP: extensions that can read their settings again do, others are stopped."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.host.conftest import Host, until

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")

READER = """
params = {"colour": "blue", "size": 1}

def setup():
    print("SETUP", params, flush=True)

def reload():
    print("RELOADED", params, flush=True)

def banner():
    return "READY"

def stop(timeout):
    print("STOPPED", flush=True)
"""


@pytest.fixture
def settings(probe: Host) -> Path:
    probe.extension("reader", READER)
    path = probe.root / "settings.yaml"
    path.write_text("reader-colour: red\nreader-size: 2\n")
    return path


def start(probe: Host, settings: Path) -> subprocess.Popen[str]:
    process = probe.start("--extensions", "reader", "--settings", str(settings))
    assert "'red'" in until(process, "SETUP")
    until(process, "READY")
    return process


def end(process: subprocess.Popen[str]) -> str:
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=20)
    assert process.returncode == 0
    return stderr


def test_params_come_from_the_file_again_or_are_the_defaults(probe: Host, settings: Path) -> None:
    process = start(probe, settings)
    settings.write_text("reader-colour: green\n")
    process.send_signal(signal.SIGHUP)
    assert "{'colour': 'green', 'size': 1}" in until(process, "RELOADED")
    settings.write_text("")
    process.send_signal(signal.SIGHUP)
    assert "{'colour': 'blue', 'size': 1}" in until(process, "blue")
    end(process)


@pytest.mark.parametrize("broken", ["a: [", "- a list", None])
def test_a_broken_file_changes_nothing(probe: Host, settings: Path, broken: str | None) -> None:
    process = start(probe, settings)
    if broken is None:
        settings.unlink()
    else:
        settings.write_text(broken)
    process.send_signal(signal.SIGHUP)
    time.sleep(0.3)
    settings.write_text("reader-size: 3\n")
    process.send_signal(signal.SIGHUP)
    assert "'size': 3" in until(process, "RELOADED")
    stderr = end(process)
    lines = [line for line in stderr.splitlines() if "the settings stay as they are" in line]
    assert len(lines) == 1 and "settings.yaml" in lines[0]
    assert "Traceback" not in stderr


def test_an_extension_that_fails_goes_on(probe: Host, settings: Path) -> None:
    probe.extension(
        "clumsy", "def reload():\n    print('TRIED', flush=True)\n    raise ValueError('no')\n"
    )
    process = probe.start("--extensions", "clumsy", "reader", "--settings", str(settings))
    until(process, "READY")
    process.send_signal(signal.SIGHUP)
    until(process, "RELOADED")
    end(process)


@pytest.mark.parametrize("can_reload", [True, False])
def test_a_terminal_that_closes_stops_the_program(
    probe: Host, settings: Path, can_reload: bool
) -> None:
    name = "reader" if can_reload else "probe"
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(probe.root)
        command = [sys.executable, "server.py", "--extensions", name, "--settings", str(settings)]
        os.execve(sys.executable, command, probe.environment)
    try:
        seen = b""
        while b"READY" not in seen:
            seen += os.read(terminal, 1000)
        if can_reload:
            os.kill(pid, signal.SIGHUP)
            while b"RELOADED" not in seen:
                seen += os.read(terminal, 1000)
        os.close(terminal)
        deadline = time.monotonic() + 20
        while (ended := os.waitpid(pid, os.WNOHANG)) == (0, 0):
            assert time.monotonic() < deadline, "still running"
            time.sleep(0.05)
        assert os.waitstatus_to_exitcode(ended[1]) == 0
    finally:
        if ended == (0, 0):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def test_without_a_terminal_it_does_not_end_a_load(probe: Host) -> None:
    """As when a service is told to reload while it still starts."""
    probe.extension(
        "loading",
        READER
        + """
def load_model(spec):
    import ctypes
    print("BUSY", flush=True)
    ctypes.PyDLL(None).usleep(800_000)
""",
    )
    process = subprocess.Popen(
        [sys.executable, "server.py", "--extensions", "loading"],
        cwd=probe.root,
        env=probe.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # without a terminal
    )
    probe.running.append(process)
    until(process, "BUSY")
    process.send_signal(signal.SIGHUP)
    until(process, "READY")
    process.send_signal(signal.SIGHUP)
    until(process, "RELOADED")
    end(process)
