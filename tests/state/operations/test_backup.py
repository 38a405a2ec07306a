"""Copies of the data folder that are made while it is used."""

from __future__ import annotations

import json
import sqlite3
import stat
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest

from extensions.openai.access.key_files import KeyFiles
from extensions.openai.access.signed_keys import Grant, verify
from extensions.openai.settings import Settings
from extensions.openai.state.keyring import keyring_of
from extensions.openai.state.operations.backup import BackupError, back_up
from tests.support.process import ROOT, ServerProcess
from tests.support.wire import ask


def test_a_server_that_answers_is_copied_and_started_again_from_the_copy(tmp_path: Path) -> None:
    data, target = tmp_path / "data", tmp_path / "copies" / "monday"
    key = KeyFiles(data).create(Grant("", "alice", frozenset({"read", "write", "admin"})))
    token = f"Bearer {key}"
    body = {"model": "echo", "messages": [{"role": "user", "content": "keep"}], "store": True}

    def start(folder: Path) -> ServerProcess:
        process = ServerProcess("--loader", "echo", "--data-folder", str(folder))
        process.wait_until_ready()
        return process

    server = start(data)
    try:
        sent = ask(server.port, "POST", "/v1/chat/completions", body, authorization=token)
        assert sent.status == 200
        id = json.loads(sent.body)["id"]
        command = [sys.executable, "-m", "openedai", "backup", "--data-folder", str(data)]
        for _ in range(50):  # usage is written a moment after the answer
            done = subprocess.run(
                [*command, str(target)], cwd=ROOT, capture_output=True, text=True, check=True
            )
            if "usage.sqlite3" in done.stderr and _requests(target):
                break
            for each in target.iterdir():
                each.unlink()
            target.rmdir()
            threading.Event().wait(0.1)
        assert "alembic" not in server.output, (
            "what a library says of itself while it makes the store"
        )
    finally:
        server.stop()
    names = "keys.json, keys.secret, usage.sqlite3, store.sqlite3"
    assert done.stderr == f"copied {names} from {data} to {target}\n"
    assert sorted(each.name for each in target.iterdir()) == sorted(names.split(", "))
    assert {stat.S_IMODE(each.stat().st_mode) for each in target.iterdir()} == {0o600}
    assert stat.S_IMODE(target.stat().st_mode) == 0o700

    again = start(target)
    try:
        found = ask(again.port, "GET", f"/v1/chat/completions/{id}", authorization=token)
        assert (found.status, json.loads(found.body)["id"]) == (200, id)
        assert ask(again.port, "GET", "/v1/models").status == 401
    finally:
        again.stop()
    assert _requests(target) >= 1


def _requests(folder: Path) -> int:
    with closing(sqlite3.connect(folder / "usage.sqlite3")) as db:
        (count,) = db.execute("SELECT coalesce(sum(requests), 0) FROM usage").fetchone()
    return int(count)


def test_what_another_program_writes_is_whole_or_not_in_the_copy(tmp_path: Path) -> None:
    """A plain copy of a database in use may have half of a transaction, or an old file and a new log."""
    data = tmp_path / "data"
    data.mkdir()
    program = (
        "import sqlite3, sys\n"
        "db = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "db.execute('PRAGMA journal_mode = WAL')\n"
        "db.execute('CREATE TABLE pairs (n INTEGER)')\n"
        "for n in range(10**9):\n"
        "    db.execute('BEGIN IMMEDIATE')\n"
        "    db.executemany('INSERT INTO pairs VALUES (?)', [(n,)] * 2)\n"
        "    db.execute('COMMIT')\n"
        "    if n == 5: print('begun', flush=True)\n"
    )
    writer = subprocess.Popen(
        [sys.executable, "-c", program, str(data / "usage.sqlite3")], stdout=subprocess.PIPE
    )
    try:
        assert writer.stdout and writer.stdout.readline()
        counts = []
        for n in range(5):
            back_up(data, tmp_path / f"copy{n}")
            with closing(sqlite3.connect(tmp_path / f"copy{n}" / "usage.sqlite3")) as db:
                assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
                counts += db.execute("SELECT count(*), count(DISTINCT n) FROM pairs").fetchall()
    finally:
        writer.kill()
        writer.communicate()
    assert all(rows == 2 * transactions for rows, transactions in counts)
    assert counts[-1] > counts[0], "it wrote meanwhile"


def test_keys_of_the_copy_are_valid(tmp_path: Path) -> None:
    files = KeyFiles(tmp_path / "data")
    key = files.create(Grant("", "alice", frozenset({"read"})))
    made = keyring_of(Settings(data_folder=str(files.folder)))
    names = ("keys.json", "keys.secret", "server.keys")
    assert back_up(files.folder, tmp_path / "copy") == names
    assert keyring_of(Settings(data_folder=str(tmp_path / "copy"))).newest == made.newest
    copied = KeyFiles(tmp_path / "copy")
    secret = copied.secret()
    assert secret is not None and verify(key.encode(), secret)
    assert [each.grant.name for each in copied.entries()] == ["alice"]


def test_nothing_is_left_of_what_fails(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with pytest.raises(BackupError, match="there is nothing to copy in"):
        back_up(data, tmp_path / "copy")
    data.mkdir()
    (data / "usage.sqlite3").write_bytes(b"no database" * 1000)
    with pytest.raises(BackupError, match="file is not a database"):
        back_up(data, tmp_path / "copy")
    assert list(tmp_path.iterdir()) == [data]
    with pytest.raises(BackupError, match="already; name a new folder"):
        back_up(data, data)
    assert [each.name for each in data.iterdir()] == ["usage.sqlite3"]
