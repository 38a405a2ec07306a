"""The book of usage: nothing is lost, nothing is counted twice."""

from __future__ import annotations

import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from extensions.openai.access.caller import Caller
from extensions.openai.errors import UsageUnreadable
from extensions.openai.observability.record import RequestRecord
from extensions.openai.state.usage import Filter, UsageRow, UsageStore, WriterTimes
from tests.support.process import ROOT

MORNING = 1_800_000_000 // 86400 * 86400 + 6 * 3600


@pytest.fixture
def usage_store(tmp_path: Path) -> Iterator[UsageStore]:
    usage_store = UsageStore(tmp_path / "data", days=30, times=WriterTimes(idle=0.05, busy=0.05))
    yield usage_store
    for _ in range(200):
        if usage_store.is_at_rest:
            return
        time.sleep(0.05)
    raise AssertionError("the thread that writes has not ended")


def record(
    key: str = "alice", user: str | None = None, model: str | None = "m", **more: Any
) -> RequestRecord:
    values: dict[str, Any] = {
        "prompt_tokens": 10,
        "cached_tokens": 4,
        "completion_tokens": 5,
        "status": 200,
        **more,
    }
    return RequestRecord(caller=Caller(key, frozenset()), user=user, model=model, **values)


def at(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    monkeypatch.setattr(time, "time", lambda: seconds)


def test_sums_by_bucket_and_by_whom(
    usage_store: UsageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for minute, key, user in (
        (0, "alice", "u1"),
        (0, "alice", "u1"),
        (1, "alice", None),
        (61, "bob", "u1"),
    ):
        at(monkeypatch, MORNING + minute * 60 + 7.5)
        usage_store.observe(record(key, user))
    day = MORNING, MORNING + 86400
    assert usage_store.read(*day) == [UsageRow(MORNING, None, None, None, 4, 40, 16, 20)]
    assert usage_store.read(*day, width=60, by=["key"]) == [
        UsageRow(MORNING, "alice", None, None, 2, 20, 8, 10),
        UsageRow(MORNING + 60, "alice", None, None, 1, 10, 4, 5),
        UsageRow(MORNING + 3660, "bob", None, None, 1, 10, 4, 5),
    ]
    assert usage_store.read(*day, width=3600, by=["model", "user"]) == [
        UsageRow(MORNING, None, "", "m", 1, 10, 4, 5),
        UsageRow(MORNING, None, "u1", "m", 2, 20, 8, 10),
        UsageRow(MORNING + 3600, None, "u1", "m", 1, 10, 4, 5),
    ]
    assert (
        usage_store.read(*day, chosen=Filter(keys=["bob"], users=["u1"], models=["m"]))[0].requests
        == 1
    )
    assert usage_store.read(*day, chosen=Filter(models=["other"])) == []
    assert usage_store.read(MORNING, MORNING + 60)[0].requests == 2  # the end is exclusive
    assert usage_store.read(MORNING + 60, MORNING + 61)[0].requests == 1
    assert usage_store.spent("alice", None, MORNING) == 45
    assert usage_store.spent("alice", "u1", MORNING) == 30
    assert usage_store.spent("alice", "u1", MORNING + 60) == 0


def test_whose_usage_is_nobody_s(usage_store: UsageStore) -> None:
    usage_store.observe(record(model=None))
    none: dict[str, Any] = {"prompt_tokens": 0, "cached_tokens": 0, "completion_tokens": 0}
    usage_store.observe(record(**none, status=404))
    usage_store.observe(record(**none, cancelled=True))
    assert usage_store.read(0, 2**40) == []
    usage_store.observe(record(cancelled=True))  # what was computed counts
    usage_store.observe(record(status=500))
    assert usage_store.read(0, 2**40)[0].requests == 2


def test_embeddings_are_apart(usage_store: UsageStore) -> None:
    usage_store.observe(record(usage="embeddings", completion_tokens=0))
    usage_store.observe(record(route="POST /v1/chat/completions"))
    assert usage_store.read(0, 2**40, kind="embeddings")[0].output_tokens == 0
    assert usage_store.read(0, 2**40, kind="completions")[0].output_tokens == 5


def test_it_survives_and_grows_old(
    tmp_path: Path, usage_store: UsageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    at(monkeypatch, MORNING)
    usage_store.observe(record())
    usage_store.flush()
    again = UsageStore(tmp_path / "data", days=30)
    assert again.spent("alice", None, 0) == 15
    at(monkeypatch, MORNING + 31 * 86400)
    again.observe(record("bob"))
    assert [used.key for used in again.read(0, 2**40, by=["key"])] == ["bob"]


@pytest.mark.skipif(sys.platform == "win32", reason="modes of POSIX")
def test_only_the_owner_may_read_it(tmp_path: Path, usage_store: UsageStore) -> None:
    usage_store.observe(record())
    usage_store.flush()
    assert stat.S_IMODE((tmp_path / "data/usage.sqlite3").stat().st_mode) == 0o600


def test_many_threads_and_two_servers(tmp_path: Path, usage_store: UsageStore) -> None:
    other = UsageStore(tmp_path / "data", days=30)

    def work(mine: UsageStore) -> None:
        for number in range(50):
            mine.observe(record(f"key{number % 3}", f"user{number % 7}"))
            if number % 10 == 0:
                mine.read(0, 2**40)

    threads = [threading.Thread(target=work, args=(each,)) for each in (usage_store, other) * 8]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    other.flush()
    (used,) = usage_store.read(0, 2**40)
    assert (used.requests, used.input_tokens, used.output_tokens) == (800, 8000, 4000)


def test_a_file_that_is_no_database(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "usage.sqlite3").write_bytes(b"something else entirely, and long enough " * 9)
    usage_store = UsageStore(tmp_path, days=30, times=WriterTimes(pauses=(0.0,)))
    for _ in range(3):
        usage_store.observe(record())
        usage_store.flush()
        with pytest.raises(UsageUnreadable):
            usage_store.read(0, 2**40)
    assert len([line for line in caplog.messages if "usage cannot be kept" in line]) == 1
    assert (tmp_path / "usage.sqlite3").read_bytes().startswith(b"something else")


def test_what_could_not_be_written_is_written_later(
    tmp_path: Path, usage_store: UsageStore
) -> None:
    usage_store.observe(record())
    usage_store.flush()
    with sqlite3.connect(tmp_path / "data/usage.sqlite3") as lock:
        lock.execute("BEGIN IMMEDIATE")
        usage_store.observe(record())
        usage_store.observe(record("bob"))
        for _ in range(200):
            if usage_store.is_broken:
                break
            time.sleep(0.02)
        assert usage_store.is_broken
        lock.rollback()
    lock.close()
    for _ in range(500):  # it is tried again without another request
        found = [(used.key, used.requests) for used in usage_store.read(0, 2**40, by=["key"])]
        if len(found) == 2:
            break
        time.sleep(0.02)
    assert found == [("alice", 2), ("bob", 1)]


def test_nothing_is_kept_where_nothing_shall_be(tmp_path: Path) -> None:
    for usage_store in (UsageStore(tmp_path / "data", days=0), UsageStore(None, days=30)):
        usage_store.observe(record())
        usage_store.flush()
        assert not usage_store.keeps and usage_store.read(0, 2**40) == []
    assert not (tmp_path / "data").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_a_process_that_is_killed_loses_nothing_that_has_ended(tmp_path: Path) -> None:
    program = f"""
import os, signal, sys, time
from pathlib import Path
from extensions.openai.access.caller import Caller
from extensions.openai.state.usage import UsageStore
from extensions.openai.observability.record import RequestRecord
usage_store = UsageStore(Path({str(tmp_path)!r}), days=30)
alice = Caller("alice", frozenset())
for number in range(100):
    usage_store.observe(RequestRecord(caller=alice, model="m", prompt_tokens=1, status=200))
print("done", flush=True)
time.sleep(2)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ,
    )
    assert done.stdout == "done\n" and done.returncode == -signal.SIGKILL, done.stderr
    assert UsageStore(tmp_path, days=30).read(0, 2**40)[0].requests == 100
