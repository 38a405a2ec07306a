"""Files in the store: whole, in bounded memory, and gone when they are to be."""

from __future__ import annotations

import os
import time
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import text

from extensions.openai.errors import FileQuotaExceeded, StoredObjectNotFound, StoreUnavailable
from extensions.openai.settings import Settings
from extensions.openai.state import files as module
from extensions.openai.state.database import Database
from extensions.openai.state.databases.sqlite_file import FILE
from extensions.openai.state.files import CHUNK_BYTES, NewFile, StoredFile
from extensions.openai.state.operations.consistency import check
from extensions.openai.state.pages import PageQuery
from extensions.openai.state.retention import Retention, Sweeper
from extensions.openai.state.store import Store
from extensions.openai.state.users import erase, export

LONG = os.urandom(2 * CHUNK_BYTES + 5)


def add(
    store: Store, content: bytes = b"some bytes", owner: str = "me", **more: object
) -> StoredFile:
    most = int(str(more.pop("most", 0)))
    about = {"name": "a.bin", "media_type": "text/plain", "purpose": "vision", **more}
    new = NewFile(size=len(content), **about)  # type: ignore[arg-type]
    return store.files.add(owner, new, [content], most=most)


def content(store: Store, id: str, *which: int) -> bytes:
    return b"".join(store.files.read("me", id, *which))


def counted(store: Store) -> tuple[int, int]:
    """Files and their chunks, in tables that fit together."""
    report = check(store.database)
    assert report.faults == ()
    return report.objects["files"], report.objects["file_chunks"]


def sweep(store: Store) -> int:
    return Sweeper(store.database, lambda: Retention({}, {"files": 1}), pause=0).sweep()


def test_what_was_kept_is_read(store: Store) -> None:
    made = add(store, LONG)
    assert store.files.get("me", made.id) == made
    assert content(store, made.id) == LONG
    end = len(LONG)
    for first, length in ((0, 1), (5, CHUNK_BYTES), (CHUNK_BYTES - 1, 2), (end - 1, 1)):
        assert content(store, made.id, first, length) == LONG[first : first + length]
    assert content(store, add(store, b"").id) == b""
    assert counted(store) == (2, 3)


@pytest.mark.parametrize("begin", [b"\0\1", b"\0\2", b"\0\2\0\1", b"\0\2\0\2", b"\0"])
def test_bytes_that_begin_as_encrypted_ones_do(store: Store, begin: bytes) -> None:
    whole = begin + b"a" * (CHUNK_BYTES - len(begin))
    data = whole + whole + begin
    made = add(store, data)
    assert content(store, made.id) == data
    assert content(store, made.id, 1, 1) == data[1:2]
    assert content(store, made.id, 2 * CHUNK_BYTES) == begin
    assert counted(store) == (1, 3)
    lines = map(orjson.loads, export(store.database, owners=["me"]))
    chunks = (each["data"] for each in lines if each["kind"] == "file_chunks")
    assert b"".join(map(b64decode, chunks)) == data


def test_lists_are_by_purpose(store: Store) -> None:
    first, second = add(store), add(store, purpose="batch")
    assert store.files.list("me", PageQuery()).items == (first, second)
    assert store.files.list("me", PageQuery(order="desc"), purpose="batch").items == (second,)
    assert store.files.list("me", PageQuery(after=first.id)).items == (second,)
    store.files.delete("me", first.id)
    assert store.files.list("me", PageQuery(after=first.id)).items == (second,)
    assert store.files.list("you", PageQuery()).items == ()


def test_only_its_owner_finds_it(store: Store) -> None:
    id = add(store).id
    for call in (
        lambda: store.files.get("you", id),
        lambda: list(store.files.read("you", id)),
        lambda: list(store.files.read("you", id, 0, 1)),
        lambda: store.files.delete("you", id),
        lambda: store.files.get("me", id + "\0"),
    ):
        with pytest.raises(StoredObjectNotFound):
            call()
    assert content(store, id) == b"some bytes"


