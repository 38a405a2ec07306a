"""The program with upstreams: beside its own model, and alone."""

from __future__ import annotations

import json
import signal
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.fake_upstream import FakeUpstream, streamed
from tests.support.process import ServerProcess


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with FakeUpstream(streamed("from ", "there")) as fake:
        path = tmp_path_factory.mktemp("upstreams") / "upstreams.yaml"
        rows = "{big: {model: there, aliases: [larger]}, second: there}"
        path.write_text(f"upstreams: {{gpu: {{address: '{fake.address}', models: {rows}}}}}")
        yield str(path)


def post(server: ServerProcess, model: str) -> dict[str, Any]:
    body = {"model": model, "messages": [{"role": "user", "content": "Hi"}]}
    request = urllib.request.Request(
        f"{server.url}/v1/chat/completions",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def names(server: ServerProcess) -> list[str]:
    with urllib.request.urlopen(f"{server.url}/v1/models", timeout=30) as answer:
        return [each["id"] for each in json.load(answer)["data"]]


def test_upstreams_are_served_beside_the_hosts_own_model(file: str) -> None:
    server = ServerProcess("--loader", "echo", "--upstreams", file)
    try:
        server.wait_until_ready()
        assert names(server) == ["echo", "gpt-3.5-turbo", "big", "larger", "second"]
        for name, text in (("echo", "Hi"), ("big", "from there"), ("larger", "from there")):
            assert post(server, name)["choices"][0]["message"]["content"] == text
    finally:
        server.stop()


def test_upstreams_alone(file: str) -> None:
    server = ServerProcess("--loader", "upstream", "--upstreams", file)
    try:
        server.wait_until_ready()
        assert names(server) == ["big", "larger", "gpt-3.5-turbo", "second"]
        assert post(server, "gpt-3.5-turbo")["model"] == "big"
        assert "Model      big" in server.output
    finally:
        server.stop()


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_the_file_is_read_again_at_sighup(tmp_path: Path) -> None:
    with FakeUpstream(streamed("from ", "there")) as fake:
        file = tmp_path / "upstreams.yaml"
        row = f"upstreams: {{gpu: {{address: '{fake.address}', models: {{NAME: there}}}}}}"
        file.write_text(row.replace("NAME", "first"))
        server = ServerProcess("--loader", "upstream", "--upstreams", str(file))
        try:
            server.wait_until_ready()
            file.write_text("upstreams: {gpu: {}}")
            server.signal(signal.SIGHUP)
            assert until(lambda: "the upstreams stay as they are" in server.output)
            assert names(server) == ["first", "gpt-3.5-turbo"]
            file.write_text(row.replace("NAME", "second"))
            server.signal(signal.SIGHUP)
            assert until(lambda: names(server) == ["second", "gpt-3.5-turbo"])
            for name in ("second", "gpt-3.5-turbo"):
                assert post(server, name)["model"] == "second"
        finally:
            server.stop()


def until(holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 10
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.05)
    return holds()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--loader", "upstream"], "needs --upstreams FILE"),
        (["--loader", "echo", "--upstreams", "/nowhere.yaml"], "the file cannot be read"),
    ],
)
def test_a_start_that_is_refused(arguments: list[str], words: str) -> None:
    server = ServerProcess(*arguments)
    assert server.wait(60) == 2
    assert words in server.output and "Traceback" not in server.output
    server.stop()
