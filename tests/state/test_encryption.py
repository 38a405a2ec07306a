"""Encryption at rest: what is stored can be read with the server's keys only, and only where it was put."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import select

from extensions.openai import __main__ as operator
from extensions.openai.errors import StoredObjectNotFound, StoreUnavailable
from extensions.openai.settings import Settings, SettingsError
from extensions.openai.state import keyring, tables, users
from extensions.openai.state.databases.sqlite_file import FILE
from extensions.openai.state.encryption import CONTENTS, MARK
from extensions.openai.state.files import NewFile
from extensions.openai.state.memories import MemoryKey
from extensions.openai.state.operations import consistency, encrypting
from extensions.openai.state.operations.backup import back_up
from extensions.openai.state.pages import PageQuery
from extensions.openai.state.sessions import Change, SessionKey
from extensions.openai.state.store import Store
from extensions.openai.state.stored_batch import NewBatch
from extensions.openai.state.stored_chat import StoredChat
from extensions.openai.state.stored_response import StoredResponse
from tests.state.test_chat_completions import ids

SAID = "a-marked-prompt-4711"
MESSAGES = orjson.dumps([{"role": "user", "content": SAID}])
ANSWER = orjson.dumps({"choices": [{"message": {"content": SAID}}]})
CHAT = StoredChat("chat", 1_800_000_000, "m", {"k": "v"}, MESSAGES, ANSWER)
EVENTS = zlib.compress(ANSWER + b"\n")
ITEM = {"id": "item", "type": "message", "content": SAID}
KEY = SessionKey("alice", "", "name")

Start = Callable[..., Store]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a server on the same folder, in a process that remembers nothing."""
    opened: list[Store] = []

    def start(*, encryption: bool = True, **options: object) -> Store:
        keyring.file_at.cache_clear()
        given = {"data_folder": str(tmp_path), "store_encryption": encryption, **options}
        store = Store(Settings(**given))  # type: ignore[arg-type]
        store.prepare()
        opened.append(store)
        return store

    yield start
    for store in opened:
        store.close()


def fill(store: Store, *owners: str) -> None:
    """An object of every kind that has contents."""
    for owner in owners:
        id = f"{owner}s"
        store.chat_completions.add(owner, replace(CHAT, id=id), user="u")
        store.plots.add(owner, id, f"{id}-1", orjson.dumps({"title": SAID}))
        store.responses.add(
            owner, StoredResponse(f"{id}r", 1, "m", None, MESSAGES, ANSWER, events=EVENTS)
        )
        store.conversations.create(owner, f"{id}c", {}, [ITEM])
        said = [{"role": "user", "content": SAID}]
        store.sessions.change(replace(KEY, owner=owner), Change(said), max_messages=9)
        store.memories.add(MemoryKey(owner, "agent", "u"), SAID, "api", most=9)
        content = SAID.encode()
        store.files.add(owner, NewFile(SAID, "text/plain", "vision", len(content)), [content])
        store.batches.create(owner, NewBatch("/v1/responses", "f", "24h", 9, {}, {"k": SAID}))


def read(store: Store, owner: str = "alice") -> list[Any]:
    """All that `fill` has stored."""
    id = f"{owner}s"
    chat, response = store.chat_completions.get(owner, id), store.responses.get(owner, f"{id}r")
    (file,) = store.files.list(owner, PageQuery()).items
    return [
        (chat.messages, chat.completion),
        orjson.loads(store.plots.list(owner, id, f"{id}-1")[0].figure),
        (response.input, response.response, response.events),
        store.conversations.items(owner, f"{id}c"),
        store.sessions.turns(replace(KEY, owner=owner))[0].messages[0],
        store.memories.facts(MemoryKey(owner, "agent", "u"))[0].text,
        (file.name, b"".join(store.files.read(owner, file.id))),
        store.batches.list(owner, PageQuery()).items[0].metadata,
    ]


