"""Stands in for the programs that the documents' examples call; linked under their names by the test.

`make`, `docker`, `python server.py`, `openedai MODEL`: start the server with what the example gives it,
without installing or building anything, wait until it answers, and leave it running for the next lines.
`openedai COMMAND` is the command itself; `git` does nothing.

The environment has EXAMPLE_PORT and EXAMPLE_FOLDER, where each start leaves the process's id.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def start(arguments: list[str]) -> int:
    """Start the server in place of the one before."""
    folder, port = Path(os.environ["EXAMPLE_FOLDER"]), os.environ["EXAMPLE_PORT"]
    stop(folder)
    models = ["--model-dir", str(folder / "models"), "--api-port", port]
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "server.py"), *models, *arguments],
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    (folder / "running").write_text(str(process.pid))
    for _ in range(600):
        if process.poll() is not None:
            print((folder / "output").read_text(), file=sys.stderr)
            return process.returncode or 1
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                return 0
        except OSError:
            time.sleep(0.1)
    return 1


def stop(folder: Path) -> None:
    """End the server that an example has started, if there is one."""
    running = folder / "running"
    if not running.exists():
        return
    pid = int(running.read_text())
    running.unlink()
    try:
        os.kill(pid, signal.SIGTERM)
        for _ in range(150):
            os.kill(pid, 0)
            time.sleep(0.1)
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass  # it has ended, as it should


def compose(file: Path) -> int:
    """Start what a compose file would start in its image, with its words and its environment."""
    import yaml

    (service,) = yaml.safe_load(file.read_text(encoding="utf-8"))["services"].values()
    for name, value in service["environment"].items():
        given = os.environ.get(name, "")
        assert given or ":?" not in value, f"{name} is missing"
        os.environ[name] = given
    return start(["--listen", *service["command"]])


def main(program: str, words: list[str]) -> int:
    if program == "make" and words[:1] == ["run"]:
        variables = dict(word.split("=", 1) for word in words[1:])
        return start(shlex.split(variables.get("ARGS", "")))
    if program == "git" or (program, *words) == ("make", "setup"):
        return 0
    if program == "docker" and words[:2] == ["compose", "--file"] and words[3:] == ["up"]:
        return compose(ROOT / words[2])
    if program == "python" and words[:1] == ["server.py"]:
        return start(words[1:])
    if program == "openedai" and words[0].endswith(".gguf"):
        return start(["--model", *words])
    if program == "openedai":
        base_url = f"http://127.0.0.1:{os.environ['EXAMPLE_PORT']}/v1"
        address = ["--base-url", base_url] if words[0] == "chat" else []
        command = [sys.executable, "-m", "openedai", *words, *address]
        return subprocess.run(command, check=False).returncode
    print(f"no stand-in for: {program} {' '.join(words)}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[0]).name, sys.argv[1:]))
