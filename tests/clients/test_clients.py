"""The recipes behind docs/clients.md: each client, installed and asked against a real server.

`make test-clients` runs this. A recipe is a whole program. Its first lines name its packages, in the form of
inline script metadata (which `uv run` reads) or as `// npm: ...`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.support.process import ROOT, ServerProcess

INSTALLED = os.environ.get("CLIENTS_DIR")
pytestmark = [
    pytest.mark.skipif(not INSTALLED, reason="needs the clients: make test-clients"),
    pytest.mark.timeout(900),
]
RECIPES = sorted(each for each in (Path(__file__).parent / "recipes").iterdir() if each.is_file())
WITHOUT_REQUESTS = ("with_continue.mjs",)
"""Its configuration is checked by its own schema; the program itself is an editor's."""
PROBE = "/tokenizer_info"
"""Where lm-evaluation-harness looks for vLLM first; it goes on without."""
QUIET = {
    "CREWAI_TRACING_ENABLED": "false",
    "OTEL_SDK_DISABLED": "true",
    "OPENAI_AGENTS_DISABLE_TRACING": "1",
    "PROMPTFOO_DISABLE_TELEMETRY": "1",
    "PROMPTFOO_DISABLE_UPDATE": "1",
}
"""Nothing but the server is asked."""


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    process = ServerProcess("--threads", "1", "--embedding-model", "self")
    process.wait_until_ready()
    yield process
    process.stop()


@pytest.mark.parametrize("recipe", [pytest.param(each, id=each.stem) for each in RECIPES])
def test_the_client_gets_its_answer(recipe: Path, server: ServerProcess, tmp_path: Path) -> None:
    code = recipe.read_text(encoding="utf-8").replace("http://127.0.0.1:5001", server.url)
    program = tmp_path / f"recipe{recipe.suffix}"
    program.write_text(code, encoding="utf-8")
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("OPENEDAI_", "OPENAI_"))}
    environment = inherited | QUIET | {"HOME": str(tmp_path)}
    environment["TOKENIZER"] = str(ROOT / "models" / "openedai-tiny")
    before = len(server.output)
    if recipe.suffix == ".py":
        printed = run([str(uv()), "run", *UV_RUN, "--script", str(program)], tmp_path, environment)
    else:
        packages = re.findall(r"^// npm: (.*)$", code, re.MULTILINE)[0].split()
        (tmp_path / "package.json").write_text('{"private": true}')
        flags = ["--no-audit", "--no-fund", "--ignore-scripts", "--cache", str(folder() / "npm")]
        run([needed("npm"), "install", *flags, *packages], tmp_path, environment)
        printed = run([needed("node"), str(program)], tmp_path, environment)
    assert printed.strip()
    lines = [line for line in server.output[before:].splitlines() if PROBE not in line]
    statuses = re.findall(r"\bstatus=(\d+)", "\n".join(lines))
    assert set(statuses) <= {"200"}, server.output[before:]
    assert statuses or recipe.name in WITHOUT_REQUESTS


UV_RUN = ("--quiet", "--no-project", "--python", sys.executable)


def folder() -> Path:
    return Path(str(INSTALLED)).resolve()


def uv() -> Path:
    return folder() / "bin" / "uv"


def needed(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def run(command: list[str], place: Path, environment: Mapping[str, str]) -> str:
    done = subprocess.run(
        command,
        cwd=place,
        env={**environment, "UV_CACHE_DIR": str(folder() / "uv")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout
