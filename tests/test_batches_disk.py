"""A batch while its store cannot be written: nothing is lost, and it goes on when there is space."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from extensions.openai.settings import Settings
from extensions.openai.state.databases import sqlite_file
from extensions.openai.web.app import create_app
from extensions.openai.web.batches import runner
from tests.support.batches import (
    PATIENCE_S,
    batch_of,
    chat_line,
    file_of,
    lines_in,
    settled,
    upload,
    wait_for,
)
from tests.support.paced import PacedEngine
from tests.support.reference import assert_envelope

LONG = "x" * 300_000
"""An answer that fits into no page that is free."""
NO_SPACE = "PRAGMA max_page_count = 1"
"""It cannot be less than the file has."""
WAYS = {
    "database or disk is full": (NO_SPACE, "PRAGMA max_page_count = 1073741823"),
    "attempt to write a readonly database": ("PRAGMA query_only = 1", "PRAGMA query_only = 0"),
}


class Disk:
    """That of a store; it can be spoiled for all connections, also those that are opened later."""

    def __init__(self, problem: str) -> None:
        self._spoil, self._mend = WAYS[problem]
        self._connections: list[sqlite3.Connection] = []
        self._is_spoiled = False

    def connect(self, *about: Any) -> sqlite3.Connection:
        made = _connect(*about)
        self._connections.append(made)
        if self._is_spoiled:
            made.execute(self._spoil)
        return made

    def set(self, *, spoiled: bool) -> None:
        self._is_spoiled = spoiled
        for each in self._connections:
            try:
                each.execute(self._spoil if spoiled else self._mend)
            except sqlite3.ProgrammingError:
                continue  # it is closed


_connect = sqlite_file.connect


@pytest.fixture(params=WAYS)
def problem(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def disk(problem: str, monkeypatch: pytest.MonkeyPatch) -> Disk:
    made = Disk(problem)
    monkeypatch.setattr(sqlite_file, "connect", made.connect)
    monkeypatch.setattr(runner, "AGAIN_S", 0.02)
    monkeypatch.setattr(runner, "SOON_S", 0.02)
    return made


@pytest.fixture
def engine() -> PacedEngine:
    return PacedEngine((LONG,), parallel=4)


@pytest.fixture
def client(disk: Disk, engine: PacedEngine, tmp_path: Path) -> Iterator[FlaskClient]:
    settings = Settings(store="sqlite", data_folder=str(tmp_path), batch_lines=2, rpm=0)
    made = create_app(settings, engine).test_client()
    yield made
    disk.set(spoiled=False)
    engine.gate.set()
    settled(made.application)
    made.application.extensions["openai"].store.close()


def wait_for_problem(client: FlaskClient, problem: str) -> None:
    store, pause = client.application.extensions["openai"].store, threading.Event()
    for _ in range(int(PATIENCE_S / 0.01)):
        if store.problem == problem:
            return
        pause.wait(0.01)
    raise AssertionError(store.problem)


def test_results_wait_for_space(
    client: FlaskClient, engine: PacedEngine, disk: Disk, problem: str
) -> None:
    engine.gate.clear()
    made = batch_of(client, b"".join(chat_line(f"{n}", "x") for n in range(7)))
    assert engine.wait_for_active(2)
    disk.set(spoiled=True)
    engine.gate.set()
    assert engine.wait_for_active(0)
    wait_for_problem(client, problem)
    assert client.get("/health").get_json() == {"status": "degraded"}
    details = client.get("/v1/internal/health").get_json()["store"]
    assert details["problem"] == problem
    now = client.get(f"/v1/batches/{made['id']}").get_json()
    assert now["status"] == "in_progress" and now["request_counts"]["completed"] == 0
    assert engine.started == 2  # no new lines begin
    refused = upload(client, LONG.encode())
    assert refused.status_code == 503
    assert_envelope(refused.get_json(), status=503)
    disk.set(spoiled=False)
    settled(client.application)
    done = client.get(f"/v1/batches/{made['id']}").get_json()
    assert done["status"] == "completed"
    assert done["request_counts"] == {"total": 7, "completed": 7, "failed": 0}
    names = [line["custom_id"] for line in lines_in(client, done["output_file_id"])]
    assert sorted(names) == [f"{n}" for n in range(7)]
    assert engine.started == 7, "a line was answered twice"


def test_a_file_is_looked_through_when_there_is_space(
    client: FlaskClient, disk: Disk, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 3000
    file = file_of(client, b"".join(chat_line(f"{n}", "x", n=0) for n in range(count)))
    services = client.application.extensions["openai"]
    with monkeypatch.context() as patch:
        patch.setattr(services.batches, "wake", lambda: None)
        made = batch_of(client, b"", input_file_id=file)
    disk.set(spoiled=True)
    services.batches.wake()
    wait_for_problem(client, problem)
    now = client.get(f"/v1/batches/{made['id']}").get_json()
    assert now["status"] == "validating" and now["request_counts"]["total"] == 0
    disk.set(spoiled=False)
    running = wait_for(client, made["id"], lambda each: each["status"] == "in_progress")
    assert running["request_counts"]["total"] == count
    assert client.post(f"/v1/batches/{made['id']}/cancel").status_code == 200
    settled(client.application)
    done = client.get(f"/v1/batches/{made['id']}").get_json()
    assert done["status"] == "cancelled" and done["request_counts"]["failed"] == count
    names = [line["custom_id"] for line in lines_in(client, done["error_file_id"])]
    assert len(names) == len(set(names)) == count
