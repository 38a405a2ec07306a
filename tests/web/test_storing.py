"""Requests that come again with their `Idempotency-Key`; what may not be stored, and what cannot be."""

from __future__ import annotations

import sqlite3
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import Connection, event

from extensions.openai.access.key_files import KeyFiles
from extensions.openai.access.signed_keys import Grant
from extensions.openai.engines.echo import EchoEngine
from extensions.openai.settings import Settings
from extensions.openai.state.databases.sqlite_file import FILE
from extensions.openai.state.store import Store, StoreTimes
from extensions.openai.web.app import create_app
from tests.conftest import Serve
from tests.support.api import Api
from tests.support.paced import PacedEngine
from tests.support.permissions import held_to_permissions
from tests.support.reference import assert_envelope, sse_chunks
from tests.support.wire import ask
from tests.test_stored_completions import CHATS, WEATHER, body, client_of, listed


def post(client: FlaskClient, key: str = "k", **more: Any) -> Any:
    return client.post(CHATS, json=body(**more), headers={"Idempotency-Key": key})


def folded(chunks: list[Any]) -> dict[int, dict[str, Any]]:
    """Message, log-probabilities and reason of each choice."""
    choices: dict[int, dict[str, Any]] = {}
    for chunk in chunks:
        for part in chunk["choices"]:
            empty: dict[str, Any] = {
                "content": "",
                "calls": {},
                "logprobs": [],
                "finish_reason": None,
            }
            choice = choices.setdefault(part["index"], empty)
            choice["content"] += part["delta"].get("content") or ""
            for call in part["delta"].get("tool_calls", ()):
                parts = choice["calls"].setdefault(call["index"], [call.get("id"), ""])
                parts[1] += call["function"].get("arguments", "")
            choice["logprobs"] += (part["logprobs"] or {}).get("content", [])
            choice["finish_reason"] = part["finish_reason"] or choice["finish_reason"]
    return choices


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"n": 2, "logprobs": True, "metadata": {"k": "v"}},
        {"tools": [WEATHER], "tool_choice": "required"},
        {"service_tier": "flex", "max_tokens": 1},
    ],
)
def test_the_same_request_gets_the_same_answer(tiny: Api, more: dict[str, Any]) -> None:
    key = f"whole {sorted(more)}"
    first = post(tiny.client, key, model="tiny", **more)
    again = post(tiny.client, key, model="tiny", **more)
    assert first.status_code == again.status_code == 200, again.text
    assert again.json == first.json
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"n": 2, "logprobs": True, "stream_options": {"include_usage": True}},
        {"tools": [WEATHER], "tool_choice": "required"},
    ],
)
def test_the_same_stream_gets_the_same_answer(tiny: Api, more: dict[str, Any]) -> None:
    key = f"streamed {sorted(more)}"
    first = sse_chunks(post(tiny.client, key, model="tiny", stream=True, **more).data)
    again = sse_chunks(post(tiny.client, key, model="tiny", stream=True, **more).data)
    assert folded(again) == folded(first)
    head = ("id", "created", "model", "system_fingerprint", "object")
    assert [again[-1][name] for name in head] == [first[-1][name] for name in head]
    assert again[-1].get("usage") == first[-1].get("usage")


def test_it_is_done_once(monkeypatch: pytest.MonkeyPatch) -> None:
    client = client_of()
    calls: list[Any] = []
    generate = EchoEngine.generate

    def counted(*given: Any) -> Any:
        calls.append(given)
        return generate(*given)

    monkeypatch.setattr(EchoEngine, "generate", counted)
    for _ in range(3):
        assert post(client).status_code == 200
    assert len(calls) == len(listed(client)) == 1


def test_another_request_with_the_key_is_refused() -> None:
    client = client_of()
    first = post(client)
    for other in ({"text": "Ho"}, {"stream": True}, {"n": 2}, {"user": "u"}):
        refused = post(client, **other)
        assert assert_envelope(refused.json, status=422)["code"] == "idempotency_key_reused"
    assert post(client).json == first.json
    # What does not change its meaning does not matter.
    keys = list(reversed(body().items()))
    again = client.post(CHATS, json=dict(keys), headers={"Idempotency-Key": "k"})
    assert again.json == first.json


