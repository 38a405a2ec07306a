"""How many of our files one has to know: for one chat, and to import an endpoint.

The bounds are what is reached, and only ever become lower, without two concepts in one file. Of the 48
files of a chat 6 belong to the connection, 7 to the request, 4 to the key, 4 to the queue, 13 to the
generation, 10 to the engine and 4 to the records.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from extensions.openai.engines.llamacpp.engine import LlamaCppEngine
from tests.conftest import Serve
from tests.support.process import ROOT
from tests.support.wire import ask

FILES_OF_A_CHAT = 52
MODULES_OF_MODELS = 7

BESIDE = {"server/reaper.py"}
"""It looks at all connections every second, whatever they ask."""
OURS = str(ROOT / "extensions" / "openai") + "/"
CHAT = {
    "model": "random",
    "messages": [{"role": "user", "content": "Hello"}],
    "max_tokens": 5,
    "temperature": 0,
}
# Packages are a line that says what is in them, and no code.
LOADED = """
import json, sys
import extensions.openai.models
found = [name for name in sys.modules if name.startswith("extensions.openai")]
print(json.dumps(sorted(n for n in found if not hasattr(sys.modules[n], "__path__"))))
"""


@pytest.fixture
def seen() -> Iterator[set[str]]:
    """Our files whose code has run in threads that were started since."""
    files: set[str] = set()

    def hook(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(OURS):
            files.add(frame.f_code.co_filename.removeprefix(OURS))

    threading.setprofile(hook)
    yield files
    threading.setprofile(None)


def settled(seen: set[str]) -> set[str]:
    """What is there once nothing more comes: a request ends after its answer has."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        before = len(seen)
        time.sleep(0.3)
        if len(seen) == before:
            return set(seen)
    raise AssertionError("new files all the time")


def test_one_chat_runs_through_few_files(seen: set[str], serve: Serve, random_model: Path) -> None:
    """From the socket to llama.cpp and back, with a key. Several alike: what is read once, or happens now
    and then beside them, is no part of a request."""
    engine = LlamaCppEngine(random_model, name="random", threads=1)
    runs: list[set[str]] = []
    try:
        port = serve(engine, api_key="k").port
        for _ in range(4):
            seen.clear()
            answer = ask(port, "POST", "/v1/chat/completions", CHAT, authorization="Bearer k")
            assert answer.status == 200, answer.body
            runs.append(settled(seen))
    finally:
        engine.close()
    files = set.intersection(*runs[1:]) - BESIDE
    assert {"chat.py", "server/channel.py", "engines/llamacpp/session.py"} <= files
    assert len(files) <= FILES_OF_A_CHAT, "\n".join(sorted(files))


def test_an_endpoint_imports_few_modules() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOADED], cwd=ROOT, capture_output=True, text=True, check=True
    )
    modules = json.loads(done.stdout)
    assert "extensions.openai.models" in modules
    assert len(modules) <= MODULES_OF_MODELS, "\n".join(modules)
