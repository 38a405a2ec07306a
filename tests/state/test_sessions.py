"""Sessions in each kind of store."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest

from extensions.openai.errors import StoredObjectNotFound
from extensions.openai.state.operations.consistency import check
from extensions.openai.state.pages import PageQuery
from extensions.openai.state.retention import Retention, Sweeper
from extensions.openai.state.sessions import MAX_BYTES, Change, SessionKey
from extensions.openai.state.store import Store
from extensions.openai.state.users import erase, export
from tests.state.conftest import gone

KEY = SessionKey("me", "", "chat")


def turn(text: str, answer: str = "ok") -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}, {"role": "assistant", "content": answer}]


def say(store: Store, *texts: str, key: SessionKey = KEY, **more: Any) -> None:
    for text in texts:
        store.sessions.change(key, Change(turn(text)), **{"max_messages": 200, **more})


def said(store: Store, key: SessionKey = KEY) -> list[str]:
    return [turn.messages[0]["content"] for turn in store.sessions.turns(key)]


def only(store: Store, owner: str = "me") -> str:
    (session,) = store.sessions.list(owner, PageQuery()).items
    return session.id


def test_turns_are_in_the_order_in_which_they_were_said(store: Store) -> None:
    assert store.sessions.turns(KEY) == ()
    say(store, "one", "two")
    assert [turn.messages for turn in store.sessions.turns(KEY)] == [
        tuple(turn("one")),
        tuple(turn("two")),
    ]


def test_the_key_is_owner_agent_and_name(store: Store) -> None:
    others = [replace(KEY, owner="you"), replace(KEY, agent="pirate"), replace(KEY, name="Chat")]
    for at, key in enumerate((KEY, *others)):
        say(store, f"in {at}", key=key)
    assert [said(store, key) for key in (KEY, *others)] == [[f"in {at}"] for at in range(4)]
    assert len(store.sessions.list("me", PageQuery()).items) == 3
    assert len(store.sessions.list("me", PageQuery(), agent="").items) == 2
    assert len(store.sessions.list("me", PageQuery(), agent="", name="chat").items) == 1
    for call in (store.sessions.get, store.sessions.delete):
        with pytest.raises(StoredObjectNotFound):
            call("me", only(store, "you"))


def test_a_history_is_kept_turn_by_turn(store: Store) -> None:
    tool = {"role": "tool", "content": "1"}
    store.sessions.change(KEY, Change([*turn("one"), tool, *turn("two")]), max_messages=200)
    assert [len(turn.messages) for turn in store.sessions.turns(KEY)] == [3, 2]


def test_a_change_may_stand_for_the_turns_at_the_end_and_leave_out_the_first(store: Store) -> None:
    say(store, "one", "two", "three", "four")
    first, _, third, _ = store.sessions.turns(KEY)
    change = Change(turn("other"), instead_of=third.seq, behind=first.seq)
    store.sessions.change(KEY, change, max_messages=200)
    assert said(store) == ["two", "other"]
    assert check(store.database).faults == ()


def test_the_oldest_turns_go_many_at_once(store: Store) -> None:
    say(store, *"abcd", max_messages=8)
    assert said(store) == [*"abcd"]
    say(store, "e", max_messages=8)
    assert said(store) == [*"cde"]
    long = "x" * (MAX_BYTES // 3)
    say(store, long, long)
    say(store, long + "y")
    assert said(store) == [long, long + "y"]
    say(store, "z" * MAX_BYTES)
    assert len(said(store)) == 1
    assert check(store.database).faults == ()


def test_a_deleted_session_takes_its_turns_with_it(store: Store) -> None:
    say(store, "one")
    store.sessions.delete("me", only(store))
    assert store.sessions.turns(KEY) == ()
    report = check(store.database)
    assert report.faults == () and not any(report.objects.values())


def test_an_idle_session_ends_and_one_in_use_does_not(store: Store) -> None:
    idle = replace(KEY, name="idle")
    say(store, "one", key=idle)
    say(store, "one")
    with store.database.backend.writer.begin() as connection:
        connection.exec_driver_sql("UPDATE sessions SET created = 1, used = 1")
    say(store, "two")
    sweeper = Sweeper(store.database, lambda: Retention({"sessions": 30}, {}), pause=0)
    assert sweeper.sweep() == 1
    assert (said(store), said(store, idle)) == (["one", "two"], [])
    assert check(store.database).objects["session_turns"] == 2


def test_what_a_user_said_is_handed_out_and_erased(store: Store) -> None:
    say(store, "mine", user="Ann")
    say(store, "yours", user="Bob")
    say(store, "hers", key=replace(KEY, name="Ann"), user="Ann", named_by_user=True)
    handed = [orjson.loads(line) for line in export(store.database, user="Ann")]
    assert [each["kind"] for each in handed] == ["session_turns", "session_turns", "sessions"]
    assert handed[0]["messages"] == turn("mine")
    assert erase(store.database, user="Ann") == gone(session_turns=2, sessions=1)
    assert said(store) == ["yours"]


def test_names_with_a_nul_are_kept(store: Store) -> None:
    key = replace(KEY, name="a\0b")
    say(store, "one", key=key)
    assert said(store, key) == ["one"]
