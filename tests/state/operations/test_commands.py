"""`openedai store`: the operator's commands."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from extensions.openai import __main__ as operator
from extensions.openai.access.key_files import KeyFiles
from extensions.openai.access.signed_keys import Grant
from extensions.openai.settings import Settings
from extensions.openai.state.databases.sqlite_file import FILE
from extensions.openai.state.store import Store
from openedai.__main__ import main as openedai
from tests.state.conftest import gone
from tests.state.test_chat_completions import chat, ids


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data folder with some chats of two owners."""
    settings = Settings(data_folder=str(tmp_path))
    files = KeyFiles.of(settings)
    files.create(Grant("", "alice", frozenset({"read"})))
    (alice,) = files.owners("alice")
    store = Store(settings)
    for number in range(3):
        store.chat_completions.add("local", chat(f"l{number}", k="v"), user="u")
        store.chat_completions.add(alice, chat(f"a{number}"), user="u" if number else None)
    store.close()
    return tmp_path


def run(folder: Path, *words: str) -> int:
    return operator.main(["store", *words, "--data-folder", str(folder)])


def test_check(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder, "check") == 0
    assert (
        "0 plots, 6 chats, 0 responses, 0 conversation_items, 0 conversations, 0 session_turns, "
        "0 sessions, 0 memories, 0 batches, 0 file_chunks, 0 files of 2 owners"
        in capsys.readouterr().out
    )
    with closing(sqlite3.connect(folder / FILE)) as database, database:
        database.execute("UPDATE totals SET objects = 5 WHERE owner = 'local'")
        database.execute("UPDATE chat_completions SET messages = '[' WHERE id = 'l1'")
    assert run(folder, "check") == 1
    printed = capsys.readouterr().out
    assert "wrong: the totals of 1 owners" in printed and "wrong: l1 cannot be read" in printed


def test_check_finds_damage(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = folder / FILE
    data = bytearray(file.read_bytes())
    for page in range(3, len(data) // 4096):
        data[page * 4096 : page * 4096 + 100] = b"\xff" * 100
    file.write_bytes(data)
    assert run(folder, "check") == 1
    assert "damaged: " in capsys.readouterr().out
    assert file.read_bytes() == data


def test_export(folder: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    for words, expected in (
        ([], ["l0", "a0", "l1", "a1", "l2", "a2"]),
        (["--user", "u"], ["l0", "l1", "a1", "l2", "a2"]),
        (["--key", "local"], ["l0", "l1", "l2"]),
        (["--key", "alice", "--user", "u"], ["a1", "a2"]),
    ):
        assert run(folder, "export", *words) == 0
        printed = capsysbinary.readouterr()
        lines = [json.loads(line) for line in printed.out.splitlines()]
        assert [line["id"] for line in lines] == expected
        assert printed.err == f"{len(expected)} objects\n".encode()
        assert {line["kind"] for line in lines} == {"chats"} and lines[0]["messages"] != ""


@pytest.mark.parametrize(("where", "output"), [("off", "is off"), ("memory", "memory")])
def test_where_nothing_can_be_read(
    where: str, output: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(folder, "export", "--store", where) == 2
    assert output in capsys.readouterr().err


def test_erase(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder, "erase") == 2
    assert "--user, --key, or --all" in capsys.readouterr().err
    for words, count in (
        (["--user", "u", "--key", "alice"], 2),
        (["--user", "u"], 3),
        (["--all"], 1),
    ):
        assert run(folder, "erase", *words) == 0
        assert json.loads(capsys.readouterr().out)["deleted"] == gone(chats=count, responses=0)
    store = Store(Settings(data_folder=str(folder)))
    assert ids(store)[0] == []
    store.close()


@pytest.mark.parametrize("command", ["erase", "export"])
@pytest.mark.parametrize("flag", ["--user", "--key"])
def test_an_empty_name(
    folder: Path, capsys: pytest.CaptureFixture[str], command: str, flag: str
) -> None:
    with pytest.raises(SystemExit) as stopped:
        run(folder, command, flag, "")
    assert stopped.value.code == 2
    assert f"argument {flag}: the name is empty" in capsys.readouterr().err


def test_a_key_that_never_was(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder, "erase", "--key", "carol") == 2
    assert capsys.readouterr().err == "error: there is no key carol\n"


def test_the_keys_of_a_name_that_were_rotated_or_revoked(folder: Path) -> None:
    files = KeyFiles.of(Settings(data_folder=str(folder)))
    before = files.owners("alice")
    files.rotate("alice", lambda entry: replace(entry.grant, id=""))
    assert files.owners("alice") == before
    files.revoke("alice")
    files.create(Grant("", "alice", frozenset({"read"})))
    assert files.owners("alice") > before and len(files.owners("alice")) == 2


@pytest.mark.parametrize("words", [["check"], ["export"], ["erase", "--all"]])
def test_where_there_is_no_store(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path / "none", *words) == 2
    assert "there is no store" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_by_the_console_script(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert openedai(["store", "check", "--data-folder", str(folder)]) == 0
    assert "6 chats" in capsys.readouterr().out


def test_a_new_server_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "shared" / "keys"
    words = ["rotate", "--secret-file", str(file)]
    assert run(tmp_path, *words) == run(tmp_path, *words) == 0
    first, second = file.read_text().split()
    assert capsys.readouterr().err == f"made a new key in {file}\n" * 2
    assert run(tmp_path, *words, "--forget") == 0
    (third,) = file.read_text().split()
    assert third not in (first, second)
    assert "; 2 older ones are gone" in capsys.readouterr().err
    file.write_text("x")
    assert run(tmp_path, *words) == 2
    assert capsys.readouterr().err == f"error: cannot change {file}: it holds no keys\n"
    assert file.read_text() == "x"