EVERYTHING = [
    (MESSAGES, ANSWER),
    {"title": SAID},
    (MESSAGES, ANSWER, EVENTS),
    [ITEM],
    {"role": "user", "content": SAID},
    SAID,
    (SAID, SAID.encode()),
    {"k": SAID},
]


def files_with(text: str, folder: Path) -> list[str]:
    files = [each for each in folder.rglob("*") if each.is_file()]
    return [each.name for each in files if text.encode() in each.read_bytes()]


@pytest.mark.parametrize("encryption", [True, False])
def test_what_was_said_is_in_no_file(start: Start, tmp_path: Path, encryption: bool) -> None:
    """The search finds it where it is not encrypted."""
    store = start(encryption=encryption)
    fill(store, "alice")
    assert (tmp_path / f"{FILE}-wal").stat().st_size
    back_up(tmp_path, tmp_path / "backup")
    assert read(store) == EVERYTHING
    found = files_with(SAID, tmp_path)
    store.close()
    found += files_with(SAID, tmp_path)
    assert (FILE in found) is not encryption
    assert bool(found) is not encryption


def test_every_kind_with_contents_is_tried() -> None:
    filled = {"chats", "plots", "responses", "conversation_items", "session_turns", "memories"}
    filled |= {"files", "file_chunks", "batches"}
    assert filled == {kind for kind, columns in CONTENTS.items() if columns}


def test_an_exported_object_is_as_it_was(start: Start) -> None:
    store = start()
    fill(store, "alice")
    lines = [orjson.loads(line) for line in users.export(store.database, user="u")]
    shown = {line["kind"]: line for line in lines}
    assert shown["chats"]["messages"] == orjson.loads(MESSAGES)
    assert shown["plots"]["figure"] == {"title": SAID}
    assert shown["memories"]["fact"]["text"] == SAID
    assert consistency.check(store.database).faults == ()


# What was moved or changed.

MOVES = [
    pytest.param(kind, column, owner, id, marks=(), id=f"{kind}.{column}-{name}")
    for kind, columns in CONTENTS.items()
    for column in columns
    for name, owner, id in (("owner", "alice", None), ("id", None, "other"))
]


@pytest.mark.parametrize(("kind", "column", "owner", "id"), MOVES)
def test_what_was_moved_to_another_row_does_not_open(
    start: Start, kind: str, column: str, owner: str | None, id: str | None
) -> None:
    """Bob has the server write into Alice's row, or into another of his own, what is his."""
    store = start()
    fill(store, "alice", "bob")
    table = tables.KINDS[kind].name
    change = f"SET owner = '{owner}'" if owner else f"SET id = '{id}'"
    with store.database.read() as connection:
        assert connection.exec_driver_sql(f"SELECT {column} FROM {table}").scalar().startswith(MARK)
    store.database.write(
        lambda connection: connection.exec_driver_sql(
            f"UPDATE {table} {change} WHERE owner = 'bob'"
        )
    )
    faults = consistency.check(store.database).faults
    assert any("cannot be decrypted" in fault for fault in faults)


@pytest.mark.parametrize(
    ("kind", "columns"),
    [("chats", ("messages", "completion")), ("responses", ("input", "response"))],
)
def test_contents_of_one_row_cannot_take_each_others_place(
    start: Start, kind: str, columns: tuple[str, str]
) -> None:
    store = start()
    fill(store, "alice")
    table, (one, other) = tables.KINDS[kind].name, columns
    sql = f"UPDATE {table} SET {one} = {other}, {other} = {one}"
    store.database.write(lambda connection: connection.exec_driver_sql(sql))
    with pytest.raises(StoreUnavailable, match="cannot be decrypted"):
        read(store)


def test_an_item_cannot_be_moved_to_another_conversation(start: Start) -> None:
    store = start()
    fill(store, "alice")
    store.conversations.create("alice", "another", {}, [])
    sql = "UPDATE conversation_items SET conversation = 'another'"
    store.database.write(lambda connection: connection.exec_driver_sql(sql))
    with pytest.raises(StoreUnavailable):
        store.conversations.items("alice", "another")


