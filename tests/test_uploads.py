"""Uploads: files that come in parts, by the official client."""

from __future__ import annotations

import hashlib
import io
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from flask.testing import FlaskClient

from extensions.openai.settings import Settings
from extensions.openai.state import uploads
from extensions.openai.state.files import CHUNK_BYTES
from extensions.openai.state.operations.consistency import check
from extensions.openai.state.retention import Retention, Sweeper
from tests.conftest import sdk_on
from tests.support.keys import headers_of
from tests.support.reference import assert_envelope
from tests.test_stored_completions import client_of

UPLOADS, FILES = "/v1/uploads", "/v1/files"
PARTS = [os.urandom(CHUNK_BYTES + 10), b"second", os.urandom(CHUNK_BYTES * 2 - 30_000)]
WHOLE = b"".join(PARTS)
NEW = {"filename": "a.bin", "purpose": "user_data", "bytes": len(WHOLE), "mime_type": "text/plain"}


@pytest.fixture(scope="module")
def client() -> Iterator[FlaskClient]:
    yield client_of()


@pytest.fixture(scope="module")
def sdk(client: FlaskClient) -> Iterator[openai.OpenAI]:
    """Strict about what it is answered."""
    with sdk_on(client.application) as made:
        yield made


def begun(client: FlaskClient, **more: Any) -> str:
    answer = client.post(UPLOADS, json={**NEW, **more})
    assert answer.status_code == 200, answer.text
    id: str = answer.json["id"]
    return id


def add(client: FlaskClient, id: str, content: bytes) -> Any:
    form = {"data": (io.BytesIO(content), "blob")}
    return client.post(f"{UPLOADS}/{id}/parts", data=form, buffered=True)


def complete(client: FlaskClient, id: str, parts: list[str], **more: Any) -> Any:
    headers = more.pop("headers", {})
    sent = {"part_ids": parts, **more}
    return client.post(f"{UPLOADS}/{id}/complete", json=sent, headers=headers)


def counted(client: FlaskClient) -> tuple[int, int]:
    report = check(client.application.extensions["openai"].store.database)
    assert report.faults == ()
    return report.objects["files"], report.objects["file_chunks"]


def test_the_official_client(sdk: openai.OpenAI, client: FlaskClient) -> None:
    made = sdk.uploads.create(**NEW)  # type: ignore[arg-type]
    assert (made.status, made.bytes, made.filename) == ("pending", len(WHOLE), "a.bin")
    assert made.file is None and made.expires_at == made.created_at + 3600
    # In another order than they are in the file, and one too many.
    third, first, _, second = (
        sdk.uploads.parts.create(made.id, data=data)
        for data in (PARTS[2], PARTS[0], b"not wanted", PARTS[1])
    )
    assert first.object == "upload.part" and first.upload_id == made.id
    assert all(each["filename"] != "a.bin" for each in client.get(FILES).json["data"])
    ids = [part.id for part in (first, second, third)]
    done = sdk.uploads.complete(made.id, part_ids=ids, md5=hashlib.md5(WHOLE).hexdigest())
    assert done.status == "completed" and done.file is not None and done.id == made.id
    assert sdk.files.retrieve(done.file.id) == done.file and done.file.bytes == len(WHOLE)
    assert sdk.files.content(done.file.id).read() == WHOLE
    edge = len(PARTS[0])
    asked = {"Range": f"bytes={edge - 2}-{edge + 7}"}
    part = client.get(f"{FILES}/{done.file.id}/content", headers=asked)
    assert part.data == WHOLE[edge - 2 : edge + 8]
    assert counted(client)[1] == 2 + 1 + 2  # nothing of the part that was not wanted
    sdk.files.delete(done.file.id)
    assert counted(client) == (0, 0)


def test_its_helper_for_whole_files(sdk: openai.OpenAI, tmp_path: Path) -> None:
    path = tmp_path / "long.bin"
    path.write_bytes(WHOLE)
    done = sdk.uploads.upload_file_chunked(
        file=path, mime_type="text/plain", purpose="user_data", part_size=200_000
    )
    assert done.file is not None and sdk.files.content(done.file.id).read() == WHOLE
    sdk.files.delete(done.file.id)


