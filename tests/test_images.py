"""Images: pictures with an address, and in events."""

from __future__ import annotations

import io
import json
import secrets
import time
from base64 import b64decode, b64encode
from typing import Any

import pytest

from extensions.openai.engines.pictures import Picture, Pictures, PictureSteps, PictureTask
from extensions.openai.web import picture_links
from tests.support.api import Api
from tests.support.every_task import PNG, EveryTaskEngine
from tests.support.paced import PacedEngine
from tests.support.reference import assert_envelope

KEYS = {"store": "memory", "api_key": "secret"}
MINE = {"Authorization": "Bearer secret"}


def api_with(**options: Any) -> Api:
    api = Api(PacedEngine(), **{"store": "memory", **options})
    api.app.extensions["openai"].models.add("tasks", EveryTaskEngine())
    return api


@pytest.fixture(scope="module")
def api() -> Api:
    return api_with(**KEYS)


def make(api: Api, status: int = 200, **body: Any) -> Any:
    answer = api.client.post(
        "/v1/images/generations", json={"prompt": "A cat", **body}, headers=MINE
    )
    assert answer.status_code == status, answer.get_data(as_text=True)
    return answer.json


def events(answer: Any) -> list[Any]:
    assert answer.status_code == 200, answer.get_data(as_text=True)
    lines = answer.get_data(as_text=True).split("\n\n")
    return [json.loads(line[6:]) for line in lines if line.startswith("data: {")]


def test_a_picture_has_an_address_that_needs_no_key(api: Api) -> None:
    before = int(time.time())
    one, two = make(api, n=2, response_format="url")["data"]
    assert one["url"] != two["url"] and "b64_json" not in one
    assert one["url"].startswith("http://localhost/v1/images/files/file-")
    path = one["url"].removeprefix("http://localhost")
    with api.client.get(path) as answer:
        assert answer.status_code == 200 and answer.data == b64decode(PNG)
        assert answer.headers["Content-Type"] == "image/png"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    # It is the key's own file besides, with an end.
    id = path.rpartition("/")[2]
    file = api.client.get(f"/v1/files/{id}", headers=MINE).json
    assert (file["purpose"], file["bytes"]) == ("image_output", len(b64decode(PNG)))
    assert before + 3600 <= file["expires_at"] <= file["created_at"] + 3600
    assert api.client.get(f"/v1/files/{id}").status_code == 401
    assert api.client.delete(f"/v1/files/{id}", headers=MINE).status_code == 200
    gone = api.client.get(path)
    assert gone.status_code == 404 and assert_envelope(gone.json, status=404)


def test_other_files_are_not_open(api: Api) -> None:
    form = {"purpose": "vision", "file": (io.BytesIO(b64decode(PNG)), "a.png")}
    with api.client.post("/v1/files", data=form, headers=MINE) as kept:
        id = kept.json["id"]
    for each in (id, "file-" + "0" * 32, "file-\0"):
        assert api.client.get(f"/v1/images/files/{each}").status_code == 404


def test_an_address_ends(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picture_links, "SECONDS", 0)
    (made,) = make(api, response_format="url")["data"]
    assert api.client.get(made["url"].removeprefix("http://localhost")).status_code == 404


def again(api: Api, key: str = "k", **body: Any) -> Any:
    sent = {"prompt": "A cat", "response_format": "url", **body}
    headers = {**MINE, "Idempotency-Key": key}
    return api.client.post("/v1/images/generations", json=sent, headers=headers, buffered=True)


def test_a_request_that_comes_again_gets_the_same_addresses() -> None:
    api = api_with(**KEYS)
    first = again(api, n=2)
    assert first.status_code == 200 and "Idempotent-Replayed" not in first.headers
    second = again(api, n=2)
    assert second.json == first.json and second.headers["Idempotent-Replayed"] == "true"
    assert again(api, n=1).status_code == 422
    assert again(api, "other", n=2).json["data"] != first.json["data"]
    # A picture that is deleted is made again.
    deleted = first.json["data"][1]["url"].rpartition("/")[2]
    assert api.client.delete(f"/v1/files/{deleted}", headers=MINE).status_code == 200
    third = again(api, n=2)
    assert third.status_code == 200 and "Idempotent-Replayed" not in third.headers
    assert third.json["data"] != first.json["data"]
    assert again(api, n=2).json == third.json


