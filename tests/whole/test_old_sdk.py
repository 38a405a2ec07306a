"""The official client of 2023 (openai 0.28.1), found by OPENAI_API_BASE, in an environment of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.process import ROOT, ServerProcess

VERSION = "0.28.1"
ENVIRONMENT = ROOT / ".venv-openai028"


@pytest.fixture(scope="session")
def old_python() -> Path:
    """A Python that has the old client; made once and kept beside the program."""
    python = ENVIRONMENT / "bin" / "python"
    stamp = ENVIRONMENT / f".openai-{VERSION}"
    if not stamp.exists():
        subprocess.run(
            [sys.executable, "-m", "venv", "--clear", str(ENVIRONMENT)], check=True, timeout=120
        )
        done = subprocess.run(
            [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
             f"openai=={VERSION}"],
            capture_output=True, text=True, timeout=280, check=False,
        )  # fmt: skip
        if done.returncode:
            unreachable = (
                "connection",
                "timed out",
                "Temporary failure",
                "No matching distribution",
            )
            if any(word in done.stderr for word in unreachable):
                pytest.skip(f"PyPI cannot be reached for openai=={VERSION}")
            raise AssertionError(done.stderr)
        stamp.touch()
    return python


@pytest.fixture
def run_old(old_python: Path, server: ServerProcess) -> Any:
    """Run a program with the old client; it prints JSON, which is returned."""

    def run(program: str) -> Any:
        head = "import json, openai\nassert openai.VERSION == %r\nmodel = %r\n"
        done = subprocess.run(
            [old_python, "-c", head % (VERSION, server.model) + program],
            env={
                "OPENAI_API_BASE": f"{server.url}/v1",
                "OPENAI_API_KEY": "unused",
                "PATH": "/usr/bin:/bin",
                "NO_PROXY": "*",
            },
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


@pytest.mark.timeout(400)
def test_completions(run_old: Any) -> None:
    answers = run_old(
        """
plain = openai.Completion.create(model=model, prompt=["Hello", "you"], max_tokens=6, n=2, temperature=0)
stream = list(openai.Completion.create(model=model, prompt="Hello", max_tokens=6, temperature=0, stream=True))
engine = openai.Completion.create(engine=model, prompt="Hello", max_tokens=6, temperature=0)
print(json.dumps([plain, stream, engine, plain.openai_id, engine.response_ms]))
"""
    )
    plain, stream, engine = answers[:3]
    assert [choice["index"] for choice in plain["choices"]] == [0, 1, 2, 3]
    assert plain["usage"]["completion_tokens"] <= 4 * 6
    assert plain["object"] == "text_completion"
    streamed = "".join(chunk["choices"][0]["text"] for chunk in stream)
    assert streamed == engine["choices"][0]["text"] == plain["choices"][0]["text"]
    assert stream[-1]["choices"][0]["finish_reason"] in ("stop", "length")
    assert isinstance(answers[4], int), "the client reads openai-processing-ms"


@pytest.mark.timeout(400)
def test_chats(run_old: Any) -> None:
    plain, stream, stand_in = run_old(
        """
messages = [{"role": "user", "content": "Hello"}]
asked = dict(messages=messages, max_tokens=8, temperature=0)
plain = openai.ChatCompletion.create(model=model, **asked)
stream = list(openai.ChatCompletion.create(model=model, stream=True, **asked))
stand_in = openai.ChatCompletion.create(model="gpt-3.5-turbo", **asked)
print(json.dumps([plain, stream, stand_in]))
"""
    )
    assert plain["choices"][0]["message"]["role"] == "assistant"
    assert stream[0]["choices"][0]["delta"]["role"] == "assistant"
    streamed = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in stream)
    assert streamed == plain["choices"][0]["message"]["content"]
    assert stand_in["choices"][0]["message"] == plain["choices"][0]["message"]


@pytest.mark.timeout(400)
def test_models(run_old: Any) -> None:
    listed, one = run_old(
        """
print(json.dumps([openai.Model.list(), openai.Model.retrieve("gpt-3.5-turbo")]))
"""
    )
    assert listed["object"] == "list"
    assert "gpt-3.5-turbo" in [model["id"] for model in listed["data"]]
    assert one["id"] == "gpt-3.5-turbo"


@pytest.mark.timeout(400)
def test_error_classes(run_old: Any) -> None:
    found = run_old(
        """
hello = [{"role": "user", "content": "Hello"}]
found = []
for call in (
    lambda: openai.ChatCompletion.create(model=model, messages=hello, temperature=900),
    lambda: openai.ChatCompletion.create(model=model, messages=[]),
    lambda: openai.Completion.create(model=model, prompt="x " * 100000),
    lambda: list(openai.ChatCompletion.create(model=model, messages=[], stream=True)),
    lambda: openai.Model.retrieve("nope"),
):
    try:
        call()
        found.append(None)
    except openai.error.OpenAIError as error:
        found.append([type(error).__name__, error.http_status, error.code, error.param,
                      bool(error.user_message)])
print(json.dumps(found))
"""
    )
    bad = "InvalidRequestError"
    assert found == [
        [bad, 400, "decimal_above_max_value", "temperature", True],
        [bad, 400, "empty_array", "messages", True],
        [bad, 400, "context_length_exceeded", "prompt", True],
        [bad, 400, "empty_array", "messages", True],
        [bad, 404, "model_not_found", "model", True],
    ]


@pytest.mark.timeout(400)
def test_engines(run_old: Any, server: ServerProcess) -> None:
    program = """
listed = openai.Engine.list()
one = openai.Engine.retrieve(model)
print(json.dumps([[each.id for each in listed.data], one.id, one.object]))
"""
    names, one, kind = run_old(program)
    assert server.model in names
    assert (one, kind) == (server.model, "engine")
