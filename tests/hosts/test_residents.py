"""Models that requests load, in real processes: what clients see, a crash, the end."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from extensions.openai.engines.echo import EchoEngine
from extensions.openai.engines.model_spec import ModelLoadError
from extensions.openai.hosts.residents import ServedResidents
from extensions.openai.settings import Settings
from extensions.openai.web.app import create_app
from host.models.model_files import model_spec
from host.options import HostOptions
from host.resident.plan import plan_of
from tests.host.fake_hub import FakeHub
from tests.support.process import ServerProcess
from tests.support.random_bert import NumpyBert, tokens_of, write_bert
from tests.support.random_lora import write_lora

CHAT = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 8, "temperature": 0}
SOON_S = 50.0
TEXTS = ["the cat sat on the mat", "how to reset my password?"]


@pytest.fixture(scope="module")
def hub() -> Iterator[FakeHub]:
    with FakeHub() as hub:
        yield hub


@pytest.fixture(scope="module")
def server(
    hub: FakeHub, embedded_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("models")
    file = folder / "models.yaml"
    write_lora(folder / "other.lora", width=256)
    write_bert(folder / "bert.gguf")
    shutil.copy(embedded_model, folder / "copy.gguf")
    (folder / "copy.yaml").write_text("temperature: 99\ntop_k: 2\n", encoding="utf-8")
    rows = (
        "{second: copy.gguf, meaning: bert.gguf,\n"
        " third: {model: openedai-tiny, ctx-size: 512, aliases: [small], adapters: {other: other.lora}}}"
    )
    file.write_text(f"models: {rows}", encoding="utf-8")
    server = ServerProcess(
        *("--threads", "1", "--models", str(file), "--models-max", "1"),
        *("--model-dir", str(folder), "--sampling-limits", "temperature=1.5"),
        environment={"HF_ENDPOINT": hub.address},
    )
    server.wait_until_ready()
    yield server
    server.stop()


def ask(server: ServerProcess, model: str, **fields: Any) -> tuple[int, dict[str, Any]]:
    body = json.dumps({**CHAT, "model": model, **fields}).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{server.url}/v1/chat/completions", body, headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def models(server: ServerProcess) -> dict[str, dict[str, Any]]:
    with urllib.request.urlopen(f"{server.url}/v1/models", timeout=30) as answer:
        return {each["id"]: each for each in json.load(answer)["data"]}


def children(server: ServerProcess) -> list[int]:
    path = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")
    found = [
        int(pid)
        for task in path.parent.parent.glob("*/children")
        for pid in task.read_text().split()
    ]
    return [pid for pid in found if b"child_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def admin(server: ServerProcess, method: str, path: str, **body: Any) -> tuple[int, bytes]:
    url, headers = f"{server.url}/v1/internal/models{path}", {"Content-Type": "application/json"}
    data = json.dumps(body).encode() if body else None
    try:
        with urllib.request.urlopen(
            urllib.request.Request(url, data, headers, method=method), timeout=60
        ) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def states(server: ServerProcess) -> list[dict[str, Any]]:
    """Of those that requests load; the host's own model comes after them."""
    listed: list[dict[str, Any]] = json.loads(admin(server, "GET", "")[1])["data"]
    *found, own = listed
    assert (own["id"], own["on_request"]) == ("openedai-tiny", False)
    return found


def test_a_damaged_file_of_a_folder_is_passed_over(tmp_path: Path, embedded_model: Path) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    shutil.copy(embedded_model, folder / "good.gguf")
    (folder / "cut.gguf").write_bytes(embedded_model.read_bytes()[:5000])
    own = model_spec(HostOptions(loader="upstream"))
    services = create_app(Settings(), EchoEngine()).extensions["openai"]

    def served(models: Path) -> tuple[str, ...]:
        plan = plan_of(HostOptions(models=str(models), model_dir=folder), own)
        assert plan is not None
        residents = ServedResidents(services, plan, own).residents
        return residents.names()

    assert served(folder) == ("good",)
    file = tmp_path / "models.yaml"
    file.write_text("models: {named: cut.gguf}", encoding="utf-8")
    with pytest.raises(ModelLoadError, match=r"named: cut\.gguf is cut off"):
        served(file)


def test_the_list_has_all_of_them_before_they_are_loaded(server: ServerProcess) -> None:
    listed = models(server)
    names = ["openedai-tiny", "gpt-3.5-turbo", "second", "meaning", "third", "small", "third:other"]
    assert list(listed) == names
    assert listed["third:other"]["root"] == "third"
    assert "state" not in listed["openedai-tiny"]
    third = listed["third"]
    assert third["context_length"] == 512 and "chat" in third["capabilities"]
    assert third["size"] > 2**22
    assert listed["small"]["root"] == "third"
    meaning = listed["meaning"]
    assert (meaning["capabilities"], meaning["dimensions"]) == (["embeddings"], 48)
    assert meaning["context_length"] == 128
    if not children(server):
        assert third["state"] == "not_loaded" and third["loaded"] is False


