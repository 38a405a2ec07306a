"""What is kept of one end user: handed out, and erased to the last byte."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from extensions.openai.state import users
from extensions.openai.state.files import NewFile
from extensions.openai.state.pages import PageQuery
from extensions.openai.state.store import Store
from tests.state.conftest import gone
from tests.state.test_chat_completions import chat, ids

MARK = b'[{"role":"user","content":"a marked prompt"}]'


@pytest.fixture
def filled(store: Store) -> Store:
    for owner in ("alice", "bob"):
        for number, (user, safety) in enumerate(
            (("u", None), (None, "u"), ("v", None), (None, None))
        ):
            each = replace(chat(f"{owner}{number}", run="1"), messages=MARK)
            store.chat_completions.add(owner, each, user=user, safety_identifier=safety)
    return store


def exported(store: Store, **which: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in users.export(store.database, **which)]


def test_export(filled: Store) -> None:
    found = exported(filled, user="u", batch=2)
    assert [line["id"] for line in found] == ["alice0", "alice1", "bob0", "bob1"]
    assert found[0] == {
        "kind": "chats",
        "id": "alice0",
        "owner": "alice",
        "created": 1_800_000_000,
        "end_user": "u",
        "safety_identifier": None,
        "model": "m",
        "metadata": {"run": "1"},
        "messages": json.loads(MARK),
        "completion": {"id": "x"},
    }
    assert [line["id"] for line in exported(filled, user="u", owners=["bob"])] == ["bob0", "bob1"]
    assert len(exported(filled, owners=["alice"])) == 4
    assert len(exported(filled)) == 8
    assert exported(filled, user="w") == exported(filled, owners=[]) == []


def test_erase(filled: Store) -> None:
    assert users.erase(filled.database, user="u", owners=["alice"], batch=1) == gone(
        chats=2, responses=0
    )
    assert ids(filled, "alice")[0] == ["alice2", "alice3"]
    assert users.erase(filled.database, user="u") == gone(chats=2, responses=0)
    assert ids(filled, "bob", metadata={"run": "1"})[0] == ["bob2", "bob3"]
    assert users.erase(filled.database, user="u") == gone(chats=0, responses=0)
    assert users.erase(filled.database, owners=["bob"]) == gone(chats=2, responses=0)
    assert len(exported(filled)) == 2


@pytest.mark.parametrize("where", ["sqlite"], indirect=True)
def test_no_byte_stays(filled: Store, tmp_path: Path) -> None:
    with_mark = [file for file in tmp_path.iterdir() if b"a marked prompt" in file.read_bytes()]
    assert with_mark
    users.erase(filled.database, owners=["alice", "bob"])
    assert not [file for file in tmp_path.iterdir() if b"a marked prompt" in file.read_bytes()]


def test_long_names_and_strange_ones(store: Store) -> None:
    for number, name in enumerate(("x" * 5000, "a\0b", "ü")):
        store.chat_completions.add("local", chat(str(number)), user=name)
        assert [line["id"] for line in exported(store, user=name)] == [str(number)]


def test_nobody_has_an_empty_name(filled: Store) -> None:
    """It chooses nothing, and not all that is nobody's."""
    line = b'{"custom_id":"1","body":{"metadata":{}}}\n'
    for purpose in ("batch", "vision"):
        new = NewFile("a", "b", purpose, len(line))
        filled.files.add("alice", new, [line])
    before = exported(filled)
    assert len(before) == 8 + 2 + 2  # chats, files and their chunks
    assert exported(filled, user="") == []
    assert not any(users.erase(filled.database, user="").values())
    assert exported(filled) == before
    for file in filled.files.list("alice", PageQuery()).items:
        assert b"".join(filled.files.read("alice", file.id)) == line
