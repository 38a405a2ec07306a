"""Stored responses and the conversations that they are turns of, in each kind of store."""

from __future__ import annotations

import time
from dataclasses import replace

import orjson
import pytest

from extensions.openai.errors import StoredObjectNotFound
from extensions.openai.state.retention import DAY, Retention, Sweeper
from extensions.openai.state.store import Store
from extensions.openai.state.stored_response import StoredResponse
from extensions.openai.state.users import erase, export
from tests.state.conftest import gone


def response(id: str, previous: str | None = None, age: int = 0) -> StoredResponse:
    output = [{"id": f"msg_of_{id}"}]
    return StoredResponse(
        id,
        int(time.time()) - age,
        "m",
        previous,
        orjson.dumps([{"id": f"in_of_{id}"}]),
        orjson.dumps({"id": id, "output": output}),
        [f"in_of_{id}", f"msg_of_{id}"],
    )


def chain(store: Store, *ids: str, age: int = 0) -> None:
    previous = None
    for id in ids:
        store.responses.add("me", response(id, previous, age))
        previous = id


def turns(store: Store, id: str) -> list[str]:
    return [each.id for each in store.responses.conversation("me", id)]


def is_there(store: Store, id: str, owner: str = "me") -> bool:
    try:
        return store.responses.get(owner, id).id == id
    except StoredObjectNotFound:
        return False


def objects(store: Store) -> int:
    with store.database.read() as connection:
        sql = "SELECT objects FROM totals WHERE kind = 'responses' AND owner = 'me'"
        return int(connection.exec_driver_sql(sql).scalar() or 0)


def test_a_response_comes_back_as_it_went_in(store: Store) -> None:
    chain(store, "a", "b")
    found = store.responses.get("me", "b")
    assert (found.previous, found.model) == ("a", "m")
    assert orjson.loads(found.input) == [{"id": "in_of_b"}]
    assert orjson.loads(found.response)["id"] == "b"


def test_a_conversation_is_its_turns_and_may_fork(store: Store) -> None:
    chain(store, "a", "b", "c")
    store.responses.add("me", response("d", "b"))
    assert turns(store, "c") == ["a", "b", "c"]
    assert turns(store, "d") == ["a", "b", "d"]
    assert turns(store, "a") == ["a"]


def test_a_long_conversation_is_found_quickly(store: Store) -> None:
    chain(store, *map(str, range(1000)))
    begun = time.monotonic()
    assert turns(store, "999") == [str(at) for at in range(1000)]
    assert time.monotonic() - begun < 20  # on a quiet machine 0.02


def test_another_owners_are_as_if_they_were_not_there(store: Store) -> None:
    chain(store, "a")
    assert not is_there(store, "a", "you")
    for call in (store.responses.conversation, store.responses.delete):
        with pytest.raises(StoredObjectNotFound):
            call("you", "a")
    with pytest.raises(StoredObjectNotFound):
        store.responses.with_item("you", "msg_of_a")
    with pytest.raises(StoredObjectNotFound):
        store.responses.add("you", response("b", "a"))
    assert objects(store) == 1


def test_items_are_found_in_the_latest_response_that_has_them(store: Store) -> None:
    chain(store, "a", "b")
    assert store.responses.with_item("me", "msg_of_a").id == "a"
    store.responses.add("me", replace(response("c"), item_ids=["msg_of_a"]))
    assert store.responses.with_item("me", "msg_of_a").id == "c"
    store.responses.delete("me", "c")
    assert store.responses.with_item("me", "msg_of_a").id == "a"


def test_what_is_deleted_in_the_middle_stays_for_those_behind_it(store: Store) -> None:
    chain(store, "a", "b", "c")
    store.responses.delete("me", "b")
    assert not is_there(store, "b") and turns(store, "c") == ["a", "b", "c"]
    for call in (store.responses.conversation, store.responses.delete):
        with pytest.raises(StoredObjectNotFound):
            call("me", "b")
    with pytest.raises(StoredObjectNotFound):
        store.responses.with_item("me", "msg_of_b")
    with pytest.raises(StoredObjectNotFound):
        store.responses.add("me", response("d", "b"))
    store.responses.delete("me", "c")
    assert objects(store) == 1 and turns(store, "a") == ["a"]


def test_all_go_when_the_last_one_of_a_deleted_conversation_does(store: Store) -> None:
    chain(store, "a", "b", "c")
    for id in ("a", "b", "c"):
        store.responses.delete("me", id)
    assert objects(store) == 0


def sweep(store: Store, **bytes_per_owner: int) -> int:
    retention = Retention({"responses": 30}, bytes_per_owner)
    return Sweeper(store.database, lambda: retention, pause=0).sweep()


