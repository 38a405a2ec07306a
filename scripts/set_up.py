"""What `make` runs: fill `.venv`, quietly, and start the server when that is asked for.

    python3 scripts/set_up.py run|test|check             make .venv, install what is missing
    python3 scripts/set_up.py run --ready                and say what comes next
    python3 scripts/set_up.py run --start [ARGUMENTS]    and run the stand-alone host

Nothing to install takes no time. pip's output goes to a file that an error names. Only the standard library
is used here, and the syntax of Python 3.7, so that an older Python gets a reason.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
LOG = VENV / "pip.log"
LISTS = tuple(
    ROOT / name
    for name in ("pyproject.toml", "extensions/openai/requirements.txt", "host/requirements.txt")
)
EXTRAS = {"run": "", "test": "[test]", "check": "[test,dev]"}
STAMPS = {"run": ".installed", "test": ".installed-test", "check": ".installed-check"}
"""Files in .venv; one that is older than LISTS means that there is work to do."""

REASONS = (
    (
        ("No space left on device", "Errno 28", "Disk quota exceeded"),
        "no space is left on the disk; the packages need about 1 GB",
    ),
    (
        (
            "NewConnectionError",
            "NameResolutionError",
            "ConnectTimeout",
            "ConnectionResetError",
            "ReadTimeoutError",
            "ProxyError",
            "SSLError",
            "Network is unreachable",
        ),
        "no package could be fetched; check the network, HTTPS_PROXY and PIP_INDEX_URL",
    ),
)
"""What is in pip's output, and what that means."""


class SetupError(Exception):
    """`.venv` cannot be made or filled; the message is one line."""


def main(arguments: list[str]) -> int:
    what, then, rest = arguments[0], arguments[1:2], arguments[2:]
    try:
        set_up(what)
    except SetupError as error:
        print(f"error: {error}", file=sys.stderr)
        # Where another target needs the packages, make has to stop.
        return refused(1) if then else 1
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return refused(130) if then else 130
    if then == ["--ready"]:
        print("ready: make run")
    if then == ["--start"]:
        os.chdir(ROOT)
        os.execv(PYTHON, [str(PYTHON), str(ROOT / "scripts/run_for_make.py"), *rest])
    return 0


def set_up(what: str) -> None:
    """Make `.venv` and install for `what`, unless that was done. Raises SetupError."""
    stamp = VENV / STAMPS[what]
    if stamp.exists() and all(stamp.stat().st_mtime >= file.stat().st_mtime for file in LISTS):
        return
    try:
        if not (VENV / ".made").exists():
            _make_environment()
        _install(EXTRAS[what])
        stamp.touch()
    except OSError as error:
        reason = _reason(str(error)) or f"{VENV} cannot be filled: {error.strerror}"
        raise SetupError(reason) from error


def refused(status: int) -> int:
    """The exit status below make, which adds a line of its own to any but 0: in a terminal, where the reason
    stands right above, it is 0; scripts get the real one."""
    return 0 if sys.stderr.isatty() else status


def _make_environment() -> None:
    if sys.version_info < (3, 10):  # noqa: UP036
        raise SetupError(
            f"Python 3.10 or newer is needed, this is {sys.version.split()[0]}; name another "
            "with: make run PYTHON=python3.12"
        )
    print("making .venv", file=sys.stderr, flush=True)
    command = [sys.executable, "-m", "venv", "--clear", str(VENV)]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode:
        output = made.stdout + made.stderr
        if "ensurepip" in output:
            raise SetupError(
                "Python's module venv is missing; on Debian and Ubuntu: apt install python3-venv"
            )
        raise SetupError(_reason(output) or f"{VENV} cannot be made: {_last_line(output)}")
    (VENV / ".made").touch()


def _install(extras: str) -> None:
    command = [str(PYTHON), "-m", "pip", "install", "--no-color", "--progress-bar", "off"]
    command += ["--retries", "2", "--editable", f".{extras}"]
    environment = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PYTHONUNBUFFERED": "1"}
    progress = Progress()
    with LOG.open("w", encoding="utf-8") as log:
        pip = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        assert pip.stdout is not None
        try:
            for line in pip.stdout:
                log.write(line)
                progress.take(line)
        finally:
            # A Ctrl-C has gone to pip as well.
            status = pip.wait()
            progress.close()
    if status:
        output = LOG.read_text(encoding="utf-8", errors="replace")
        reason = _reason(output) or f"pip could not install the packages: {_last_line(output)}"
        raise SetupError(f"{reason} (details: {LOG.relative_to(ROOT)})")


class Progress:
    """One line for the whole of pip's output; in a terminal it moves."""

    def __init__(self) -> None:
        self._moves = sys.stderr.isatty()
        self._found = 0
        self._show("installing packages into .venv, about a minute ...")

    def take(self, line: str) -> None:
        """Count what a line of pip's says."""
        if line.startswith("Collecting "):
            self._found += 1
            if self._moves:
                self._show(f"fetching packages, about a minute: {self._found} ...")
        elif line.startswith("Installing collected packages: ") and self._moves:
            self._show(f"installing {line.count(',') + 1} packages ...")

    def close(self) -> None:
        if self._moves:
            print(file=sys.stderr, flush=True)

    def _show(self, text: str) -> None:
        # Spaces, not an escape sequence, wipe what a longer line left.
        shown = f"\r{text:<70}" if self._moves else f"{text}\n"
        print(shown, end="", file=sys.stderr, flush=True)


def _reason(output: str) -> str | None:
    return next((text for signs, text in REASONS if any(sign in output for sign in signs)), None)


def _last_line(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith("error")]
    return (errors or lines or ["it said nothing"])[-1]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
