"""Conversations in each kind of store."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from extensions.openai.errors import StoredObjectNotFound
from extensions.openai.state.operations.consistency import check
from extensions.openai.state.pages import PageQuery
from extensions.openai.state.retention import Retention, Sweeper
from extensions.openai.state.store import Store
from extensions.openai.state.users import erase, export
from tests.state.conftest import gone


def items(*ids: str) -> list[dict[str, Any]]:
    return [{"id": id, "type": "message"} for id in ids]


@pytest.fixture
def filled(store: Store) -> Store:
    store.conversations.create("me", "conv_1", {"topic": "x"}, items("a", "b"))
    return store


def there(store: Store, **query: Any) -> list[str]:
    page = store.conversations.page("me", "conv_1", PageQuery(**query))
    return [item["id"] for item in page.items]


def test_items_are_in_the_order_in_which_they_were_added(filled: Store) -> None:
    assert filled.conversations.add("me", "conv_1", items("c", "d")) == items("c", "d")
    assert filled.conversations.items("me", "conv_1") == items("a", "b", "c", "d")
    assert there(filled, order="desc", limit=3) == ["d", "c", "b"]
    assert there(filled, order="desc", after="b") == ["a"]
    assert there(filled, after="b") == ["c", "d"]
    with pytest.raises(StoredObjectNotFound) as caught:
        there(filled, after="e")
    assert caught.value.param == "after"


def test_an_id_that_is_taken_is_changed(filled: Store) -> None:
    filled.conversations.create("me", "conv_2", {}, items("a"))
    (added,) = filled.conversations.add("me", "conv_1", [{"id": "a", "n": 1}])
    assert added["id"].startswith("a_") and added["n"] == 1
    first, second = filled.conversations.add("me", "conv_1", items("e", "e"))
    assert first["id"] == "e" != second["id"]
    assert filled.conversations.item("me", "conv_1", added["id"]) == added


def test_one_item(filled: Store) -> None:
    assert filled.conversations.item("me", "conv_1", "a") == items("a")[0]
    assert filled.conversations.delete_item("me", "conv_1", "a").id == "conv_1"
    assert there(filled) == ["b"]
    for call in (filled.conversations.item, filled.conversations.delete_item):
        with pytest.raises(StoredObjectNotFound):
            call("me", "conv_1", "a")


def test_metadata(filled: Store) -> None:
    assert filled.conversations.get("me", "conv_1").metadata == {"topic": "x"}
    assert filled.conversations.set_metadata("me", "conv_1", {"k": "v"}).metadata == {"k": "v"}
    assert filled.conversations.get("me", "conv_1").metadata == {"k": "v"}


def test_another_owners_are_as_if_they_were_not_there(filled: Store) -> None:
    stored = filled.conversations
    for call in (
        lambda: stored.get("you", "conv_1"),
        lambda: stored.set_metadata("you", "conv_1", {}),
        lambda: stored.items("you", "conv_1"),
        lambda: stored.page("you", "conv_1", PageQuery()),
        lambda: stored.add("you", "conv_1", items("z")),
        lambda: stored.item("you", "conv_1", "a"),
        lambda: stored.delete_item("you", "conv_1", "a"),
        lambda: stored.delete("you", "conv_1"),
    ):
        with pytest.raises(StoredObjectNotFound):
            call()
    assert there(filled) == ["a", "b"]


def test_a_deleted_conversation_takes_its_items_with_it(filled: Store) -> None:
    filled.conversations.create("me", "conv_2", {}, items("a"))
    filled.conversations.delete("me", "conv_1")
    with pytest.raises(StoredObjectNotFound):
        filled.conversations.get("me", "conv_1")
    report = check(filled.database)
    assert report.faults == ()
    assert (report.objects["conversations"], report.objects["conversation_items"]) == (1, 1)


def test_they_have_no_end_unless_the_operator_says_so(filled: Store) -> None:
    retention = Retention({"conversation_items": 0, "conversations": 1}, {})
    assert Sweeper(filled.database, lambda: retention, pause=0).sweep() == 0
    assert len(there(filled)) == 2
    with filled.database.backend.writer.begin() as connection:
        connection.exec_driver_sql("UPDATE conversations SET created = 1")
    assert Sweeper(filled.database, lambda: retention, pause=0).sweep() == 1
    assert check(filled.database).objects["conversation_items"] == 0


def test_what_a_user_said_is_handed_out_and_erased(filled: Store) -> None:
    filled.conversations.add("me", "conv_1", items("c"), user="Ann")
    (handed,) = (orjson.loads(line) for line in export(filled.database, user="Ann"))
    assert (handed["kind"], handed["item"]) == ("conversation_items", items("c")[0])
    assert erase(filled.database, user="Ann") == gone(conversation_items=1)
    assert there(filled) == ["a", "b"]


def test_ids_with_a_nul_are_not_found(filled: Store) -> None:
    for id in ("conv_1\0", "a\0"):
        with pytest.raises(StoredObjectNotFound):
            filled.conversations.item("me", id, id)