def test_parts_may_come_at_the_same_time(client: FlaskClient) -> None:
    id, ids = begun(client), [""] * len(PARTS)

    def send(at: int) -> None:
        ids[at] = add(client.application.test_client(), id, PARTS[at]).json["id"]

    threads = [threading.Thread(target=send, args=(at,)) for at in range(len(PARTS))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    file = complete(client, id, ids).json["file"]
    assert client.get(f"{FILES}/{file['id']}/content").data == WHOLE
    client.delete(f"{FILES}/{file['id']}")


def test_a_cancelled_one_leaves_nothing(client: FlaskClient, sdk: openai.OpenAI) -> None:
    id = begun(client)
    part = add(client, id, PARTS[0]).json["id"]
    gone = sdk.uploads.cancel(id)
    assert gone.id == id and gone.status == "cancelled"
    for refused in (
        add(client, id, b"x"),
        complete(client, id, [part]),
        client.post(f"{UPLOADS}/{id}/cancel"),
    ):
        assert assert_envelope(refused.json, status=404)["code"] == "stored_object_not_found"
    assert counted(client) == (0, 0)


def test_one_that_expires_leaves_nothing(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = begun(client)
    part = add(client, id, PARTS[0]).json["id"]
    now = time.time() + 3601
    monkeypatch.setattr(time, "time", lambda: now)
    assert complete(client, id, [part]).status_code == 404
    database = client.application.extensions["openai"].store.database
    Sweeper(database, lambda: Retention({}, {}), pause=0).sweep()
    assert counted(client) == (0, 0)


@pytest.mark.parametrize(
    ("parts", "md5", "param"),
    [
        (["part_none"], None, "part_ids[0]"),
        ([0, 0], None, "part_ids[1]"),
        ([], None, "part_ids"),
        ([0], None, "part_ids"),
        ([0, 1], "0" * 32, "md5"),
        ([0, 1], "none", "md5"),
    ],
)
def test_parts_that_do_not_make_it_up(
    client: FlaskClient, parts: list[Any], md5: str | None, param: str
) -> None:
    id = begun(client, bytes=2)
    ids = [add(client, id, each).json["id"] for each in (b"a", b"b")]
    named = [ids[each] if isinstance(each, int) else each for each in parts]
    refused = complete(client, id, named, **({} if md5 is None else {"md5": md5}))
    assert assert_envelope(refused.json, status=400)["param"] == param
    assert complete(client, id, ids[::-1]).status_code == 200  # it may be tried again


def test_the_same_request_with_its_key_is_one(client: FlaskClient) -> None:
    key = {"Idempotency-Key": "u"}
    first, again = (client.post(UPLOADS, json={**NEW, "bytes": 6}, headers=key) for _ in "12")
    assert again.json == first.json and again.headers["Idempotent-Replayed"] == "true"
    id = first.json["id"]
    part, key = add(client, id, b"a part").json["id"], {"Idempotency-Key": "c"}
    done, again = (complete(client, id, [part], headers=key) for _ in range(2))
    assert done.status_code == 200 and again.data == done.data
    assert again.headers["Idempotent-Replayed"] == "true"
    late = client.post(UPLOADS, json={**NEW, "bytes": 6}, headers={"Idempotency-Key": "u"})
    assert late.json == done.json, "the one that was begun, as it is now, and no other one"
    assert client.delete(f"/v1/files/{done.json['file']['id']}").status_code == 200
    new = client.post(UPLOADS, json={**NEW, "bytes": 6}, headers={"Idempotency-Key": "u"})
    assert new.json["status"] == "pending" and new.json["id"] != id


def test_one_key_does_not_see_those_of_another(tmp_path: Path) -> None:
    headers = headers_of(Settings(data_folder=str(tmp_path)), "alice", "bob")
    client = client_of(data_folder=str(tmp_path))
    id = client.post(UPLOADS, json=NEW, headers=headers["alice"]).json["id"]
    for path, sent in (("complete", {"part_ids": []}), ("cancel", None)):
        refused = client.post(f"{UPLOADS}/{id}/{path}", json=sent, headers=headers["bob"])
        assert assert_envelope(refused.json, status=404)["code"] == "stored_object_not_found"
    cancelled = client.post(f"{UPLOADS}/{id}/cancel", headers=headers["alice"])
    assert cancelled.status_code == 200


@pytest.mark.parametrize(("size", "most"), [(3, 8), (5, 10)])
def test_no_more_comes_than_twice_the_file(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch, size: int, most: int
) -> None:
    monkeypatch.setattr(uploads, "MIN_SENT_BYTES", 8)
    id = begun(client, bytes=size)
    assert [add(client, id, b"ab").status_code for _ in range(most // 2)] == [200] * (most // 2)
    assert assert_envelope(add(client, id, b"d").json, status=400)["param"] == "data"


def test_it_counts_from_its_beginning() -> None:
    client = client_of(store_megabytes={"files": 1})
    begun(client, bytes=1_000_000)
    refused = client.post(UPLOADS, json={**NEW, "bytes": 1_000_000})
    assert assert_envelope(refused.json, status=400)["code"] == "file_quota_exceeded"


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"bytes": -1}, "bytes"),
        ({"bytes": (8 << 30) + 1}, "bytes"),
        ({"purpose": "fine-tune"}, "purpose"),
        ({"filename": ""}, "filename"),
        ({"mime_type": ""}, "mime_type"),
        ({"expires_after": {"anchor": "created_at", "seconds": 1}}, "expires_after.seconds"),
    ],
)
def test_what_cannot_be_is_refused_by_name(
    client: FlaskClient, more: dict[str, Any], param: str
) -> None:
    refused = client.post(UPLOADS, json={**NEW, **more})
    assert assert_envelope(refused.json, status=400)["param"] == param