def test_while_it_is_under_way(serve: Serve) -> None:
    engine = PacedEngine()
    engine.gate.clear()
    port = serve(engine, store="memory").port
    answers: list[Any] = []

    def first() -> None:
        answers.append(ask(port, "POST", CHATS, body(), idempotency_key="k"))

    thread = threading.Thread(target=first)
    thread.start()
    assert engine.wait_for_active(1)
    refused = ask(port, "POST", CHATS, body(), idempotency_key="k")
    assert refused.status == 409 and int(refused.headers["retry-after"]) > 0
    engine.gate.set()
    thread.join(20)
    again = ask(port, "POST", CHATS, body(), idempotency_key="k")
    assert again.json() == answers[0].json()


def test_one_that_failed_is_done_again() -> None:
    client = client_of()
    assert post(client, n=0).status_code == 400
    with post(client, continue_final_message=True) as refused:  # begun, and refused then
        assert refused.status_code == 400
    left = client.post(
        CHATS, json=body(stream=True), headers={"Idempotency-Key": "k"}, buffered=False
    )
    next(iter(left.response))
    left.close()
    assert post(client).status_code == 200


def test_one_whose_answer_was_deleted_is_done_again() -> None:
    client = client_of()
    first = post(client).json["id"]
    client.delete(f"{CHATS}/{first}")
    assert post(client).json["id"] != first


def test_only_what_stores_needs_it() -> None:
    client = client_of()
    ids = {post(client, store=None).json["id"] for _ in range(2)}
    assert len(ids) == 2


@pytest.mark.parametrize("key", ["", "x" * 256])
def test_what_is_no_key(key: str) -> None:
    refused = post(client_of(), key)
    assert assert_envelope(refused.json, status=400)["param"] == "Idempotency-Key"


def test_a_key_of_the_api_that_stores_nothing(tmp_path: Path) -> None:
    settings = Settings(data_folder=str(tmp_path), store="memory")
    files = KeyFiles.of(settings)
    grant = Grant("", "quiet", frozenset({"read", "write"}), stores=False)
    headers = {"Authorization": f"Bearer {files.create(grant)}"}
    client = create_app(settings, EchoEngine()).test_client()
    answer = client.post(CHATS, json=body(), headers=headers)
    assert answer.json["store"] is False and answer.headers["x-openedai-ignored"] == "store"
    assert client.get(CHATS, headers=headers).json["data"] == []
    # Rotation keeps that.
    key, rotated = files.rotate("quiet", lambda entry: replace(entry.grant, id=""))
    assert not rotated.stores
    answer = client.post(CHATS, json=body(), headers={"Authorization": f"Bearer {key}"})
    assert answer.json["store"] is False


LONG = {str(n): "x" * 512 for n in range(16)}
"""Metadata that need pages of their own."""


@pytest.mark.parametrize("what", [FILE, "."])
def test_a_store_that_may_only_be_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    """The file, or its folder, as on a disk that is mounted so. It was made by an earlier start."""
    earlier = client_of(store="sqlite", data_folder=str(tmp_path))
    id = earlier.post(CHATS, json=body()).json["id"]
    earlier.application.extensions["openai"].store.close()
    place = tmp_path / what
    place.chmod(place.stat().st_mode & ~0o222)
    with held_to_permissions():
        client = client_of(store="sqlite", data_folder=str(tmp_path))
        for stream in (False, True):
            answer = client.post(CHATS, json=body(stream=stream))
            assert answer.status_code == 200
            whole = sse_chunks(answer.data)[-1] if stream else answer.json
            assert whole["store"] is False
        assert answer.headers["x-openedai-ignored"] == "store"
        assert client.get("/health").json == {"status": "degraded"}
        assert client.get("/v1/internal/health").json["store"]["problem"]
        refused = client.get(CHATS)
        assert assert_envelope(refused.json, status=503)["code"] == "store_unavailable"
        assert str(tmp_path) not in refused.text
        assert caplog.text.count("the store cannot be opened") == 1
        for each in (tmp_path, *tmp_path.glob(f"{FILE}*")):  # the log beside the file has its mode
            each.chmod(0o700)
        # Nothing has to be started again.
        assert "store" not in client.post(CHATS, json=body()).json
    assert client.get("/health").json == {"status": "ok"}
    assert client.get(f"{CHATS}/{id}").status_code == 200
    client.application.extensions["openai"].store.close()


