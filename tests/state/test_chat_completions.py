"""Stored chat completions, in every kind of database."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from sqlalchemy import event

from extensions.openai.errors import StoredObjectNotFound
from extensions.openai.state.pages import Order, PageQuery
from extensions.openai.state.store import Store
from extensions.openai.state.stored_chat import StoredChat


def chat(id: str, *, model: str = "m", **metadata: str) -> StoredChat:
    return StoredChat(id, 1_800_000_000, model, metadata, b'[{"role":"user"}]', b'{"id":"x"}')


def ids(store: Store, owner: str = "local", **query: object) -> tuple[list[str], bool]:
    narrow = {name: query.pop(name) for name in ("model", "metadata") if name in query}
    page = store.chat_completions.list(owner, PageQuery(**query), **narrow)  # type: ignore[arg-type]
    return [each.id for each in page.items], page.has_more


def test_what_was_stored_is_found_as_it_was(store: Store) -> None:
    one = StoredChat(
        "chatcmpl-1", 1_800_000_000, "m", {"k": 'ä"\0'}, '[{"content":"\\u0000ü"}]'.encode(), b"{}"
    )
    store.chat_completions.add("local", one, user="u\0", safety_identifier="s")
    assert store.chat_completions.get("local", "chatcmpl-1") == one


def test_lists_follow_the_order_of_storing(store: Store) -> None:
    """All in the same second."""
    for number in range(7):
        store.chat_completions.add("local", chat(f"c{number}"))
    assert ids(store) == ([f"c{n}" for n in range(7)], False)
    assert ids(store, limit=3) == (["c0", "c1", "c2"], True)
    assert ids(store, limit=3, after="c2") == (["c3", "c4", "c5"], True)
    assert ids(store, limit=1, after="c5") == (["c6"], False)
    assert ids(store, limit=3, order="desc") == (["c6", "c5", "c4"], True)
    assert ids(store, limit=4, order="desc", after="c4") == (["c3", "c2", "c1", "c0"], False)
    assert ids(store, after="c6") == ([], False)


def test_a_page_begins_behind_what_was_deleted_meanwhile(store: Store) -> None:
    for number in range(4):
        store.chat_completions.add("local", chat(f"c{number}"))
    page, _ = ids(store, limit=2)
    for id in page:
        store.chat_completions.delete("local", id)
    assert ids(store, after=page[-1]) == (["c2", "c3"], False)
    with pytest.raises(StoredObjectNotFound):
        ids(store, "another", after=page[-1])


def test_filters(store: Store) -> None:
    for id, model, metadata in (
        ("a", "m", {"run": "1", "of": "x"}),
        ("b", "n", {"run": "1"}),
        ("c", "m", {"run": "2", "of": "x"}),
        ("d", "m", {"run": "1", "of": "x\0"}),
    ):
        store.chat_completions.add("local", chat(id, model=model, **metadata))
    assert ids(store, model="m")[0] == ["a", "c", "d"]
    assert ids(store, metadata={"run": "1"})[0] == ["a", "b", "d"]
    assert ids(store, metadata={"run": "1", "of": "x"})[0] == ["a"]
    assert ids(store, metadata={"of": "x\0"})[0] == ["d"]
    assert ids(store, metadata={"run": "1"}, model="m", after="a")[0] == ["d"]
    assert ids(store, metadata={"run": "3"})[0] == ids(store, model="o")[0] == []


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("after", [None, "c7"])
@pytest.mark.parametrize("where", ["sqlite"], indirect=True)
def test_a_list_reads_what_it_shows_and_no_more(
    store: Store, order: Order, after: str | None
) -> None:
    """However many chats have a pair: it walks the rarest one in the order of storing, and sorts nothing."""
    for number in range(12):
        store.chat_completions.add("local", chat(f"c{number}", often="1", half=str(number % 2)))
    sent: list[tuple[str, Any]] = []
    engine = store.database.backend.engine
    event.listen(engine, "before_cursor_execute", lambda *given: sent.append(given[2:4]))
    metadatas: tuple[dict[str, str], ...] = ({}, {"often": "1"}, {"often": "1", "half": "1"})
    for metadata in metadatas:
        numbers = [n for n in range(12) if "half" not in metadata or n % 2]
        if after:
            numbers = [n for n in numbers if (n > 7 if order == "asc" else n < 7)]
        expected = [f"c{n}" for n in sorted(numbers, reverse=order == "desc")]
        found = ids(store, metadata=metadata, order=order, limit=2, after=after)
        assert found == (expected[:2], len(expected) > 2)
        statement, given = sent[-1]
        with store.database.read() as connection:
            explained = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", given)
            steps = [row[3] for row in explained]
        assert "seq>?" in steps[0] or "seq<?" in steps[0]
        assert not [step for step in steps if "SCAN" in step or "TEMP B-TREE" in step]
        if "half" in metadata:
            assert given.index("half") < given.index("often")


def test_metadata_is_replaced_as_a_whole(store: Store) -> None:
    store.chat_completions.add("local", chat("a", run="1", of="x"))
    assert store.chat_completions.set_metadata("local", "a", {"run": "2"}).metadata == {"run": "2"}
    assert store.chat_completions.get("local", "a").metadata == {"run": "2"}
    assert ids(store, metadata={"run": "2"})[0] == ["a"]
    assert ids(store, metadata={"of": "x"})[0] == ids(store, metadata={"run": "1"})[0] == []


def test_what_was_deleted_is_gone(store: Store) -> None:
    store.chat_completions.add("local", chat("a", run="1"))
    store.chat_completions.delete("local", "a")
    assert ids(store)[0] == ids(store, metadata={"run": "1"})[0] == []
    for use in (store.chat_completions.get, store.chat_completions.delete):
        with pytest.raises(StoredObjectNotFound):
            use("local", "a")


def test_another_owners_is_as_unknown(store: Store) -> None:
    chats = store.chat_completions
    chats.add("alice", chat("a", run="1"))
    assert ids(store, "bob")[0] == ids(store, "bob", metadata={"run": "1"})[0] == []
    for use in (
        lambda id: chats.get("bob", id),
        lambda id: chats.delete("bob", id),
        lambda id: chats.set_metadata("bob", id, {}),
        lambda id: ids(store, "bob", after=id),
    ):
        refusals = []
        for id in ("a", "b"):
            with pytest.raises(StoredObjectNotFound) as caught:
                use(id)
            refusals.append((caught.value.message.replace(f"'{id}'", "ID"), caught.value.param))
        assert refusals[0] == refusals[1]
    assert chats.get("alice", "a").metadata == {"run": "1"}


def test_many_write_at_once(store: Store) -> None:
    """Nothing is lost, and all have numbers of their own."""

    def add(thread: int) -> None:
        for number in range(25):
            store.chat_completions.add("local", chat(f"{thread}-{number}", t=str(thread)))

    threads = [threading.Thread(target=add, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    found, more = ids(store, limit=300)
    assert (len(found), more) == (200, False)
    for n in range(8):
        mine = [id for id in found if id.startswith(f"{n}-")]
        assert mine == [f"{n}-{number}" for number in range(25)]
        assert mine == ids(store, metadata={"t": str(n)}, limit=30)[0]