def test_a_conversation_is_kept_as_long_as_its_last_turn(store: Store) -> None:
    chain(store, "a", "b", age=40 * DAY)
    chain(store, "old", "older", age=40 * DAY)
    store.responses.add("me", response("c", "b"))
    assert sweep(store) == 2
    assert turns(store, "c") == ["a", "b", "c"] and not is_there(store, "old")


def test_what_is_left_of_a_conversation_says_that_its_beginning_is_gone(store: Store) -> None:
    chain(store, "a", "b", "c")
    assert sweep(store, responses=objects_bytes(store) - 1) == 1
    found = store.responses.conversation("me", "c")
    assert [each.id for each in found] == ["b", "c"] and found[0].previous == "a"


def objects_bytes(store: Store) -> int:
    with store.database.read() as connection:
        sql = "SELECT bytes FROM totals WHERE kind = 'responses' AND owner = 'me'"
        return int(connection.exec_driver_sql(sql).scalar() or 0)


def test_a_users_responses_are_handed_out_and_erased(store: Store) -> None:
    chain(store, "a")
    store.responses.add("me", response("b"), user="Ann")
    store.responses.add("me", response("c"), safety_identifier="Ann")
    handed = [orjson.loads(line) for line in export(store.database, user="Ann")]
    assert [each["response"]["id"] for each in handed] == ["b", "c"]
    assert handed[0]["input"] == [{"id": "in_of_b"}] and handed[0]["kind"] == "responses"
    assert erase(store.database, user="Ann") == gone(chats=0, responses=2)
    assert is_there(store, "a") and not is_there(store, "b")


def test_an_id_with_a_nul_is_not_found(store: Store) -> None:
    for call in (store.responses.get, store.responses.with_item):
        with pytest.raises(StoredObjectNotFound):
            call("me", "a\0b")


def under_way(id: str, left: int = 60, age: int = 0) -> StoredResponse:
    begun = response(id, age=age)
    return replace(begun, item_ids=[f"in_of_{id}"], until=int(time.time()) + left)


def test_the_first_to_end_a_response_does(store: Store) -> None:
    store.responses.add("me", under_way("a"))
    assert store.responses.get("me", "a").is_under_way
    assert not is_found(store, "msg_of_a")
    done = replace(response("a"), item_ids=["msg_of_a"], events=b"events")
    assert not store.responses.finish("you", done)
    assert store.responses.finish("me", done)
    found = store.responses.get("me", "a")
    assert (found.response, found.events, found.until) == (done.response, b"events", None)
    assert is_found(store, "in_of_a") and is_found(store, "msg_of_a")
    assert not store.responses.finish("me", replace(done, response=b"{}", item_ids=["x"]))
    assert store.responses.get("me", "a").response == done.response and not is_found(store, "x")
    with store.database.read() as connection:
        sql = "SELECT r.bytes, t.bytes FROM responses r JOIN totals t ON t.owner = r.owner"
        sql += " WHERE t.kind = 'responses'"
        sizes = connection.exec_driver_sql(sql).one()
    assert sizes[0] == sizes[1] == len(done.input) + len(done.response) + len(b"events")


def is_found(store: Store, item: str) -> bool:
    try:
        return bool(store.responses.with_item("me", item))
    except StoredObjectNotFound:
        return False


def test_a_response_is_under_way_as_long_as_its_server_says_so(store: Store) -> None:
    store.responses.add("me", under_way("a", left=-1))
    store.responses.add("you", under_way("b"))
    store.responses.add("me", response("c"))
    lost = store.responses.get("me", "a")
    assert lost.is_lost and not lost.is_under_way
    renewed = store.responses.renew({"a": b"events", "b": None, "c": b"late", "d": b"none"})
    assert renewed == {"a", "b"}
    assert store.responses.get("me", "a").is_under_way
    assert store.responses.get("me", "a").events == b"events"
    assert store.responses.get("me", "c").events is None
    ended = replace(lost, events=None)
    assert store.responses.finish("me", ended)
    assert store.responses.get("me", "a").events == b"events"
    done = store.responses.get("me", "c")
    assert not done.is_under_way and not done.is_lost


def test_what_is_under_way_is_not_swept(store: Store) -> None:
    for id, left in (("a", 60), ("b", -1)):
        store.responses.add("me", under_way(id, left, age=3 * DAY))
    for retention in (Retention({}, {"responses": 1}), Retention({"responses": 1}, {})):
        Sweeper(store.database, lambda kept=retention: kept, pause=0).sweep()  # type: ignore[misc]
        assert is_there(store, "a") and not is_there(store, "b")
