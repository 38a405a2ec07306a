"""The pages of models and LoRAs, on the program as it is started, with real model files."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from flask.testing import FlaskClient

from extensions.openai.engines.swappable import SwappableEngine
from extensions.openai.settings import Settings
from extensions.openai.web.app import create_app
from tests.support.process import ROOT, ServerProcess
from tests.support.reference import assert_envelope

GGUF = ROOT / "models" / "openedai-tiny" / "openedai-tiny.gguf"
HELLO: Any = [{"role": "user", "content": "Hello!"}]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("models")
    shutil.copy(GGUF, folder / "second.gguf")
    (folder / "broken.gguf").write_bytes(b"GGUF and then nothing")
    process = ServerProcess(
        *("--model-dir", str(folder), "--ctx-size", "512"),
        environment={
            "OPENEDAI_API_KEY": "user-key",
            "OPENEDAI_ADMIN_KEY": "admin-key",
            "OPENEDAI_LIST_HOST_MODELS": "true",
            "OPENEDAI_DRAIN_TIMEOUT": "0.2",
        },
    )
    process.wait_until_ready()
    yield process
    process.stop()


class Admin:
    """A client with a key that changes models."""

    def __init__(self, server: ServerProcess, key: str = "admin-key") -> None:
        self.url = f"{server.url}/v1/internal"
        self.headers = {"Authorization": f"Bearer {key}"}

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self.url + path, headers=self.headers, timeout=50)

    def post(self, path: str, **body: Any) -> httpx.Response:
        return httpx.post(self.url + path, headers=self.headers, timeout=50, json=body or None)


@pytest.fixture
def admin(server: ServerProcess) -> Iterator[Admin]:
    caller = Admin(server)
    yield caller
    caller.post("/model/load", model_name="openedai-tiny")


def sdk(server: ServerProcess) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="user-key", max_retries=0)


def test_the_list_and_what_is_loaded(server: ServerProcess, admin: Admin) -> None:
    names = admin.get("/model/list").json()["model_names"]
    assert {"openedai-tiny", "second"} <= set(names)
    memory = admin.get("/model/list?memory=true").json()["memory"]
    assert set(memory) == {"openedai-tiny", "second"}  # and nothing of the broken file
    assert memory["second"] > GGUF.stat().st_size
    loaded = {"model_name": "openedai-tiny", "lora_names": [], "loader": "llama.cpp"}
    assert admin.get("/model/info").json() == loaded
    assert Admin(server, "user-key").get("/model/info").json() == loaded


def test_another_model_is_loaded_by_name(server: ServerProcess, admin: Admin) -> None:
    with sdk(server) as client:
        listed = {each.id: each for each in client.models.list().data}
        assert listed["second"].model_extra == {"capabilities": [], "loaded": False}
        with pytest.raises(openai.NotFoundError):
            client.chat.completions.create(model="second", messages=HELLO)
        done = admin.post("/model/load", model_name="second")
        assert (done.status_code, done.json()["model_name"]) == (200, "second")
        answer = client.chat.completions.create(model="second", messages=HELLO, temperature=0)
        assert answer.model == "second" and answer.choices[0].message.content
        with pytest.raises(openai.NotFoundError):
            client.chat.completions.create(model="openedai-tiny", messages=HELLO)
        assert client.models.retrieve("openedai-tiny").model_extra == {
            "capabilities": [],
            "loaded": False,
        }


def test_a_model_that_was_unloaded_is_loaded_for_the_next_answer(
    server: ServerProcess, admin: Admin
) -> None:
    assert admin.post("/model/unload").json()["model_name"] is None
    # A load balancer must not take a server out that answers.
    assert httpx.get(f"{server.url}/health", timeout=60).json() == {"status": "ok"}
    with sdk(server) as client:
        assert not any(each.to_dict().get("loaded", True) for each in client.models.list().data)
        assert client.chat.completions.create(model="openedai-tiny", messages=HELLO).choices
        assert client.models.retrieve("openedai-tiny").to_dict().get("loaded", True)


def test_a_stream_that_is_under_way_ends_well_or_with_one_error(
    server: ServerProcess, admin: Admin
) -> None:
    with sdk(server) as client:
        stream = client.completions.create(
            model="openedai-tiny", prompt="Once", max_tokens=400, stream=True, temperature=1.5,
            extra_body={"ignore_eos": True},
        )  # fmt: skip
        next(iter(stream))
        with ThreadPoolExecutor(2) as pool:
            loads = [pool.submit(admin.post, "/model/load", model_name=n) for n in ("second",) * 2]
            try:
                finish = [chunk.choices[0].finish_reason for chunk in stream if chunk.choices][-1]
                assert finish == "length"
            except openai.APIError as error:
                assert error.code == "model_changed"
            assert [load.result().status_code for load in loads] == [200, 200]
        assert client.chat.completions.create(model="second", messages=HELLO).choices


def test_without_the_admin_key_nothing_is_changed(server: ServerProcess) -> None:
    user = Admin(server, "user-key")
    for path in ("/model/load", "/model/unload", "/lora/load", "/lora/unload"):
        assert user.post(path, model_name="second", lora_names=[]).status_code in (401, 403), path
    for path in ("/model/list", "/lora/list"):
        assert user.get(path).status_code in (401, 403), path
    assert user.get("/model/info").json()["model_name"] == "openedai-tiny"


@pytest.mark.parametrize(
    ("path", "body", "status", "param"),
    [
        ("/model/load", {"model_name": "nothing"}, 404, "model"),
        ("/model/load", {"model_name": "../second"}, 404, "model"),
        ("/model/load", {"args": {}}, 400, "model_name"),
        ("/model/load", {"model_name": "second", "args": {"ctx_size": 1}}, 400, "args.ctx_size"),
        (
            "/model/load",
            {"model_name": "second", "instruction_template": "x"},
            400,
            "instruction_template",
        ),
        ("/lora/load", {"lora_names": ["x"]}, 400, "lora_names"),
        ("/lora/load", {"lora_names": "x"}, 400, "lora_names"),
    ],
)
def test_what_is_wrong_is_named_and_the_model_stays(
    admin: Admin, path: str, body: dict[str, Any], status: int, param: str
) -> None:
    answer = admin.post(path, **body)
    assert answer.status_code == status, answer.text
    assert_envelope(answer.json())
    assert answer.json()["error"]["param"] == param
    assert admin.get("/model/info").json()["model_name"] == "openedai-tiny"


def test_a_file_that_is_no_model_changes_nothing(server: ServerProcess, admin: Admin) -> None:
    if "broken" not in admin.get("/model/list").json()["model_names"]:
        pytest.fail("the broken file is not listed")
    before = admin.get("/model/info").json()["model_name"]
    answer = admin.post("/model/load", model_name="broken")
    error = assert_envelope(answer.json())
    assert answer.status_code == 500 and error["code"] == "model_load_failed"
    assert "broken.gguf is cut off or damaged" in error["message"]
    assert "/" not in error["message"]
    deadline = time.monotonic() + 10
    while "the model broken is not loaded" not in server.output:
        assert time.monotonic() < deadline, "the log says nothing of it"
        threading.Event().wait(0.05)
    assert before is not None and admin.get("/model/info").json()["model_name"] == before
    assert admin.post("/model/load", model_name="second").status_code == 200


def test_an_engine_that_cannot_load_says_so(client: FlaskClient) -> None:
    for method, path in (("GET", "model/info"), ("POST", "model/unload"), ("GET", "lora/list")):
        answer = client.open(f"/v1/internal/{path}", method=method)
        assert answer.status_code == 400
        assert answer.get_json()["error"]["code"] == "not_supported"
        assert "cannot load others" in answer.get_json()["error"]["message"]


def test_while_the_first_model_loads_the_answer_is_to_come_again() -> None:
    """What the engine can load is not known before."""
    loading = create_app(Settings(), SwappableEngine()).test_client()
    for method, path in (("GET", "model/info"), ("POST", "model/unload"), ("GET", "lora/list")):
        answer = loading.open(f"/v1/internal/{path}", method=method)
        assert answer.status_code == 503 and answer.headers["Retry-After"]
        assert assert_envelope(answer.get_json())["code"] == "model_loading"


def test_names_below_the_model_folder(tmp_path: Path) -> None:
    from host.models.model_files import FolderCatalog, find
    from host.options import HostOptions

    (tmp_path / "folder").mkdir()
    shutil.copy(GGUF, tmp_path / "folder" / "any.gguf")
    shutil.copy(GGUF, tmp_path / "file.gguf")
    options = HostOptions(model_dir=tmp_path, ctx_size=300, lora=())
    catalog = FolderCatalog(options, find("openedai-tiny", tmp_path))
    assert set(catalog.names()) == {"openedai-tiny", "folder", "file"}
    spec = catalog.find("folder")
    assert spec.name == "folder" and spec.path == tmp_path / "folder" / "any.gguf"
    assert spec.context_length == 300 and spec.catalog is catalog
