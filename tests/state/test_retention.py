"""What is too old goes, and of owners with too much the oldest."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text

from extensions.openai.errors import StoredObjectNotFound
from extensions.openai.state import tables
from extensions.openai.state.pages import PageQuery
from extensions.openai.state.retention import Retention, Sweeper
from extensions.openai.state.store import Store, StoreTimes
from extensions.openai.state.stored_chat import StoredChat
from tests.state.conftest import Open
from tests.state.test_chat_completions import chat, ids

DAY = 86400


def aged(id: str, days: float, **more: Any) -> StoredChat:
    return replace(chat(id), created=int(time.time() - days * DAY), **more)


def sweep(store: Store, *, days: int = 0, bytes: int = 0, **more: int) -> int:
    retention = Retention({"chats": days}, {"chats": bytes})
    return Sweeper(store.database, lambda: retention, **more).sweep()


def counted(store: Store) -> dict[str, tuple[int, int]]:
    with store.database.read() as connection:
        rows = connection.execute(text("SELECT owner, objects, bytes FROM totals")).all()
    return {owner: (objects, size) for owner, objects, size in rows}


def found(store: Store) -> dict[str, tuple[int, int]]:
    query = "SELECT owner, count(*), sum(bytes) FROM chat_completions GROUP BY owner"
    with store.database.read() as connection:
        return {row[0]: (row[1], row[2]) for row in connection.execute(text(query)).all()}


def test_by_age(store: Store) -> None:
    for id, days in (("old", 8), ("young", 6), ("older", 30), ("of the future", -400)):
        store.chat_completions.add("local", aged(id, days, metadata={"k": id}))
    assert sweep(store, days=7) == 2
    assert ids(store)[0] == ["young", "of the future"]
    assert ids(store, metadata={"k": "old"})[0] == []
    assert sweep(store, days=7) == 0 == sweep(store)
    assert counted(store) == found(store)


def test_more_than_one_transaction(store: Store) -> None:
    for number in range(35):
        store.chat_completions.add("local", aged(f"c{number}", 8 if number < 25 else 0))
    assert sweep(store, days=7, batch=10, pause=0) == 25
    assert ids(store, limit=100)[0] == [f"c{n}" for n in range(25, 35)]
    assert sweep(store, bytes=3 * 29, batch=10, pause=0) == 7
    assert ids(store)[0] == ["c32", "c33", "c34"]


def test_by_size_for_each_owner(store: Store) -> None:
    """Each of them takes 1000 bytes and the two of its metadata."""
    for number in range(5):
        for owner in ("alice", "bob"):
            body = replace(chat(f"{owner}{number}"), messages=bytes(900), completion=bytes(100))
            if owner == "alice" or number < 2:
                store.chat_completions.add(owner, body)
    assert counted(store) == {"alice": (5, 5010), "bob": (2, 2004)} == found(store)
    assert sweep(store, bytes=3006) == 2
    assert ids(store, "alice")[0] == ["alice2", "alice3", "alice4"]
    assert ids(store, "bob")[0] == ["bob0", "bob1"]
    assert counted(store) == {"alice": (3, 3006), "bob": (2, 2004)} == found(store)


def test_totals_follow_every_change(store: Store) -> None:
    store.chat_completions.add("local", chat("a", k="v"))
    store.chat_completions.add("local", chat("b"))
    store.chat_completions.set_metadata("local", "b", {"key": "longer"})
    assert counted(store) == found(store)
    store.chat_completions.delete("local", "a")
    assert counted(store) == found(store) and counted(store)["local"][0] == 1


def test_where_something_stood_is_forgotten_after_a_day(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.chat_completions.add("local", chat("a"))
    store.chat_completions.delete("local", "a")
    sweep(store)
    assert store.chat_completions.list("local", PageQuery("a")).items == ()
    now = time.time() + DAY + 1
    monkeypatch.setattr(time, "time", lambda: now)
    sweep(store)
    with pytest.raises(StoredObjectNotFound):
        store.chat_completions.list("local", PageQuery("a"))


def test_a_server_sweeps_by_itself(open_store: Open, where: str) -> None:
    """Also what was there before it started, and without a request that stores."""
    times = StoreTimes(before_first_sweep=0.0, between_sweeps=0.05)
    store = open_store(times, store_days={"chats": 7})
    store.chat_completions.add("local", aged("old", 8))
    store.chat_completions.add("local", aged("young", 1))
    if where != "memory":
        store.close()
        store = open_store(times, store_days={"chats": 7})
    store.start()
    until = time.monotonic() + 10
    while ids(store)[0] != ["young"] and time.monotonic() < until:
        time.sleep(0.02)
    assert ids(store)[0] == ["young"]


def test_every_kind_has_its_settings() -> None:
    from extensions.openai.settings import Settings

    kinds = set(tables.KINDS) - {"file_chunks"}  # which go with their files
    assert kinds == set(Settings().store_days) == set(Settings().store_megabytes)