def test_a_request_loads_what_it_names(server: ServerProcess) -> None:
    own = ask(server, "openedai-tiny")[1]
    status, answer = ask(server, "small", stream=False)
    assert status == 200 and answer["model"] == "third"
    assert answer["choices"] == own["choices"] and answer["usage"] == own["usage"]
    assert models(server)["third"]["state"] == "loaded"
    assert len(children(server)) == 1


def test_what_of_a_models_files_is_above_a_limit_does_not_reach_its_process(
    server: ServerProcess,
) -> None:
    _, given = ask(server, "second", temperature=1.0, top_k=2, seed=5)
    _, found = ask(server, "second", temperature=None, seed=5)
    assert found["choices"] == given["choices"]


def test_an_adapter_is_chosen_by_name(server: ServerProcess) -> None:
    status, answer = ask(server, "third:other")
    assert (status, answer["model"]) == (200, "third:other")
    assert answer["choices"] != ask(server, "openedai-tiny")[1]["choices"]
    (row,) = (each for each in states(server) if each["id"] == "third:other")
    assert row["arguments"]["lora"] == ["other.lora"] and row["arguments"]["ctx-size"] == 512


def test_an_embedding_model_is_one_of_them(server: ServerProcess, tmp_path: Path) -> None:
    body = {"model": "meaning", "input": TEXTS, "dimensions": 49}
    refused = httpx.post(f"{server.url}/v1/embeddings", json=body, timeout=60)
    assert refused.status_code == 400 and refused.json()["error"]["param"] == "dimensions"
    del body["dimensions"]
    made = httpx.post(f"{server.url}/v1/embeddings", json=body, timeout=60).json()
    model = NumpyBert.read(write_bert(tmp_path / "same.gguf"))
    for text, each in zip(TEXTS, made["data"], strict=True):
        assert np.abs(model.embedding(tokens_of(text)) - each["embedding"]).max() < 2e-3
    assert made["model"] == "meaning"
    assert made["usage"]["total_tokens"] == sum(len(tokens_of(text)) for text in TEXTS)
    status, answer = ask(server, "meaning")
    assert status == 400 and "writes no text" in answer["error"]["message"]


def test_clients_in_turn_are_all_answered(server: ServerProcess) -> None:
    wanted = ["second", "third"] * 4
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda name: ask(server, name), wanted))
    assert [status for status, _ in found] == [200] * 8
    assert [answer["model"] for _, answer in found] == wanted
    assert len(children(server)) == 1


@pytest.mark.skipif(not Path("/proc").exists(), reason="the system has no /proc")
def test_a_crash_is_a_503_and_the_next_request_is_answered(server: ServerProcess) -> None:
    assert ask(server, "second")[0] == 200
    (pid,) = children(server)
    os.kill(pid, signal.SIGSTOP)  # so that it does not end before it is killed
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(ask, server, "second")
        deadline = time.monotonic() + SOON_S
        while not any(each["running"] for each in states(server)):
            assert time.monotonic() < deadline and not running.done()
        os.kill(pid, signal.SIGKILL)
        status, answer = running.result()
    assert status == 503 and answer["error"]["code"] == "engine_unreachable"
    assert ask(server, "second")[0] == 200
    assert children(server) != [pid]


def test_a_model_is_downloaded_used_and_deleted(
    server: ServerProcess, hub: FakeHub, embedded_model: Path
) -> None:
    hub.add("some/model").files["model.gguf"] = embedded_model.read_bytes()
    source = {"model": "hf:some/model", "stream": True}
    status, events = admin(server, "POST", "/download", **source)
    *_, last, done, end = events.split(b"\n\n")
    assert (status, done, end) == (200, b"data: [DONE]", b"")
    size = embedded_model.stat().st_size
    assert json.loads(last.removeprefix(b"data: ")) == {
        "state": "ready", "done": size, "total": size, "model": "some_model", "error": None,
    }  # fmt: skip
    status, answer = ask(server, "some_model")
    assert (status, answer["model"]) == (200, "some_model")
    loaded = [each["id"] for each in states(server) if each["state"] == "loaded"]
    assert loaded == ["some_model"]
    assert admin(server, "DELETE", "/some_model")[0] == 200
    assert ask(server, "some_model")[0] == 404 and "some_model" not in models(server)
    assert admin(server, "DELETE", "/second")[0] == 409
    status, failed = admin(server, "POST", "/download", model="hf:some/other")
    assert status == 200 and json.loads(failed)["state"] == "failed"
    assert b"no repository some/other" in failed


@pytest.mark.skipif(not Path("/proc").exists(), reason="the system has no /proc")
def test_its_processes_end_with_it(server: ServerProcess) -> None:
    """The last test of the file: it kills the server."""
    assert ask(server, "second")[0] == 200
    (pid,) = children(server)
    server.process.kill()
    deadline = time.monotonic() + SOON_S
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
