"""The schema's steps: they make the tables of today, from an empty file and from every older one."""

from __future__ import annotations

import sqlite3
import stat
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import ModuleType

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import delete, update

from extensions.openai.settings import Settings, SettingsError
from extensions.openai.state import migrations, tables
from extensions.openai.state.databases.sqlite_file import FILE
from extensions.openai.state.files import NewFile
from extensions.openai.state.pages import PageQuery
from extensions.openai.state.store import Store
from extensions.openai.state.tables import data_keys, file_chunks
from tests.state.conftest import Open, lasting
from tests.state.test_chat_completions import chat, ids


def test_the_steps_make_the_tables_of_today(store: Store) -> None:
    with store.database.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        differences = compare_metadata(context, tables.metadata)
        assert migrations.revision_of(connection) == migrations.HEAD
    assert not [each for each in differences if "alembic_version" not in str(each)]


def test_they_are_numbered_without_gaps() -> None:
    """A database that has reached a step has all before it."""
    numbers = [int(migrations.number(step)) for step in migrations.STEPS]
    assert numbers == list(range(1, len(numbers) + 1))


def test_kinds_have_the_columns_that_all_need() -> None:
    needed = {"seq", "id", "owner", "created", "bytes", "end_user", "safety_identifier"}
    for table in tables.KINDS.values():
        assert needed <= set(table.c.keys())


LATER = f"{int(migrations.HEAD) + 1:04}"


def add_column(op: Operations) -> None:
    op.execute("ALTER TABLE totals ADD COLUMN later TEXT")


def newer(patch: pytest.MonkeyPatch, upgrade: Callable[[Operations], None] = add_column) -> None:
    """A version of the program with one step more."""
    step = ModuleType("later")
    step.upgrade = upgrade  # type: ignore[attr-defined]
    patch.setitem(sys.modules, f"{migrations.__name__}.m{LATER}_later", step)
    patch.setattr(migrations, "STEPS", (*migrations.STEPS, f"m{LATER}_later"))
    patch.setattr(migrations, "HEAD", LATER)


@pytest.fixture
def filled(open_store: Open) -> Open:
    """The way to open a store with one chat in it that was closed."""
    store = open_store()
    store.chat_completions.add("local", chat("a"))
    store.close()
    return open_store


@lasting
def test_an_older_one_is_brought_up(
    filled: Open, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer(monkeypatch)
    after = filled()
    assert ids(after)[0] == ["a"]
    with after.database.read() as connection:
        assert migrations.revision_of(connection) == LATER
        assert connection.exec_driver_sql("SELECT later FROM totals").all() == [(None,)]
    if where == "sqlite":
        copy = tmp_path / f"{FILE}.before-{LATER}"
        assert stat.S_IMODE(copy.stat().st_mode) == 0o600
        with closing(sqlite3.connect(copy)) as old:
            assert old.execute("SELECT id FROM chat_completions").fetchall() == [("a",)]
            assert "later" not in str(old.execute("SELECT sql FROM sqlite_master").fetchall())


@lasting
@pytest.mark.parametrize("begin", [b"\0\1", b"\0\2", b"\0\2\0\1"])
def test_bytes_in_the_clear_that_begin_like_a_mark_stay_as_they_are(
    open_store: Open, where: str, begin: bytes
) -> None:
    """Before step 14 they were written without a mark of their own."""
    store, content = open_store(), begin + b"said"
    if "encrypted" in where:
        store.files.add("other", NewFile("b", "", "vision", len(content)), [content])
    file = store.files.add("me", NewFile("a", "", "vision", len(content)), [content])
    with store.database.backend.writer.begin() as connection:
        connection.execute(delete(data_keys).where(data_keys.c.owner == "me"))
        mine = file_chunks.c.file == file.id
        connection.execute(update(file_chunks).where(mine).values(data=content))
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0013'")
    store.close()
    after = open_store()
    for owner in ("me", "other") if "encrypted" in where else ("me",):
        (found,) = after.files.list(owner, PageQuery()).items
        assert b"".join(after.files.read(owner, found.id)) == content


@lasting
def test_a_step_that_fails_changes_nothing(filled: Open) -> None:
    def fail(op: Operations) -> None:
        add_column(op)
        op.execute("INSERT INTO nowhere VALUES (1)")

    with pytest.MonkeyPatch.context() as patch:
        newer(patch, fail)
        with pytest.raises(SettingsError):
            filled()
    again = filled()
    with again.database.read() as connection:
        assert migrations.revision_of(connection) == migrations.HEAD
        columns = connection.exec_driver_sql("SELECT * FROM totals").keys()
    assert "later" not in columns and ids(again)[0] == ["a"]


@lasting
def test_a_newer_one_is_refused(filled: Open) -> None:
    with pytest.MonkeyPatch.context() as patch:
        newer(patch)
        filled().close()
    with pytest.raises(SettingsError, match="newer version"):
        filled()


def test_a_damaged_file_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    store = Store(Settings(data_folder=str(tmp_path)))
    store.chat_completions.add("local", chat("a"))
    store.close()
    file = tmp_path / FILE
    whole = file.read_bytes()
    for damaged in (b"no database " * 500, b"\0" * 100 + whole[100:]):
        file.write_bytes(damaged)
        with pytest.raises(SettingsError, match=r"is damaged \(.+\); put a backup"):
            Store(Settings(data_folder=str(tmp_path))).prepare()
        assert file.read_bytes() == damaged
    file.write_bytes(whole)
    again = Store(Settings(data_folder=str(tmp_path)))
    again.prepare()
    assert ids(again)[0] == ["a"]
    again.close()


def test_a_database_of_another_program_is_refused(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / FILE)) as other:
        other.execute("CREATE TABLE theirs (x)")
    with pytest.raises(SettingsError, match="another program"):
        Store(Settings(data_folder=str(tmp_path))).prepare()


def test_an_empty_file_is_filled(tmp_path: Path) -> None:
    (tmp_path / FILE).touch()
    store = Store(Settings(data_folder=str(tmp_path)))
    store.prepare()
    store.chat_completions.add("local", chat("a"))
    assert ids(store)[0] == ["a"]
    store.close()
