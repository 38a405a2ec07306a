"""What is run below SQLAlchemy: the same rows, numbers and failures, in a fraction of its calls."""

from __future__ import annotations

import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from sqlalchemy import insert, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from extensions.openai.settings import Settings
from extensions.openai.state.databases import sqlite_file
from extensions.openai.state.statements import Insert, Statement, execute
from extensions.openai.state.store import Store
from extensions.openai.state.tables import responses, totals
from tests.state.conftest import Open, lasting
from tests.state.test_chat_completions import chat

ROW = {
    "id": "resp_é",
    "owner": "local",
    "created": 2**40,
    "bytes": 0,
    "model": "m",
    "root": "resp_é",
    "hidden": True,
    "input": b"\0\xff",
    "response": b"",
}
CALLS = 120
"""Of Python functions that keeping a chat may take; through SQLAlchemy alone it would be more than 500."""


@lasting
def test_it_writes_what_sqlalchemy_writes(open_store: Open) -> None:
    database, put = open_store().database, Insert(responses)
    first = database.write(lambda connection: put.run(connection, ROW))
    other = {**ROW, "id": "other"}
    second = database.write(
        lambda connection: connection.execute(insert(responses), other).inserted_primary_key
    )
    assert second is not None and second[0] == first + 1
    with database.read() as connection:
        rows = connection.execute(select(responses).order_by(responses.c.seq)).mappings().all()
    assert {**rows[0]} == {**rows[1], "seq": first, "id": "resp_é"}
    assert rows[0]["hidden"] is True and rows[0]["input"] == b"\0\xff"
    assert rows[0]["previous"] is None


@lasting
def test_it_fails_as_sqlalchemy_does(open_store: Open) -> None:
    database, put = open_store().database, Insert(responses)
    database.write(lambda connection: put.run(connection, ROW))
    with pytest.raises(IntegrityError) as twice:
        database.write(lambda connection: put.run(connection, {**ROW, "response": b"secret"}))
    assert "secret" not in str(twice.value)
    with database.read() as connection, pytest.raises(DBAPIError):
        execute(connection, "SELECT 1 FROM nowhere")
    # Half of a transaction that is run either way is undone together with the other half.
    count = Statement(insert(totals))

    def both(connection: Any) -> None:
        count.run(connection, {"kind": "k", "owner": "a", "objects": 1, "bytes": 1})
        connection.execute(text("INSERT INTO totals VALUES ('k', 'b', 1, 1)"))
        raise LookupError

    with pytest.raises(LookupError):
        database.write(both)
    with database.read() as connection:
        assert connection.execute(select(totals)).all() == []


def test_a_chat_is_kept_in_few_calls(tmp_path: Path) -> None:
    store = Store(Settings(data_folder=str(tmp_path)))
    store.chat_completions.add("local", chat("a", topic="t"))  # what is done once
    calls = 0

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls
        calls += event == "call"

    sys.setprofile(count)
    try:
        store.chat_completions.add("local", chat("b", topic="t"))
    finally:
        sys.setprofile(None)
    assert 0 < calls < CALLS, calls
    # Other servers may write as soon as it is kept.
    other = sqlite_file.connect(tmp_path / sqlite_file.FILE, busy=0)
    other.execute("BEGIN IMMEDIATE")
    assert other.execute("SELECT count(*) FROM chat_completions").fetchone() == (2,)
    other.close()
    store.close()
