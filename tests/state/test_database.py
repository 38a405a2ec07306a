"""Transactions: what is acknowledged is there, what fails leaves nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, text

from extensions.openai.errors import StoreUnavailable
from extensions.openai.settings import Settings
from extensions.openai.state.database import Database
from extensions.openai.state.databases import sqlite_file
from extensions.openai.state.retention import Retention, Sweeper
from extensions.openai.state.store import Store, StoreTimes
from tests.state.conftest import Open, lasting
from tests.state.test_chat_completions import chat, ids


def put(name: str) -> Callable[[Connection], None]:
    return lambda connection: _put(connection, name)


def _put(connection: Connection, name: str) -> None:
    connection.execute(text("INSERT INTO totals VALUES ('k', :name, 1, 1)"), {"name": name})


def names(database: Database) -> set[str]:
    with database.read() as connection:
        return set(connection.execute(text("SELECT owner FROM totals")).scalars())


def together(database: Database, *works: Callable[[Connection], Any]) -> list[Any]:
    """Let threads wait for the same transaction; what each write returned or raised."""
    results: list[Any] = [None] * len(works)

    def run(at: int) -> None:
        try:
            results[at] = database.write(works[at])
        except Exception as error:
            results[at] = error

    threads = [threading.Thread(target=run, args=(at,)) for at in range(len(works))]
    begun, go = threading.Event(), threading.Event()

    def hold(_: Connection) -> None:
        begun.set()
        go.wait(30)

    before = threading.Thread(target=database.write, args=(hold,))
    before.start()
    assert begun.wait(30)
    for thread in threads:
        thread.start()
    while database.waiting < len(works):
        threading.Event().wait(0.01)
    go.set()
    for thread in (before, *threads):
        thread.join(30)
    return results


def test_writes_share_a_transaction(store: Store) -> None:
    database = store.database
    seen: list[object] = []

    def work(connection: Connection) -> str:
        seen.append(connection)
        return "done"

    assert together(database, work, work, work) == ["done"] * 3
    assert len(set(map(id, seen))) == 1


def test_one_that_fails_undoes_itself_only(store: Store) -> None:
    def fail(connection: Connection) -> None:
        _put(connection, "bad")
        raise LookupError("mine")

    results = together(store.database, put("a"), fail, put("b"), put("a"))
    assert isinstance(results[1], LookupError)
    assert sum(type(each).__name__ == "IntegrityError" for each in results) == 1
    assert names(store.database) == {"a", "b"}
    with pytest.raises(LookupError):
        store.database.write(fail)
    assert names(store.database) == {"a", "b"}


def test_where_the_database_fails_none_is_written(store: Store) -> None:
    def broken(connection: Connection) -> None:
        connection.execute(text("INSERT INTO nowhere VALUES (1)"))

    results = together(store.database, put("a"), broken, put("b"))
    assert {type(each) for each in results} == {StoreUnavailable}
    assert store.problem is not None
    assert names(store.database) == set()
    store.database.write(put("c"))
    assert store.problem is None and names(store.database) == {"c"}


@lasting
def test_two_servers_share_one_database(open_store: Open) -> None:
    one, other = open_store(), open_store()

    def add(store: Store, mark: str) -> None:
        for number in range(40):
            store.chat_completions.add("local", chat(f"{mark}{number}"))

    threads = [threading.Thread(target=add, args=each) for each in ((one, "a"), (other, "b"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    found, _ = ids(one, limit=100)
    assert len(found) == 80 and found == ids(other, limit=100)[0]


@lasting
def test_it_is_opened_again_after_the_end(open_store: Open) -> None:
    before = open_store()
    before.chat_completions.add("local", chat("a"))
    before.close()
    assert ids(open_store())[0] == ["a"]


def test_after_its_end_nothing_is_written_or_read(store: Store) -> None:
    store.close()
    with pytest.raises(StoreUnavailable):
        store.chat_completions.add("local", chat("a"))
    with pytest.raises(StoreUnavailable):
        ids(store)


def test_a_connection_in_use_at_the_end_is_closed_when_it_comes_back(postgres_server: Any) -> None:
    store, other = (Store(Settings(store=postgres_server.new_database())) for _ in range(2))
    for each in (store, other):
        each.prepare()
    with store.database.read() as connection:
        name = connection.scalar(text("SELECT current_database()"))
        store.close()
        assert connections_to(other, name) == 1
    assert connections_to(other, name) == 0
    other.close()


def connections_to(store: Store, name: str) -> int:
    """The server ends a connection a moment after its client."""
    count = text("SELECT count(*) FROM pg_stat_activity WHERE datname = :name")
    for _ in range(100):
        with store.database.read() as connection:
            found = int(connection.execute(count, {"name": name}).scalar_one())
        if found == 0:
            break
        threading.Event().wait(0.01)
    return found


def test_postgresql_that_goes_and_comes(
    postgres_server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store(Settings(store=postgres_server.new_database()))
    store.prepare()
    store.chat_completions.add("local", chat("a"))
    postgres_server.stop()
    for use in (lambda: store.chat_completions.add("local", chat("b")), lambda: ids(store)):
        with pytest.raises(StoreUnavailable):
            use()
    assert "no connection" in (store.problem or "")
    postgres_server.start()
    store.chat_completions.add("local", chat("c"))
    assert ids(store)[0] == ["a", "c"] and store.problem is None
    store.close()


def test_a_file_that_another_process_locks(tmp_path: Path) -> None:
    store = Store(Settings(data_folder=str(tmp_path)), StoreTimes(busy=0.2))
    store.chat_completions.add("local", chat("a"))
    locker = sqlite_file.connect(tmp_path / sqlite_file.FILE)
    locker.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable):
        store.chat_completions.add("local", chat("b"))
    assert store.problem == "database is locked"
    assert ids(store)[0] == ["a"]  # reading goes on
    sweeper = Sweeper(store.database, lambda: Retention({}, {}))
    with pytest.raises(StoreUnavailable):
        sweeper.sweep()
    locker.execute("ROLLBACK")
    locker.close()
    sweeper.sweep()
    assert store.problem is None  # before a client has stored anything
    store.chat_completions.add("local", chat("c"))
    assert ids(store)[0] == ["a", "c"]
    store.close()


def test_a_disk_that_is_full(tmp_path: Path) -> None:
    """A bound on the file's pages fails as a full disk does; nothing half-written stays."""
    store = Store(Settings(data_folder=str(tmp_path)))
    store.chat_completions.add("local", chat("a"))

    def fill(connection: Connection) -> None:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")

    store.database.write(fill)

    with pytest.raises(StoreUnavailable):
        store.chat_completions.add("local", replace(chat("b"), completion=bytes(1 << 20)))
    assert store.problem == "database or disk is full"
    assert ids(store)[0] == ["a"]
    store.close()
