"""The file: for its owner only, on a disk of this machine."""

from __future__ import annotations

import sqlite3
import stat
import threading
from contextlib import closing
from pathlib import Path

import pytest

from extensions.openai.settings import Settings, SettingsError
from extensions.openai.state.databases import sqlite_file
from extensions.openai.state.databases.sqlite_file import FILE, connect, copy
from extensions.openai.state.store import Store
from tests.state.test_chat_completions import chat

HERE = "36 35 98:0 / / rw,noatime master:1 - ext4 /dev/root rw\n"


def test_only_its_owner_may_read_it(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    store = Store(Settings(data_folder=str(folder)))
    store.chat_completions.add("local", chat("a"))
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    files = list(folder.iterdir())
    assert {file.name for file in files} == {FILE, f"{FILE}-wal", f"{FILE}-shm"}
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    store.close()
    assert [file.name for file in folder.iterdir()] == [FILE]


@pytest.mark.parametrize(
    ("mounts", "refused"),
    [
        (HERE, False),
        (HERE + "50 36 0:40 / {} rw - nfs4 host:/x rw\n", True),
        (HERE + "50 36 0:40 / {}/other rw - nfs4 host:/x rw\n", False),
        (HERE + "50 36 0:40 / {} rw shared:2 - fuse.sshfs host:/x rw\n", True),
        (HERE + "50 36 0:40 / {} rw - cifs //host/x rw\n51 50 0:41 / {} rw - tmpfs t rw\n", False),
        ("36 35 0:1 / / rw - nfs host:/root rw\n", True),
    ],
)
def test_network_file_systems(
    mounts: str,
    refused: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    file = tmp_path / "mountinfo"
    folder = tmp_path / "a folder"
    # As the kernel writes a space.
    file.write_text(mounts.replace("{}", str(folder).replace(" ", "\\040")), encoding="utf-8")
    monkeypatch.setattr(sqlite_file, "MOUNTS", file)
    chosen = Store(Settings(data_folder=str(folder / "data"), store="sqlite"))
    default = Store(Settings(data_folder=str(folder / "data")))
    default.prepare()
    assert default.keeps is not refused
    if refused:
        with pytest.raises(SettingsError, match="network file system"):
            chosen.prepare()
        assert "nothing is stored" in caplog.text
    else:
        chosen.prepare()


def test_what_is_deleted_leaves_no_byte(tmp_path: Path) -> None:
    mark = b"a-marked-text"
    store = Store(Settings(data_folder=str(tmp_path)))
    chats = store.chat_completions
    store.database.tidy()
    size_when_empty = (tmp_path / FILE).stat().st_size
    for number in range(50):
        each = chat(f"c{number}")
        object.__setattr__(each, "messages", mark * 400)
        chats.add("local", each)
    assert any(mark in file.read_bytes() for file in tmp_path.iterdir())
    for number in range(50):
        chats.delete("local", f"c{number}")
    store.database.tidy()
    assert not [file.name for file in tmp_path.iterdir() if mark in file.read_bytes()]
    size = (tmp_path / FILE).stat().st_size  # the space is given back, too
    assert size < size_when_empty + 50_000
    store.close()


def test_a_copy_of_a_file_in_use(tmp_path: Path) -> None:
    store = Store(Settings(data_folder=str(tmp_path)))
    store.chat_completions.add("local", chat("a"))
    target = tmp_path / "copy.sqlite3"
    copy(tmp_path / FILE, target)
    store.close()
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    with closing(sqlite3.connect(target)) as made:
        assert made.execute("SELECT id FROM chat_completions").fetchall() == [("a",)]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["copy.sqlite3", FILE]
    with pytest.raises(FileExistsError):
        copy(tmp_path / FILE, target)


def test_how_much_is_waited_for(tmp_path: Path) -> None:
    """PRAGMA synchronous: 1 is NORMAL, 2 is FULL."""
    for name, number in (("normal", 1), ("full", 2)):
        with closing(connect(tmp_path / FILE, name)) as made:  # type: ignore[arg-type]
            assert made.execute("PRAGMA synchronous").fetchone() == (number,)
            assert made.execute("PRAGMA journal_mode").fetchone() == ("wal",)
            assert made.execute("PRAGMA secure_delete").fetchone() == (1,)
            assert made.execute("PRAGMA auto_vacuum").fetchone() == (2,)


def test_another_process_that_makes_the_same_file_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / FILE
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("CREATE TABLE made (x)")
        other.execute("BEGIN IMMEDIATE")
        other.execute("INSERT INTO made VALUES (1)")
        ends = threading.Timer(0.1, other.execute, ["COMMIT"])
        ends.start()
        with closing(connect(path)) as connection:
            assert connection.execute("SELECT count(*) FROM made").fetchone() == (1,)
            assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        ends.join()
