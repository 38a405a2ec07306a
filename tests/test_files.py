"""Files over the API: what the official client sends and gets, ranges, and that they are their key's own."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest
from flask.testing import FlaskClient

from extensions.openai.settings import Settings
from extensions.openai.state.files import CHUNK_BYTES
from tests.conftest import sdk_on
from tests.support.keys import headers_of
from tests.support.reference import assert_envelope
from tests.test_stored_completions import client_of

FILES = "/v1/files"
LONG = os.urandom(CHUNK_BYTES + 1000)


@pytest.fixture(scope="module")
def client() -> Iterator[FlaskClient]:
    yield client_of()


@pytest.fixture(scope="module")
def sdk(client: FlaskClient) -> Iterator[openai.OpenAI]:
    """Strict about what it is answered."""
    with sdk_on(client.application) as made:
        yield made


def upload(client: FlaskClient, content: bytes = b"bytes", name: str = "a.txt", **more: Any) -> Any:
    headers = more.pop("headers", {})
    form = {"purpose": "user_data", "file": (io.BytesIO(content), name), **more}
    sent = {"data": form, "headers": headers, "content_type": "multipart/form-data"}
    return client.post(FILES, buffered=True, **sent)  # closed, as a server does


def test_the_official_client(sdk: openai.OpenAI) -> None:
    made = sdk.files.create(file=("long.bin", LONG), purpose="user_data")
    assert (made.object, made.bytes, made.filename) == ("file", len(LONG), "long.bin")
    assert (made.purpose, made.status, made.expires_at) == ("user_data", "processed", None)
    assert sdk.files.retrieve(made.id) == made and made in list(sdk.files.list())
    assert sdk.files.content(made.id).read() == LONG
    assert sdk.files.wait_for_processing(made.id) == made
    gone = sdk.files.delete(made.id)
    assert gone.id == made.id and gone.deleted and gone.object == "file"
    with pytest.raises(openai.NotFoundError):
        sdk.files.retrieve(made.id)
    with pytest.raises(openai.NotFoundError):
        sdk.files.content(made.id)


def test_the_official_client_says_when_it_expires(sdk: openai.OpenAI) -> None:
    now = int(time.time())
    ending = sdk.files.create(
        file=b"a", purpose="vision", expires_after={"anchor": "created_at", "seconds": 3600}
    )
    batch = sdk.files.create(file=b"{}", purpose="batch")
    assert ending.expires_at is not None and 0 <= ending.expires_at - now - 3600 < 60
    assert batch.expires_at is not None and 0 <= batch.expires_at - now - 30 * 86400 < 60


def test_the_official_client_walks_pages(sdk: openai.OpenAI) -> None:
    ids = [sdk.files.create(file=b"a", purpose="assistants").id for _ in range(3)]
    assert [each.id for each in sdk.files.list(purpose="assistants", limit=1)] == ids[::-1]
    assert [each.id for each in sdk.files.list(purpose="assistants", order="asc")] == ids
    page = sdk.files.list(purpose="assistants", limit=2, after=ids[2])
    assert [each.id for each in page.data] == [ids[1], ids[0]] and not page.has_more


@pytest.mark.parametrize(
    ("asked", "first", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=5-9", 5, 10),
        (f"bytes={CHUNK_BYTES - 1}-{CHUNK_BYTES}", CHUNK_BYTES - 1, CHUNK_BYTES + 1),
        ("bytes=-10", -10, None),
        (f"bytes={CHUNK_BYTES}-", CHUNK_BYTES, None),
        ("bytes=10-99999999", 10, None),
    ],
)
def test_a_part_of_it(client: FlaskClient, asked: str, first: int, end: int | None) -> None:
    id = upload(client, LONG).json["id"]
    answer = client.get(f"{FILES}/{id}/content", headers={"Range": asked})
    assert answer.status_code == 206 and answer.data == LONG[first:end]
    start = first % len(LONG)
    told = f"bytes {start}-{start + len(answer.data) - 1}/{len(LONG)}"
    assert answer.headers["Content-Range"] == told
    assert answer.headers["Content-Length"] == str(len(answer.data))


@pytest.mark.parametrize("content", [b"bytes", b""])
def test_of_the_last_bytes_as_many_as_there_are(client: FlaskClient, content: bytes) -> None:
    id = upload(client, content).json["id"]
    answer = client.get(f"{FILES}/{id}/content", headers={"Range": "bytes=-6"})
    assert answer.status_code == 200 and answer.data == content


@pytest.mark.parametrize("asked", ["bytes=0-1,4-5", "lines=1-2", "bytes=x", "bytes=5-4"])
def test_what_is_no_single_range_gets_all_of_it(client: FlaskClient, asked: str) -> None:
    id = upload(client).json["id"]
    answer = client.get(f"{FILES}/{id}/content", headers={"Range": asked})
    assert answer.status_code == 200 and answer.data == b"bytes"


def test_a_part_that_is_not_there(client: FlaskClient) -> None:
    id = upload(client).json["id"]
    answer = client.get(f"{FILES}/{id}/content", headers={"Range": "bytes=5-"})
    assert assert_envelope(answer.json, status=416)["code"] == "range_not_satisfiable"
    assert answer.headers["Content-Range"] == "bytes */5"


def test_a_part_of_the_same_file_only(client: FlaskClient) -> None:
    id = upload(client).json["id"]
    tag = client.get(f"{FILES}/{id}/content").headers["ETag"]
    for which, status in ((tag, 206), ('"another"', 200)):
        headers = {"Range": "bytes=1-2", "If-Range": which}
        assert client.get(f"{FILES}/{id}/content", headers=headers).status_code == status


@pytest.mark.parametrize(
    ("name", "plain", "whole"),
    [
        ("report.html", "report.html", "report.html"),
        ("caf\xe9 \U0001f600.txt", "caf_ _.txt", "caf%C3%A9%20%F0%9F%98%80.txt"),
        ("../../etc/passwd", "../../etc/passwd", "..%2F..%2Fetc%2Fpasswd"),
    ],
)
def test_no_browser_runs_it(client: FlaskClient, name: str, plain: str, whole: str) -> None:
    id = upload(client, b"<script>", name).json["id"]
    headers = client.get(f"{FILES}/{id}/content").headers
    assert headers["Content-Type"] == "application/octet-stream"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Content-Disposition"] == (
        f"attachment; filename=\"{plain}\"; filename*=UTF-8''{whole}"
    )


def test_an_empty_one(client: FlaskClient) -> None:
    made = upload(client, b"").json
    assert made["bytes"] == 0
    answer = client.get(f"{FILES}/{made['id']}/content", headers={"Range": "bytes=0-"})
    assert answer.status_code == 416
    assert client.get(f"{FILES}/{made['id']}/content").data == b""


def test_the_same_upload_with_its_key_is_one_file(client: FlaskClient) -> None:
    key = {"Idempotency-Key": "k"}
    first, again = (upload(client, LONG, headers=key) for _ in range(2))
    assert again.data == first.data and again.headers["Idempotent-Replayed"] == "true"
    for other in (upload(client, LONG + b"x", headers=key), upload(client, LONG, "b", headers=key)):
        assert assert_envelope(other.json, status=422)["code"] == "idempotency_key_reused"
    client.delete(f"{FILES}/{first.json['id']}")
    assert upload(client, LONG, headers=key).json["id"] != first.json["id"]


def test_one_key_does_not_see_those_of_another(tmp_path: Path) -> None:
    headers = headers_of(Settings(data_folder=str(tmp_path)), "alice", "bob")
    client = client_of(data_folder=str(tmp_path))
    id = upload(client, headers=headers["alice"]).json["id"]
    for method, path in (("GET", ""), ("GET", "/content"), ("DELETE", "")):
        refused = client.open(f"{FILES}/{id}{path}", method=method, headers=headers["bob"])
        assert assert_envelope(refused.json, status=404)["code"] == "stored_object_not_found"
    assert client.get(FILES, headers=headers["bob"]).json["data"] == []
    assert len(client.get(FILES, headers=headers["alice"]).json["data"]) == 1


def test_a_key_has_so_much_place() -> None:
    client = client_of(store_megabytes={"files": 1})
    for _ in range(2):
        assert upload(client, b"x" * 400_000).status_code == 200
    refused = upload(client, b"x" * 400_000)
    assert assert_envelope(refused.json, status=400)["code"] == "file_quota_exceeded"


def test_uploads_at_the_same_time_have_so_much_place_together() -> None:
    client = client_of(store_megabytes={"files": 1})
    with ThreadPoolExecutor(8) as pool:
        others = [client.application.test_client() for _ in range(8)]
        sent = pool.map(lambda each: upload(each, b"x" * 200_000).status_code, others)
        assert sorted(sent) == [200] * 5 + [400] * 3
    left = (1 << 20) - 5 * 200_000
    assert upload(client, b"x" * (left + 1)).status_code == 400
    assert upload(client, b"x" * left).status_code == 200
    assert upload(client, b"x").status_code == 400 and upload(client, b"").status_code == 200


@pytest.mark.parametrize(
    ("form", "param"),
    [
        ({"purpose": None}, "purpose"),
        ({"purpose": "fine-tune"}, "purpose"),
        ({"purpose": "evals"}, "purpose"),
        ({"file": None}, "file"),
        ({"file": "text"}, "file"),
        ({"file": (io.BytesIO(b"a"), "x" * 513)}, "file"),
        (
            {"expires_after[anchor]": "now", "expires_after[seconds]": "3600"},
            "expires_after.anchor",
        ),
        ({"expires_after[anchor]": "created_at"}, "expires_after.seconds"),
        (
            {"expires_after[anchor]": "created_at", "expires_after[seconds]": "9"},
            "expires_after.seconds",
        ),
        (
            {"expires_after[anchor]": "created_at", "expires_after[seconds]": "soon"},
            "expires_after.seconds",
        ),
        (
            {"expires_after[anchor]": "created_at", "expires_after[seconds]": "\u0663600"},
            "expires_after.seconds",
        ),
    ],
)
def test_what_cannot_be_is_refused_by_name(
    client: FlaskClient, form: dict[str, Any], param: str
) -> None:
    given = {"purpose": "vision", "file": (io.BytesIO(b"a"), "a"), **form}
    sent = {name: value for name, value in given.items() if value is not None}
    answer = client.post(FILES, data=sent, content_type="multipart/form-data", buffered=True)
    assert assert_envelope(answer.json, status=400)["param"] == param


def test_where_nothing_may_be_stored() -> None:
    client = client_of(store="off")
    assert assert_envelope(upload(client).json, status=404)["code"] == "store_off"
    assert client.get(FILES).status_code == 404
