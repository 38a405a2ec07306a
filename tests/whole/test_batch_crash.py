"""The server is killed while it answers a batch: each line has one result, unfinished ones only run again.

`make test-crash` does it 50 times, with 2,000 lines; CRASH_ROUNDS and CRASH_LINES say how often and how many.
"""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from extensions.openai.state.databases.sqlite_file import FILE
from tests.support.batches import chat_line, read_lines
from tests.support.process import ServerProcess

ROUNDS = int(os.environ.get("CRASH_ROUNDS", "3"))
LINES = int(os.environ.get("CRASH_LINES", "150"))
PATIENCE_S = 300.0
"""Only a test that fails waits so long."""


def wait_for(client: httpx.Client, id: str, seen: Callable[[Any], bool]) -> Any:
    """The batch, once it is so."""
    ends = time.monotonic() + PATIENCE_S
    while not seen(batch := client.get(f"/v1/batches/{id}").json()):
        assert time.monotonic() < ends, batch
        time.sleep(0.01)
    return batch


def done_in(batch: Any) -> int:
    counts = batch["request_counts"]
    return int(counts["completed"] + counts["failed"])


def results(client: httpx.Client, batch: Any) -> dict[str, str]:
    """The ids of all results by the custom ids, of which none comes twice."""
    found: list[Any] = []
    for file in filter(None, (batch["output_file_id"], batch["error_file_id"])):
        found += read_lines(client.get(f"/v1/files/{file}/content").content)
    by_name = {line["custom_id"]: line["id"] for line in found}
    assert len(by_name) == len(found)
    return by_name


@pytest.mark.timeout(120 + 60 * ROUNDS)
def test_killed_in_a_batch(tmp_path: Path) -> None:
    chance = random.Random()

    def start() -> tuple[ServerProcess, httpx.Client]:
        server = ServerProcess(
            *("--loader", "echo"), environment={"OPENEDAI_DATA_FOLDER": str(tmp_path)}
        )
        server.wait_until_ready()
        return server, httpx.Client(base_url=server.url, timeout=60)

    server, client = start()
    content = b"".join(
        # One in ten is wrong, and each is about as long as those of real files.
        chat_line(f"line-{n}", f"Question {n}. " * 20, **({} if n % 10 else {"n": 0}))
        for n in range(LINES)
    )
    form: Any = {"data": {"purpose": "batch"}, "files": {"file": ("in.jsonl", content)}}
    file = client.post("/v1/files", **form).json()["id"]
    new = {"input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    id = client.post("/v1/batches", json=new).json()["id"]
    before: dict[str, str] = {}
    for number in range(ROUNDS):
        # Somewhere in the next part of it.
        least = (LINES - 20) * (number + 1) // (ROUNDS + 1)
        wait_for(client, id, lambda each, least=least: done_in(each) >= least)  # type: ignore[misc]
        time.sleep(chance.uniform(0, 0.02))
        server.signal(signal.SIGKILL)
        client.close()
        server.stop()
        with closing(sqlite3.connect(tmp_path / FILE)) as database:
            # What was claimed is free by the time that a server would have to wait for.
            database.execute("UPDATE batch_lines SET until = 0 WHERE until > 0")
            database.execute("UPDATE batches SET until = 0 WHERE until > 0")
            database.commit()
        server, client = start()
        now = results(client, client.get(f"/v1/batches/{id}").json())
        assert before.items() <= now.items() and len(now) >= least
        before = now
    done = wait_for(client, id, lambda each: each["status"] not in ("in_progress", "finalizing"))
    after = results(client, done)
    assert done["status"] == "completed" and before.items() <= after.items()
    assert after.keys() == {f"line-{n}" for n in range(LINES)}
    failed = len(range(0, LINES, 10))
    counts = {"total": LINES, "completed": LINES - failed, "failed": failed}
    assert done["request_counts"] == counts
    client.close()
    server.stop()
    with closing(sqlite3.connect(tmp_path / FILE)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        told = database.execute("SELECT objects, bytes FROM totals WHERE kind = 'files'").fetchall()
        assert told == database.execute("SELECT count(*), sum(bytes) FROM files").fetchall()