def test_what_was_changed_is_found_and_can_be_deleted(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    store = start()
    fill(store, "alice")
    sql = "UPDATE chat_completions SET messages = substr(messages, 1, 40)"
    store.database.write(lambda connection: connection.exec_driver_sql(sql))
    with pytest.raises(StoreUnavailable):
        store.chat_completions.get("alice", "alices")
    assert "cannot decrypt chats alices" in caplog.text and SAID not in caplog.text
    assert consistency.check(store.database).faults == ("alices cannot be decrypted",)
    store.chat_completions.delete("alice", "alices")
    assert consistency.check(store.database).faults == ()


# Keys.


def test_a_server_without_its_key_does_not_start(start: Start, tmp_path: Path) -> None:
    store = start()
    fill(store, "alice")
    store.close()
    key = tmp_path / keyring.FILE
    kept = key.read_bytes()
    key.unlink()
    for encryption in (True, False):
        with pytest.raises(SettingsError, match=r"its key is missing: there is no .*server\.keys"):
            start(encryption=encryption)
        assert not key.exists(), "no other key takes its place"
    keyring.keyring_file(Settings(data_folder=str(tmp_path))).rotate()
    with pytest.raises(SettingsError, match=r"encrypted with a key that .*server.keys does not"):
        start()
    key.write_bytes(kept)
    assert read(start()) == EVERYTHING


def test_nothing_is_encrypted_with_a_key_that_would_be_lost(start: Start, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="there is no file"):
        start(secret_file=str(tmp_path / "none"))
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match="cannot write the key to"):
        start(data_folder=str(tmp_path / "file" / "data"))


def test_rotation(start: Start, tmp_path: Path) -> None:
    store = start()
    fill(store, "alice", "bob")
    key = tmp_path / keyring.FILE
    old = key.read_bytes()
    words = ["store", "rotate", "--forget", "--data-folder", str(tmp_path)]
    assert operator.main(words) == 0
    assert old not in key.read_bytes()
    assert read(store) == EVERYTHING, "the running server goes on with the new one"
    store.chat_completions.add("carol", CHAT)
    store.close()
    store = start()
    assert read(store, "bob") == EVERYTHING
    assert store.chat_completions.get("carol", "chat") == CHAT
    store.close()
    key.write_bytes(old)
    with pytest.raises(SettingsError, match="does not hold"):
        start()


@pytest.mark.parametrize("where", ["postgresql"], indirect=True)
def test_servers_with_the_same_keys_share_a_store(start: Start, tmp_path: Path, where: str) -> None:
    shared = tmp_path / "shared"
    keyring.KeyringFile(shared, True).rotate()
    stores = [
        start(store=where, secret_file=str(shared), data_folder=str(tmp_path / name))
        for name in ("one", "two")
    ]
    fill(stores[0], "alice")
    assert read(stores[1]) == EVERYTHING
    with pytest.raises(SettingsError, match="its key is missing"):
        start(store=where, data_folder=str(tmp_path / "three"))


# On and off.


