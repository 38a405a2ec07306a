"""`make run` and `make setup` up to the server: a copy of the Makefile, with a Python that plays pip."""

from __future__ import annotations

import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.process import ROOT

NO_NETWORK = """\
WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError('<pip>: failed')'
ERROR: Could not find a version that satisfies the requirement setuptools>=69 (from versions: none)
"""
FULL = "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device\n"
WELL = (
    "Obtaining x\nCollecting flask\nCollecting waitress\nInstalling collected packages: a, b, c\n"
)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What `make run` reads of a clone."""
    lists = ("extensions/openai/requirements.txt", "host/requirements.txt")
    for name in ("Makefile", "pyproject.toml", *lists):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts/set_up.py", tmp_path / "scripts")
    (tmp_path / "scripts/run_for_make.py").write_text("import sys; print('SERVER', sys.argv[1:])")
    return tmp_path


def pip_says(clone: Path, text: str, status: int) -> None:
    """A .venv whose Python knows pip only by what it would say."""
    folder = clone / ".venv/bin"
    folder.mkdir(parents=True, exist_ok=True)
    (clone / ".venv/.made").touch()
    (clone / "said").write_text(text)
    python = folder / "python"
    python.write_text(
        f'#!/bin/sh\nif [ "$1" = -m ]; then cat {clone}/said; exit {status}; fi\n'
        f'exec {sys.executable} "$@"\n'
    )
    python.chmod(0o755)


# What a `make test` around these tests leaves there for a make inside of it.
ENVIRONMENT = {
    name: value
    for name, value in os.environ.items()
    if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "ARGS")
}


def make(clone: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["make", f"PYTHON={sys.executable}", *arguments]
    return subprocess.run(
        command, cwd=clone, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )


def make_in_terminal(clone: Path, *arguments: str) -> tuple[int, str]:
    """Status and all that a terminal of 80 columns shows."""
    shown, terminal = pty.openpty()
    command = ["make", f"PYTHON={sys.executable}", *arguments]
    process = subprocess.Popen(
        command, cwd=clone, stdin=terminal, stdout=terminal, stderr=terminal, env=ENVIRONMENT
    )
    os.close(terminal)
    output = b""
    try:
        while part := os.read(shown, 4096):
            output += part
    except OSError:
        pass  # Linux says so when the last writer has gone
    os.close(shown)
    return process.wait(20), output.decode()


@pytest.mark.parametrize(
    ("pip", "says"),
    [
        (NO_NETWORK, "no package could be fetched; check the network, HTTPS_PROXY"),
        (FULL, "no space is left on the disk"),
        ("Collecting x\nERROR: it broke\n", "pip could not install the packages: ERROR: it broke"),
    ],
)
def test_what_fails_is_one_line_that_names_the_log(clone: Path, pip: str, says: str) -> None:
    pip_says(clone, pip, 1)
    done = make(clone, "run")
    lines = [line for line in done.stderr.splitlines() if not line.startswith("make: ")]
    assert len(lines) == 2 and lines[1].startswith(f"error: {says}") and done.returncode
    assert lines[1].endswith("(details: .venv/pip.log)")
    assert (clone / ".venv/pip.log").read_text() == pip
    assert done.stdout == "" and not (clone / ".venv/.installed").exists()


@pytest.mark.parametrize("target", ["run", "setup"])
def test_a_terminal_sees_no_line_of_makes(clone: Path, target: str) -> None:
    pip_says(clone, FULL, 1)
    _, output = make_in_terminal(clone, target)
    assert "error: no space" in output and "make" not in output and "SERVER" not in output


def test_a_terminal_sees_one_line_that_moves_and_then_the_server(clone: Path) -> None:
    pip_says(clone, WELL, 0)
    status, output = make_in_terminal(clone, "run", "ARGS=--model x --verbose")
    states = [part.strip() for part in output.split("\n")[0].split("\r") if part.strip()]
    assert states == [
        "installing packages into .venv, about a minute ...",
        "fetching packages, about a minute: 1 ...",
        "fetching packages, about a minute: 2 ...",
        "installing 3 packages ...",
    ]
    assert (status, output.split("\n")[1].strip()) == (0, "SERVER ['--model', 'x', '--verbose']")


def test_the_second_start_installs_nothing(clone: Path) -> None:
    pip_says(clone, WELL, 0)
    assert make(clone, "setup").stdout == "ready: make run\n"
    pip_says(clone, FULL, 1)
    done = make(clone, "run")
    assert (done.stdout, done.stderr, done.returncode) == ("SERVER []\n", "", 0)
    later = (clone / ".venv/.installed").stat().st_mtime + 10
    os.utime(clone / "pyproject.toml", (later, later))
    assert "no space" in make(clone, "run").stderr


def test_other_targets_stop_where_packages_are_missing(clone: Path) -> None:
    pip_says(clone, FULL, 1)
    status, output = make_in_terminal(clone, "test")
    assert status != 0 and "error: no space" in output


def test_no_python_is_one_line(clone: Path) -> None:
    done = make(clone, "run", "PYTHON=python3.2")
    assert "error: python3.2 is not installed" in done.stderr and done.returncode
    status, output = make_in_terminal(clone, "run", "PYTHON=python3.2")
    assert len(output.splitlines()) == 1 and status == 0
    assert make(clone, "test", "PYTHON=python3.2").returncode


def test_a_refused_start_is_the_hosts_line_alone(clone: Path) -> None:
    pip_says(clone, WELL, 0)
    assert make(clone, "setup").returncode == 0
    for folder in ("host", "extensions/openai", "scripts"):
        shutil.copytree(ROOT / folder, clone / folder, dirs_exist_ok=True)
    (clone / "models/openedai-tiny").mkdir(parents=True)
    os.utime(clone / ".venv/.installed")
    status, output = make_in_terminal(clone, "run", "ARGS=--model README.md")
    assert status == 0 and len(output.splitlines()) == 1 and output.startswith("error: no model")
    done = make(clone, "run", "ARGS=--model README.md")
    assert done.returncode == 2 and "Error 2" in done.stderr, "a script gets the status"
