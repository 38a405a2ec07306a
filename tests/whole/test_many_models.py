"""Requests over three models with room for two, of which every third is cancelled: every answer is that of
its model, and the memory is back at the end. An optional suite: `make test-models`."""

from __future__ import annotations

import json
import os
import random
import shutil
import socket
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support.process import ServerProcess
from tests.support.random_model import write_model

COUNT = int(os.environ.get("OPENEDAI_MODELS_REQUESTS", "0"))
CLIENTS = 8
SEED = 20
TOLERANCE_BYTES = 64 << 20
PROMPTS = ("Hello", "What is the weather?", "Once upon a time", "Count to ten")

pytestmark = [
    pytest.mark.skipif(not COUNT, reason="make test-models runs it"),
    pytest.mark.timeout(120 + 5 * COUNT),
]


@pytest.fixture(scope="module")
def server(
    embedded_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    """Three models that answer differently; the room holds two."""
    folder = tmp_path_factory.mktemp("models")
    shutil.copy(embedded_model, folder / "one.gguf")
    write_model(folder / "two.gguf", seed=1)
    write_model(folder / "three.gguf", seed=2)
    server = ServerProcess(
        *("--loader", "upstream", "--models", str(folder), "--models-max", "2", "--threads", "1"),
        *("--models-wait", "3", "--models-idle", "5", "--queue-limit", "64"),
    )
    server.wait_until_ready()
    yield server
    server.stop()


def post(server: ServerProcess, model: str, prompt: str, **fields: Any) -> dict[str, Any]:
    body = {"model": model, "prompt": prompt, "max_tokens": 12, "temperature": 0, **fields}
    request = urllib.request.Request(
        f"{server.url}/v1/completions",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=300) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def cancel(server: ServerProcess, model: str, prompt: str, after_s: float) -> None:
    """Send a request for a stream, and hang up after a while, wherever it is then."""
    body = json.dumps(
        {"model": model, "prompt": prompt, "max_tokens": 400, "stream": True, "ignore_eos": True}
    ).encode()
    head = (
        "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(head.encode() + body)
        time.sleep(after_s)


def state(server: ServerProcess) -> list[dict[str, Any]]:
    with urllib.request.urlopen(f"{server.url}/v1/internal/models", timeout=60) as answer:
        found: list[dict[str, Any]] = json.load(answer)["data"]
    return found


def memory(server: ServerProcess) -> int:
    """Bytes of the server and all its processes."""
    pids = [server.process.pid]
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").glob("*/children"):
            pids += map(int, task.read_text().split())
    found = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                found += int(line.split()[1]) << 10
    return found


@pytest.mark.skipif(not Path("/proc").exists(), reason="the system has no /proc")
def test_every_answer_is_right_and_the_memory_is_back(server: ServerProcess) -> None:
    before = memory(server)
    names = [each["id"] for each in state(server)]
    assert sorted(names) == ["one", "three", "two"]
    right = {
        (name, prompt): post(server, name, prompt)["choices"][0]["text"]
        for name in names
        for prompt in PROMPTS
    }
    assert len({right[name, "Hello"] for name in names}) == 3, "the models answer alike"
    chance, lock, seen = random.Random(SEED), threading.Lock(), Counter[str]()
    plan = [
        (at, chance.choice(names), chance.choice(PROMPTS), chance.random()) for at in range(COUNT)
    ]

    def client(each: tuple[int, str, str, float]) -> None:
        at, name, prompt, share = each
        if at % 3 == 2:
            cancel(server, name, prompt, share)
            outcome = "cancelled"
        else:
            answer = post(server, name, prompt)
            assert answer["model"] == name
            assert answer["choices"][0]["text"] == right[name, prompt], (name, prompt)
            outcome = "answered"
        loaded = [model for model in state(server) if model["state"] != "not_loaded"]
        assert len(loaded) <= 2
        with lock:
            seen[outcome] += 1

    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(client, plan))
    assert seen == {"cancelled": COUNT // 3, "answered": COUNT - COUNT // 3}
    deadline = time.monotonic() + 60
    while any(each["state"] != "not_loaded" for each in state(server)):
        assert time.monotonic() < deadline, state(server)
        time.sleep(0.2)
    assert not any(each["running"] or each["waiting"] for each in state(server))
    kept = memory(server) - before
    print(
        f"{COUNT} requests, {sum(each['loads'] for each in state(server))} loads, {kept >> 20} MiB kept"
    )
    assert kept < TOLERANCE_BYTES