def test_what_was_there_before_is_encrypted_in_steps(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    store = start(encryption=False)
    fill(store, "alice", "bob")
    for at in range(20):
        store.chat_completions.add("alice", replace(CHAT, id=f"c{at}"))
    store.close()
    store = start()
    fill(store, "carol")
    assert read(store) == read(store, "carol") == EVERYTHING
    assert files_with(SAID, tmp_path)
    # Interrupted, as the database fails in the middle.
    steps = iter(range(5))
    write = store.database.write

    def failing(work: Any) -> Any:
        next(steps)
        return write(work)

    monkeypatch.setattr(store.database, "write", failing)
    with pytest.raises(StopIteration):
        encrypting.encrypt(store.database, batch=2)
    monkeypatch.undo()
    assert read(store) == read(store, "bob") == EVERYTHING
    words = ["store", "encrypt", "--data-folder", str(tmp_path)]
    assert operator.main(words) == 0
    output = capsys.readouterr().err
    assert "encrypted 32 objects" in output and "without --store-encryption" in output
    assert operator.main(words) == 0
    assert "encrypted 0 objects" in capsys.readouterr().err
    for owner in ("alice", "bob", "carol"):
        assert read(store, owner) == EVERYTHING
    assert ids(store, "alice", limit=100)[0] == ["alices", *(f"c{at}" for at in range(20))]
    assert consistency.check(store.database).faults == ()
    store.close()
    assert files_with(SAID, tmp_path) == []


@pytest.mark.parametrize("begin", [b"\0\1", b"\0\2"])
def test_bytes_that_begin_as_encrypted_ones_do_are_encrypted_later(
    start: Start, begin: bytes
) -> None:
    store, content = start(encryption=False), begin + SAID.encode()
    new = NewFile("a", "text/plain", "vision", len(content))
    file = store.files.add("alice", new, [content])
    store.close()
    store = start()
    encrypting.encrypt(store.database)
    with store.database.read() as connection:
        (stored,) = connection.execute(select(tables.file_chunks.c.data)).scalars()
    # What begins as an encrypted content does, and is marked as a clear one, was in the clear.
    assert stored.startswith(MARK) and SAID.encode() not in stored
    assert b"".join(store.files.read("alice", file.id)) == content


def test_without_the_setting_what_is_encrypted_can_be_read(start: Start) -> None:
    store = start()
    fill(store, "alice")
    store.close()
    store = start(encryption=False)
    fill(store, "bob")
    assert read(store) == read(store, "bob") == EVERYTHING
    sql = "SELECT owner, messages FROM chat_completions"
    with store.database.read() as connection:
        rows = {row.owner: row.messages for row in connection.exec_driver_sql(sql)}
    assert rows["bob"] == MESSAGES and rows["alice"].startswith(MARK)


# Erasure.


def data_keys(folder: Path) -> list[str]:
    with closing(sqlite3.connect(folder / FILE)) as database:
        return [owner for (owner,) in database.execute("SELECT owner FROM data_keys ORDER BY 1")]


def test_erasing_an_owner_destroys_the_key(start: Start, tmp_path: Path) -> None:
    store = start()
    fill(store, "alice", "bob")
    with store.database.read() as connection:
        sql = "SELECT * FROM chat_completions WHERE owner = 'alice'"
        row = dict(connection.exec_driver_sql(sql).mappings().one())
    users.erase(store.database, user="u", owners=["alice"])
    assert data_keys(tmp_path) == ["alice", "bob"], "the owner has more"
    users.erase(store.database, owners=["alice"])
    assert data_keys(tmp_path) == ["bob"]
    # What someone kept of the file is void.
    names = ", ".join(row)
    sql = f"INSERT INTO chat_completions ({names}) VALUES ({', '.join('?' * len(row))})"
    store.database.write(lambda connection: connection.exec_driver_sql(sql, (*row.values(),)))
    with pytest.raises(StoreUnavailable):
        store.chat_completions.get("alice", "alices")
    store.chat_completions.delete("alice", "alices")
    # A server that runs meanwhile makes a new key.
    fill(store, "alice")
    assert read(store) == EVERYTHING
    users.erase(store.database)
    assert data_keys(tmp_path) == []
    with pytest.raises(StoredObjectNotFound):
        read(store)


def test_a_key_of_a_request_does_not_tell_what_it_asked(start: Start) -> None:
    store = start()
    claim = store.idempotency.begin("alice", "key", "a fingerprint")
    assert not isinstance(claim, str)
    with store.database.read() as connection:
        written = connection.exec_driver_sql("SELECT fingerprint FROM idempotency").scalar()
    assert written and "a fingerprint" not in written
    store.chat_completions.add("alice", CHAT, claim=claim)
    assert store.idempotency.begin("alice", "key", "a fingerprint") == "chat"
