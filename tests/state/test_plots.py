"""Figures of messages in each kind of store: they go with their chat, and count for its owner."""

from __future__ import annotations

from dataclasses import replace

import orjson
import pytest

from extensions.openai.errors import StoredObjectNotFound
from extensions.openai.state.operations.consistency import check
from extensions.openai.state.retention import Retention, Sweeper
from extensions.openai.state.store import Store
from extensions.openai.state.stored_chat import StoredChat
from extensions.openai.state.users import erase, export
from tests.state.conftest import gone

FIGURE = b'{"data":[{"y":[1]}],"layout":{}}'
CHAT = StoredChat("a", 1, "m", {}, b'[{"role":"user"}]', b'{"choices":[{"message":{}}]}')


@pytest.fixture
def filled(store: Store) -> Store:
    """Two chats with two figures each, one of them Ann's."""
    store.chat_completions.add("me", CHAT, user="Ann")
    store.chat_completions.add("me", replace(CHAT, id="b"))
    for chat in ("a", "b"):
        for _ in range(2):
            store.plots.add("me", chat, f"{chat}-1", FIGURE)
    return store


def counted(store: Store) -> tuple[int, int]:
    report = check(store.database)
    assert report.faults == ()
    return report.objects["chats"], report.objects["plots"]


def test_what_a_message_has(filled: Store) -> None:
    first, second = filled.plots.list("me", "a", "a-1")
    assert first.figure == second.figure == FIGURE and first.id != second.id
    assert filled.plots.list("me", "a", "a-0") == []
    filled.plots.delete("me", "a", "a-1")
    assert filled.plots.list("me", "a", "a-1") == []
    assert counted(filled) == (2, 2)


def test_only_their_owner_finds_them(filled: Store) -> None:
    id = filled.plots.list("me", "a", "a-1")[0].id
    assert filled.plots.get("me", "a", "a-1", id).figure == FIGURE
    for call in (
        lambda: filled.plots.list("you", "a", "a-1"),
        lambda: filled.plots.add("you", "a", "a-1", FIGURE),
        lambda: filled.plots.get("you", "a", "a-1", id),
        lambda: filled.plots.get("me", "b", "b-1", id),
        lambda: filled.plots.delete("you", "a", "a-1"),
        lambda: filled.plots.list("me", "a", "b-1"),
        lambda: filled.plots.list("me", "a\0", "a-1"),
    ):
        with pytest.raises(StoredObjectNotFound):
            call()
    assert counted(filled) == (2, 4)


def test_a_deleted_chat_takes_them_with_it(filled: Store) -> None:
    filled.chat_completions.delete("me", "a")
    assert counted(filled) == (1, 2)


def test_so_does_one_that_is_too_old(filled: Store) -> None:
    with filled.database.backend.writer.begin() as connection:
        connection.exec_driver_sql("UPDATE chat_completions SET created = 1 WHERE id = 'a'")
        connection.exec_driver_sql(
            "UPDATE chat_completions SET created = 9999999999 WHERE id = 'b'"
        )
    retention = Retention({"chats": 1, "plots": 0}, {})
    assert Sweeper(filled.database, lambda: retention, pause=0).sweep() == 1
    assert counted(filled) == (1, 2)


def test_an_owner_has_so_many_bytes_of_them(filled: Store) -> None:
    retention = Retention({}, {"plots": 3 * len(FIGURE)})
    assert Sweeper(filled.database, lambda: retention, pause=0).sweep() == 1
    assert counted(filled) == (2, 3)
    assert len(filled.plots.list("me", "a", "a-1")) == 1


def test_they_are_handed_out_and_erased_with_the_users_chats(filled: Store) -> None:
    handed = [orjson.loads(line) for line in export(filled.database, user="Ann")]
    assert sorted(each["kind"] for each in handed) == ["chats", "plots", "plots"]
    assert {each["message"] for each in handed if each["kind"] == "plots"} == {"a-1"}
    assert erase(filled.database, user="Ann") == gone(chats=1, plots=2)
    assert counted(filled) == (1, 2)
