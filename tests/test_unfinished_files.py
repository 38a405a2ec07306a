"""What is said of end users in uploads that are not completed, and in what is left of files."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import func, select, update

from extensions.openai.errors import StoredObjectNotFound, StoreUnavailable
from extensions.openai.state import files as module
from extensions.openai.state.files import NewFile
from extensions.openai.state.operations import consistency
from extensions.openai.state.tables import file_chunks, files
from tests.support.batches import chat_line, file_of
from tests.test_batch_users import USERS, erased, exported
from tests.test_stored_completions import client_of

UPLOADS = "/v1/uploads"
ANN = chat_line("ann-1", "a long question of ann", user="ann")
BOB = chat_line("bob-1", "a long question of bob", user="bob")
ESCAPED = ANN.replace(b'"ann"', b'"\\u0061nn"')
CUT = ANN.index(b'"ann"') + 2
"""In the middle of the name."""


@pytest.fixture(params=["memory"])
def where(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def client(where: str, tmp_path: Path) -> Iterator[FlaskClient]:
    made = client_of(store=where, data_folder=str(tmp_path))
    yield made
    store = made.application.extensions["openai"].store
    assert consistency.check(store.database).faults == ()
    store.close()


def begun(client: FlaskClient, *parts: bytes, purpose: str = "batch") -> tuple[str, list[str]]:
    """An upload with these parts, which are not all of it; its id, and theirs."""
    new = {"filename": "in.jsonl", "purpose": purpose, "mime_type": "application/jsonl"}
    size = sum(map(len, parts)) + len(BOB)
    id = client.post(UPLOADS, json={**new, "bytes": size}).json["id"]
    return id, [add(client, id, part).json["id"] for part in parts]


def add(client: FlaskClient, id: str, content: bytes) -> Any:
    form = {"data": (io.BytesIO(content), "part")}
    return client.post(f"{UPLOADS}/{id}/parts", data=form, buffered=True)


def chunks(client: FlaskClient, id: str) -> int:
    file = "file-" + id.removeprefix("upload_")
    which = select(func.count()).where(file_chunks.c.file == file)
    with client.application.extensions["openai"].store.database.read() as connection:
        return int(connection.execute(which).scalar_one())


@pytest.mark.parametrize(
    ("parts", "requests"),
    [
        ([BOB + ANN, BOB + ANN], 2),
        ([BOB + ESCAPED], 1),
        ([BOB + ANN[:CUT], ANN[CUT:]], 1),
        ([BOB + ANN[: CUT + 9]], 1),
        ([BOB + ESCAPED[: CUT + 9]], 1),
        ([ANN[9:], BOB + ANN[:9]], 1),
    ],
    ids=["lines", "escapes", "cut", "begun", "begun with escapes", "in another order"],
)
def test_an_upload_that_names_the_user_is_deleted(
    client: FlaskClient, parts: list[bytes], requests: int
) -> None:
    (named, ids), (other, _) = begun(client, *parts), begun(client, BOB)
    assert erased(client, "ann") == (requests, 0)
    assert chunks(client, named) == 0 and chunks(client, other) == 1
    assert add(client, named, BOB).status_code == 404
    sent = {"part_ids": ids}
    assert client.post(f"{UPLOADS}/{named}/complete", json=sent).status_code == 404
    assert erased(client, "ann") == (0, 0)


def test_an_upload_of_others_goes_on(client: FlaskClient) -> None:
    id, parts = begun(client, BOB[:30], BOB[30:])
    other, _ = begun(client, ANN, purpose="user_data")
    assert erased(client, "ann") == (0, 0) and chunks(client, other) == 1
    parts.append(add(client, id, BOB.replace(b"bob-1", b"bob-2")).json["id"])
    done = client.post(f"{UPLOADS}/{id}/complete", json={"part_ids": parts}).json
    assert done["status"] == "completed"
    content = client.get(f"/v1/files/{done['file']['id']}/content").data
    assert content == BOB + BOB.replace(b"bob-1", b"bob-2")


def test_whole_lines_are_exported(client: FlaskClient) -> None:
    id, _ = begun(client, BOB + ANN + ANN[:CUT])
    [found] = exported(client, "ann")
    assert found["kind"] == "batch_requests" and found["line"]["custom_id"] == "ann-1"
    assert found["file"].removeprefix("file-") == id.removeprefix("upload_")
    assert exported(client, "carol") == []


@pytest.mark.parametrize(
    "left",
    [
        {"expires": 1},
        {"complete": False, "expires": 0},
        {"complete": False, "created": 1},
    ],
    ids=["expired", "deleted", "never complete"],
)
def test_what_is_left_of_files(client: FlaskClient, left: dict[str, Any]) -> None:
    """The sweeper would take it some time later."""
    gone, there = file_of(client, ANN), file_of(client, BOB)
    database = client.application.extensions["openai"].store.database
    change = update(files).where(files.c.id == gone).values(**left)
    database.write(lambda connection: connection.execute(change))
    client.delete(f"{USERS}/ann")
    assert chunks(client, gone.replace("file-", "upload_")) == 0
    assert client.get(f"/v1/files/{there}/content").data == BOB


def test_a_file_that_is_erased_while_it_is_stored(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its client is not told that it is there."""
    monkeypatch.setattr(module, "CHUNK_BYTES", len(ANN))
    store = client.application.extensions["openai"].store

    def parts(*behind: bytes) -> Iterator[bytes]:
        yield ANN
        yield from behind  # the first chunk is stored by now
        assert erased(client, "ann") == (1, 0)

    for behind in (b"", b"x" * len(ANN)):
        new = NewFile("in.jsonl", "application/jsonl", "batch", len(ANN + behind))
        with pytest.raises(StoreUnavailable, match="try again"):
            store.files.add("local", new, parts(behind, behind[:1]))
    with store.database.read() as connection:
        for table in (files, file_chunks):
            assert connection.execute(select(func.count()).select_from(table)).scalar() == 0


def test_a_part_that_comes_while_its_upload_is_cancelled(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHUNK_BYTES", len(BOB))
    store = client.application.extensions["openai"].store
    id, _ = begun(client, BOB, BOB)

    def content() -> Iterator[bytes]:
        yield BOB
        store.uploads.cancel("local", id)
        yield BOB

    with pytest.raises(StoredObjectNotFound):
        store.uploads.add("local", id, content(), 2 * len(BOB))
    assert chunks(client, id) == 0
