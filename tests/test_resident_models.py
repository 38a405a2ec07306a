"""The operator's routes for models that requests load, without processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from flask.testing import FlaskClient

from extensions.openai.engines.echo import EchoEngine
from extensions.openai.engines.resident.engine import ResidentEngine
from extensions.openai.settings import Settings
from extensions.openai.web.app import create_app
from tests.support.reference import assert_envelope
from tests.support.resident_models import Library, library_of_two, serve_library

URL = "/v1/internal/models"


@pytest.fixture
def library() -> Iterator[Library]:
    made = library_of_two()
    yield made
    made.residents.close()


@pytest.fixture
def client(library: Library) -> FlaskClient:
    app = create_app(Settings(), EchoEngine())
    serve_library(app, library)
    return app.test_client()


def refused(answer: Any, status: int, code: str) -> None:
    assert answer.status_code == status
    assert assert_envelope(answer.json)["code"] == code


def test_all_of_them_and_the_room(client: FlaskClient) -> None:
    listed = client.get(URL).json
    assert [each["id"] for each in listed["data"]] == ["a", "b", "echo"]
    assert listed["room"] == {"models": 1, "bytes": 150, "used": 0}
    first = listed["data"][0]
    assert first["state"] == "not_loaded" and first["arguments"] == {"ctx-size": 512}
    assert first["aliases"] == ["a-alias"] and first["size"] == 100


def test_load_pin_unload(client: FlaskClient) -> None:
    loaded = client.post(f"{URL}/load", json={"model": "a"}).json
    assert (loaded["state"], loaded["loads"], loaded["pinned"]) == ("loaded", 1, False)
    assert client.get(URL).json["room"]["used"] == 100
    assert client.post(f"{URL}/pin", json={"model": "a"}).json["pinned"] is True
    refused(client.post(f"{URL}/load", json={"model": "b"}), 503, "no_room_for_model")
    assert client.post(f"{URL}/pin", json={"model": "a", "pinned": False}).json["pinned"] is False
    assert client.post(f"{URL}/unload", json={"model": "a"}).json["state"] == "not_loaded"
    assert client.post(f"{URL}/load", json={"model": "b"}).json["state"] == "loaded"
    shown = client.get("/v1/models/b").json
    assert (shown["state"], shown["loaded"], shown["size"]) == ("loaded", True, 100)


def test_a_stream_gets_comments_while_its_model_loads(library: Library) -> None:
    library.may_load.clear()
    app = create_app(Settings(keep_alive=0.1), EchoEngine())
    engine = ResidentEngine(library.residents, "a")
    app.extensions["openai"].models.add("a", engine)
    body = {"model": "a", "prompt": "Hello", "stream": True}
    with app.test_client().post("/v1/completions", json=body) as answer:
        events: Iterator[Any] = iter(answer.response)
        # Before the load begins, it waits for room.
        assert b": loading the model, 42 %\n\n" in events
        library.may_load.set()
        rest = b"".join(events)
    assert rest.count(b'"text":') > 5 and rest.endswith(b"data: [DONE]\n\n")


def test_a_request_waits_for_room(library: Library) -> None:
    library.residents.load("a")
    app = create_app(Settings(keep_alive=0.1), EchoEngine())
    engine = ResidentEngine(library.residents, "b")
    app.extensions["openai"].models.add("b", engine)
    with library.residents.lease("a") as busy:
        assert busy.wait(60) is not None
        body = {"model": "b", "prompt": "Hello", "stream": True}
        with app.test_client().post("/v1/completions", json=body) as answer:
            assert next(iter(answer.response)) == b": waiting for room for the model\n\n"


def test_the_metrics_of_loads(client: FlaskClient, library: Library) -> None:
    client.post(f"{URL}/load", json={"model": "a"})
    client.post(f"{URL}/unload", json={"model": "a"})
    library.load_fails = True
    refused(client.post(f"{URL}/load", json={"model": "b"}), 500, "model_load_failed")
    lines = client.get("/metrics").get_data(as_text=True).splitlines()
    for name, a, b in (
        ("model_loaded", 0, 0),
        ("model_loads_total", 1, 0),
        ("model_load_failures_total", 0, 1),
        ("model_waiting", 0, 0),
    ):
        assert f'openedai_{name}{{model="a"}} {a:.1f}' in lines
        assert f'openedai_{name}{{model="b"}} {b:.1f}' in lines
    begin = 'openedai_model_load_seconds_total{model="a"}'
    (seconds,) = (line for line in lines if line.startswith(begin))
    assert float(seconds.rsplit(" ", 1)[-1]) == library.residents.status("a").loads.seconds


@pytest.mark.parametrize("path", ["load", "unload", "pin"])
def test_a_name_that_is_none(client: FlaskClient, path: str) -> None:
    refused(client.post(f"{URL}/{path}", json={"model": "c"}), 404, "model_not_found")


def test_the_progress_of_a_download(client: FlaskClient, library: Library) -> None:
    with client.post(f"{URL}/download", json={"model": "hf:some/model", "stream": True}) as answer:
        events: Iterator[Any] = iter(answer.response)
        # Its first events may come before it knows how much there is.
        shown = (orjson.loads(each.removeprefix(b"data: ")) for each in events if b"{" in each)
        assert {
            "state": "downloading", "done": 7, "total": 10, "model": None, "error": None,
        } in shown  # fmt: skip
        library.may_end.set()
        *_, last = shown
    assert (last["state"], last["done"], last["model"]) == ("ready", 10, "fetched")
    whole = client.post(f"{URL}/download", json={"model": "hf:some/model"}).json
    assert whole == last


def test_a_download_that_fails(client: FlaskClient, library: Library) -> None:
    library.fault = "no GGUF file in the repository some/model"
    library.may_end.set()
    failed = client.post(f"{URL}/download", json={"model": "hf:some/model"}).json
    assert (failed["state"], failed["error"]) == ("failed", library.fault)


@pytest.mark.parametrize("source", ["some/model", "hf:../x", "hf:a/b/c", "https://x/y"])
def test_what_is_no_name_of_a_hub(client: FlaskClient, source: str) -> None:
    assert client.post(f"{URL}/download", json={"model": source}).status_code == 400


def test_delete(client: FlaskClient, library: Library) -> None:
    deleted = client.delete(f"{URL}/b").json
    assert deleted == {"id": "b", "object": "model", "deleted": True} and library.deleted == ["b"]
    refused(client.delete(f"{URL}/a"), 409, "model_in_file")
    refused(client.delete(f"{URL}/c"), 404, "model_not_found")


def test_a_server_without_such_models() -> None:
    client = create_app(Settings(), EchoEngine()).test_client()
    listed = client.get(URL).json
    assert listed["room"] is None
    (own,) = listed["data"]
    assert (own["id"], own["state"], own["on_request"]) == ("echo", "loaded", False)
    assert own["aliases"] == ["gpt-3.5-turbo"] and "chat" in own["capabilities"]
    assert client.post(f"{URL}/load", json={"model": "echo"}).status_code == 400


def test_only_the_admin(tmp_path: Path) -> None:
    options = Settings(api_key="user", admin_key="admin")
    client = create_app(options, EchoEngine()).test_client()
    assert client.get(URL, headers={"Authorization": "Bearer user"}).status_code == 403