def test_an_edit_that_comes_again_gets_the_same_addresses() -> None:
    api = api_with(**KEYS)

    def edit(picture: bytes) -> Any:
        form = {
            "prompt": "A dog",
            "response_format": "url",
            "image": (io.BytesIO(picture), "a.png"),
        }
        headers = {**MINE, "Idempotency-Key": "e"}
        return api.client.post("/v1/images/edits", data=form, headers=headers, buffered=True)

    first = edit(b64decode(PNG))
    assert first.status_code == 200, first.get_data(as_text=True)
    assert edit(b64decode(PNG)).json == first.json
    assert edit(b64decode(PNG) + b"x").status_code == 422


def test_an_answer_whose_addresses_have_ended_is_made_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    api = api_with(**KEYS)
    monkeypatch.setattr(picture_links, "SECONDS", 0)
    ended = again(api)
    monkeypatch.undo()
    fresh = again(api)
    assert fresh.status_code == 200 and fresh.json["data"] != ended.json["data"]
    assert "Idempotent-Replayed" not in fresh.headers and again(api).json == fresh.json


def test_addresses_of_another_server_are_answered_again() -> None:
    """Also where that is one of ours, whose files are not here."""

    class Elsewhere(EveryTaskEngine):
        def make_pictures(self, task: PictureTask) -> PictureSteps:
            made = f"http://other/v1/images/files/file-{secrets.token_hex(16)}"
            yield Pictures((Picture(None, made),), 7)

    api = Api(PacedEngine(), **{"store": "memory", **KEYS})
    api.app.extensions["openai"].models.add("tasks", Elsewhere())
    first = again(api)
    assert first.status_code == 200, first.text
    assert again(api).json == first.json
    assert again(api, "other").json != first.json


def test_addresses_need_the_store() -> None:
    off = api_with(store="off")
    error = make(off, 400, response_format="url")["error"]
    assert error["param"] == "response_format" and "b64_json" in error["message"]
    assert make(off)["data"][0]["b64_json"] == PNG


def test_pictures_count_among_the_bytes_of_a_key() -> None:
    small = api_with(store_megabytes={"files": 1})
    engine = small.app.extensions["openai"].models.find("tasks").engine
    assert isinstance(engine, EveryTaskEngine)
    engine.picture = b64encode(b64decode(PNG) + bytes(1 << 20)).decode()
    assert make(small, 400, response_format="url")["error"]["code"] == "file_quota_exceeded"


def test_each_picture_is_an_event(api: Api) -> None:
    body = {"prompt": "A cat", "n": 2, "stream": True, "partial_images": 2}
    made = events(api.client.post("/v1/images/generations", json=body, headers=MINE))
    assert made == [
        {"type": "image_generation.completed", "b64_json": PNG, "created_at": 7},
        {"type": "image_generation.completed", "b64_json": PNG, "created_at": 7},
    ]
    form = {"prompt": "Red", "stream": "true", "image": (io.BytesIO(b64decode(PNG)), "a.png")}
    with api.client.post("/v1/images/edits", data=form, headers=MINE) as answer:
        assert [each["type"] for each in events(answer)] == ["image_edit.completed"]
    error = make(api, 400, stream=True, response_format="url")["error"]
    assert error["param"] == "stream"


def test_variations(api: Api) -> None:
    form = {"image": (io.BytesIO(b64decode(PNG)), "a.png"), "n": "2", "size": "256x256"}
    with api.client.post("/v1/images/variations", data=form, headers=MINE) as answer:
        assert answer.status_code == 200, answer.get_data(as_text=True)
        assert [each["b64_json"] for each in answer.json["data"]] == [PNG, PNG]