def test_nothing_is_left_of_a_deleted_one(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNKS_TOGETHER", 2)
    id = add(store, LONG).id
    reading = store.files.read("me", id)
    next(reading)
    store.files.delete("me", id)
    with pytest.raises(StoredObjectNotFound):
        next(reading)
    with pytest.raises(StoredObjectNotFound):
        store.files.delete("me", id)
    assert counted(store) == (0, 0)


def test_one_that_expires_is_not_found_and_then_swept(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = int(time.time())
    ending, lasting = add(store, LONG, expires=now + 3600), add(store)
    assert sweep(store) == 0
    monkeypatch.setattr(time, "time", lambda: now + 3600.0)
    with pytest.raises(StoredObjectNotFound):
        store.files.get("me", ending.id)
    assert store.files.list("me", PageQuery()).items == (lasting,)
    assert sweep(store) == 4 and counted(store) == (1, 1)


def test_one_whose_upload_failed_leaves_nothing(store: Store) -> None:
    def breaking() -> Iterator[bytes]:
        yield LONG
        raise OSError

    for parts, error in ((breaking(), OSError), ([b"short"], ValueError)):
        with pytest.raises(error):
            store.files.add("me", NewFile("a", "b", "vision", len(LONG)), parts)
    assert counted(store) == (0, 0)


def failing_after(writes: int, monkeypatch: pytest.MonkeyPatch, *, again: bool) -> None:
    """Whether those behind the one that fails work `again`."""
    write, left = Database.write, [writes]

    def failing(self: Database, work: Any) -> Any:
        left[0] -= 1
        if left[0] == -1 or (left[0] < 0 and not again):
            raise StoreUnavailable("full")
        return write(self, work)

    monkeypatch.setattr(Database, "write", failing)


def test_one_whose_server_was_killed_is_swept(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It could not even delete what it had written."""
    with monkeypatch.context() as patch:
        failing_after(3, patch, again=False)
        with pytest.raises(StoreUnavailable):
            add(store, LONG)
    assert store.files.list("me", PageQuery()).items == () and counted(store) == (1, 2)
    assert sweep(store) == 0  # it may still be coming
    now = time.time() + module.UNFINISHED_SECONDS + 1
    monkeypatch.setattr(time, "time", lambda: now)
    assert sweep(store) == 3 and counted(store) == (0, 0)


def test_an_owner_has_so_many_bytes(store: Store) -> None:
    first = add(store, b"x" * 600_000, most=1 << 20)
    with pytest.raises(FileQuotaExceeded):
        add(store, b"x" * 600_000, most=1 << 20)
    add(store, b"x" * 600_000, "you", most=1 << 20)
    store.files.delete("me", first.id)
    add(store, b"x" * 600_000, most=1 << 20)


def test_it_is_exported_and_erased_with_its_owner(store: Store) -> None:
    id = add(store, b"\x00\xff").id
    lines = b"".join(export(store.database, owners=["me"]))
    assert id.encode() in lines and b'"data":"AP8="' in lines
    deleted = erase(store.database, owners=["me"])
    assert (deleted["files"], deleted["file_chunks"]) == (1, 1)
    assert counted(store) == (0, 0)


def test_a_disk_that_fills_up_meanwhile(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        failing_after(2, patch, again=True)
        with pytest.raises(StoreUnavailable):
            add(store, LONG)
    assert counted(store) == (0, 0)


def test_the_bytes_of_a_deleted_one_are_in_no_file(tmp_path: Path) -> None:
    store = Store(Settings(data_folder=str(tmp_path)))
    mark = b"a-marked-content"
    store.files.delete("me", add(store, mark * 30_000).id)
    store.database.tidy()
    store.close()
    assert all(mark not in path.read_bytes() for path in tmp_path.glob(f"{FILE}*"))


@pytest.mark.parametrize("where", ["sqlite", "postgresql"], indirect=True)
def test_others_may_store_meanwhile(store: Store) -> None:
    """Between two chunks, so no one waits for a whole file."""

    def slowly() -> Iterator[bytes]:
        for at in range(0, len(LONG), CHUNK_BYTES):
            yield LONG[at : at + CHUNK_BYTES]
            add(store, owner="you")

    store.files.add("me", NewFile("a", "b", "vision", len(LONG)), slowly())
    with store.database.read() as connection:
        order = connection.execute(text("SELECT owner FROM file_chunks ORDER BY seq")).scalars()
        assert list(order) == ["me", "you", "me", "you", "you", "me"]