def test_a_store_that_may_only_be_read_from_now_on(tmp_path: Path) -> None:
    """A disk that is mounted so because it has an error: what is stored can be read."""
    client = client_of(store="sqlite", data_folder=str(tmp_path))
    id = client.post(CHATS, json=body()).json["id"]
    store = client.application.extensions["openai"].store
    store.database.write(lambda c: c.exec_driver_sql("PRAGMA query_only = 1"))
    assert client.post(CHATS, json=body()).json["store"] is False
    assert client.get("/health").json == {"status": "degraded"}
    problem = client.get("/v1/internal/health").json["store"]["problem"]
    assert problem == "attempt to write a readonly database"
    assert client.post(CHATS, json=body()).headers["x-openedai-ignored"] == "store"
    assert client.get(f"{CHATS}/{id}").status_code == 200
    assert client.delete(f"{CHATS}/{id}").status_code == 503
    store.database.backend.engine.dispose()  # the one connection that may only read
    assert "store" not in client.post(CHATS, json=body()).json
    assert client.get("/health").json == {"status": "ok"}
    store.close()


def test_a_store_that_another_process_locks(tmp_path: Path) -> None:
    client = client_of(store="sqlite", data_folder=str(tmp_path))
    store = Store(Settings(data_folder=str(tmp_path)), StoreTimes(busy=0.1))
    client.application.extensions["openai"].store = store
    assert "store" not in client.post(CHATS, json=body()).json
    locker = sqlite3.connect(tmp_path / FILE, isolation_level=None)
    locker.execute("BEGIN IMMEDIATE")
    assert client.post(CHATS, json=body()).json["store"] is False
    assert client.post(CHATS, json=body()).headers["x-openedai-ignored"] == "store"
    assert client.get("/v1/internal/health").json["store"]["problem"] == "database is locked"
    assert len(client.get(CHATS).json["data"]) == 1
    locker.execute("ROLLBACK")
    locker.close()
    assert "store" not in client.post(CHATS, json=body()).json
    assert client.get("/health").json == {"status": "ok"}
    store.close()


def test_health_and_metrics_while_the_disk_is_full(tmp_path: Path) -> None:
    client = client_of(store="sqlite", data_folder=str(tmp_path))
    store = client.application.extensions["openai"].store
    assert b"openedai_store_objects" not in client.get("/metrics").data  # it is not open
    client.post(CHATS, json=body())
    assert b'openedai_store_objects{kind="chats"} 1.0' in client.get("/metrics").data

    bounds = [100_000]  # of each connection

    def bound(connection: sqlite3.Connection, *_: object) -> None:
        connection.execute(f"PRAGMA max_page_count = {bounds[-1]}")

    def fill(connection: Connection) -> None:
        bounds.append(connection.exec_driver_sql("PRAGMA page_count").scalar_one())
        connection.exec_driver_sql(f"PRAGMA max_page_count = {bounds[-1]}")

    event.listen(store.database.backend.engine, "checkout", bound)
    store.database.write(fill)
    full = client.post(CHATS, json=body(metadata=LONG))
    assert full.status_code == 200 and full.json["store"] is False
    assert client.get("/health").json == {"status": "degraded"}
    details = client.get("/v1/internal/health").json
    assert details["status"] == "degraded"
    assert details["store"] == {"where": "sqlite", "problem": "database or disk is full"}
    assert b"openedai_store_failing 1.0" in client.get("/metrics").data
    streamed = client.post(CHATS, json=body(metadata=LONG, stream=True))
    assert streamed.headers["x-openedai-ignored"] == "store"
    assert sse_chunks(streamed.data)[-1]["store"] is False
    bounds.append(100_000)
    store.database.write(lambda c: c.exec_driver_sql("PRAGMA max_page_count = 100000"))
    assert "store" not in client.post(CHATS, json=body()).json
    assert client.get("/health").json == {"status": "ok"}
    store.close()
