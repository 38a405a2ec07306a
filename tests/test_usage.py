"""The usage pages: who sees what, in which buckets, and that the official client reads them."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai
import pytest
from flask import Flask
from flask.testing import FlaskClient

from extensions.openai.access.caller import Caller, Scope
from extensions.openai.access.key_files import KeyFiles
from extensions.openai.access.signed_keys import Grant
from extensions.openai.engines.echo import EchoEngine
from extensions.openai.engines.swappable import SwappableEngine
from extensions.openai.hosts.running_server import RunningServer
from extensions.openai.observability.record import RequestRecord
from extensions.openai.server.server import APIServer
from extensions.openai.settings import Settings
from extensions.openai.state.usage import UsageStore, WriterTimes
from extensions.openai.web.app import create_app
from extensions.openai.web.services import Services
from tests.conftest import http_library
from tests.support.process import ServerProcess
from tests.support.reference import assert_envelope
from tests.support.wire import ask

HELLO = {"role": "user", "content": "Hello"}
PAGE = "/v1/organization/usage/completions"
DAY = 86400


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 40
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        threading.Event().wait(0.05)


class Kept:
    """An application with keys and some usage."""

    def __init__(self, folder: Path) -> None:
        files = KeyFiles(folder)
        scopes: dict[str, list[Scope]] = {
            "alice": ["read", "write"],
            "bob": ["read", "write"],
            "root": ["admin"],
        }
        self.keys = {
            name: files.create(Grant("", name, frozenset(its))) for name, its in scopes.items()
        }
        self.app: Flask = create_app(Settings(data_folder=str(folder), rpm=0), EchoEngine())
        self.client: FlaskClient = self.app.test_client()
        self.today = int(time.time()) // DAY * DAY

    def use(self, key: str, days_ago: int = 0, user: str | None = None, **more: Any) -> None:
        """Usage of a day that is over, or of now."""
        usage_store = self.app.extensions["openai"].usage_store
        record = RequestRecord(caller=Caller(key, frozenset()), user=user, model="echo", status=200)
        record.prompt_tokens, record.cached_tokens, record.completion_tokens = 10, 4, 5
        for name, value in more.items():
            setattr(record, name, value)
        with pytest.MonkeyPatch.context() as patch:
            if days_ago:
                patch.setattr(time, "time", lambda: self.today - days_ago * DAY + 3600.0)
            usage_store.observe(record)
        usage_store.flush()

    def get(self, key: str, path: str = PAGE, status: int = 200, **query: Any) -> Any:
        answer = self.client.get(
            path, query_string=query, headers={"Authorization": f"Bearer {self.keys[key]}"}
        )
        assert answer.status_code == status, answer.get_data(as_text=True)
        return answer.json


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path)


def sums(page: Any) -> list[list[tuple[int, int, int]]]:
    return [
        [
            (r["num_model_requests"], r["input_tokens"], r["output_tokens"])
            for r in bucket["results"]
        ]
        for bucket in page["data"]
    ]


def test_days(kept: Kept) -> None:
    for ago in (0, 1, 1, 3):
        kept.use("alice", ago)
    page = kept.get("alice", start_time=kept.today - 3 * DAY)
    assert page["object"] == "page" and page["has_more"] is False and page["next_page"] is None
    assert [b["start_time"] for b in page["data"]] == [
        kept.today + at * DAY for at in (-3, -2, -1, 0)
    ]
    assert all(b["end_time"] - b["start_time"] == DAY for b in page["data"])
    assert sums(page) == [[(1, 10, 5)], [], [(2, 20, 10)], [(1, 10, 5)]]
    (result,) = page["data"][0]["results"]
    assert result["object"] == "organization.usage.completions.result"
    assert (result["input_cached_tokens"], result["input_uncached_tokens"]) == (4, 6)
    assert result["api_key_id"] is result["user_id"] is result["model"] is None


def test_pages_of_buckets(kept: Kept) -> None:
    for ago in range(1, 6):
        kept.use("alice", ago)
    query: dict[str, Any] = {"start_time": kept.today - 5 * DAY, "end_time": kept.today, "limit": 2}
    first = kept.get("alice", **query)
    second = kept.get("alice", **query, page=first["next_page"])
    third = kept.get("alice", **query, page=second["next_page"])
    assert [len(page["data"]) for page in (first, second, third)] == [2, 2, 1]
    assert [page["has_more"] for page in (first, second, third)] == [True, True, False]
    assert sum(len(bucket) for page in (first, second, third) for bucket in sums(page)) == 5


@pytest.mark.parametrize(
    ("width", "seconds", "usual"), [("1m", 60, 60), ("1h", 3600, 24), ("1d", DAY, 7)]
)
def test_widths(kept: Kept, width: str, seconds: int, usual: int) -> None:
    kept.use("alice", 1)
    start = kept.today - DAY + 3600 - 30
    page = kept.get("alice", start_time=start, bucket_width=width)
    assert len(page["data"]) <= usual
    assert page["data"][0]["start_time"] == start // seconds * seconds
    (used,) = [bucket for bucket in page["data"] if bucket["results"]]
    assert used["start_time"] <= kept.today - DAY + 3600 < used["end_time"]


def test_groups_and_filters(kept: Kept) -> None:
    kept.use("alice", 1, "u1")
    kept.use("alice", 1, "u2")
    kept.use("bob", 1, "u1", model="other")
    query: dict[str, Any] = {"start_time": kept.today - DAY, "end_time": kept.today}

    def grouped(**more: Any) -> list[tuple[Any, ...]]:
        (bucket,) = kept.get("root", **query, **more)["data"]
        return [
            (r["api_key_id"], r["user_id"], r["model"], r["num_model_requests"])
            for r in bucket["results"]
        ]

    assert grouped() == [(None, None, None, 3)]
    assert grouped(group_by="api_key_id") == [("alice", None, None, 2), ("bob", None, None, 1)]
    assert grouped(**{"group_by[]": ["user_id", "model"]}) == [
        *((None, "u1", "echo", 1), (None, "u1", "other", 1), (None, "u2", "echo", 1)),
    ]
    assert grouped(group_by="api_key_id,model", api_key_ids="bob") == [("bob", None, "other", 1)]
    assert grouped(user_ids="u1") == [(None, None, None, 2)]
    assert grouped(models=["echo"]) == [(None, None, None, 2)]
    assert grouped(batch="true") == [] and grouped(batch="false")[0][3] == 3
    assert grouped(group_by="project_id") == [(None, None, None, 3)]


def test_a_key_sees_its_own_and_an_admin_sees_all(kept: Kept) -> None:
    kept.use("alice")
    kept.use("bob")
    now: dict[str, Any] = {"start_time": kept.today}
    assert sums(kept.get("alice", **now)) == [[(1, 10, 5)]]
    assert sums(kept.get("alice", **now, api_key_ids="alice")) == [[(1, 10, 5)]]
    assert sums(kept.get("root", **now)) == [[(2, 20, 10)]]
    for path, query in ((PAGE, now), ("/v1/usage", {})):
        error = assert_envelope(
            kept.get("alice", path, 403, api_key_ids="bob", **query), status=403
        )
        assert error["code"] == "insufficient_permissions"
    assert [t["api_key_id"] for t in kept.get("alice", "/v1/usage")["data"]] == ["alice"]
    assert [t["api_key_id"] for t in kept.get("root", "/v1/usage")["data"]] == ["alice", "bob"]


def test_sums_of_the_month(kept: Kept) -> None:
    kept.use("alice", user="u1")
    kept.use("alice", user="u2")
    kept.use("alice", 40)
    page = kept.get("alice", "/v1/usage")
    assert [(t["user_id"], t["total_tokens"], t["num_model_requests"]) for t in page["data"]] == [
        *(("u1", 15, 1), ("u2", 15, 1))
    ]
    assert page["limits"]["requests_per_minute"] == 0
    page = kept.get("alice", "/v1/usage", start_time=0, group_by="api_key_id")
    assert [t["total_tokens"] for t in page["data"]] == [45]


def test_what_was_really_used_is_in_it(kept: Kept) -> None:
    body = {"model": "echo", "messages": [{"role": "user", "content": "a b c"}], "user": "u"}
    headers = {"Authorization": f"Bearer {kept.keys['bob']}"}
    tokens = 0
    for stream in (False, True):
        more = {"stream_options": {"include_usage": True}} if stream else {}
        answer = kept.client.post(
            "/v1/chat/completions", json={**body, "stream": stream, **more}, headers=headers
        )
        text = answer.get_data(as_text=True)
        answer.close()
        assert answer.status_code == 200
        tokens += int(text.rsplit('"total_tokens":')[-1].split(",")[0].rstrip("}"))
    (total,) = kept.get("bob", "/v1/usage")["data"]
    assert (total["user_id"], total["num_model_requests"], total["total_tokens"]) == (
        "u",
        2,
        tokens,
    )


@pytest.mark.parametrize(
    ("path", "body", "tokens"),
    [
        ("completions", {"prompt": "abc", "max_tokens": 5}, ("prompt_tokens", "completion_tokens")),
        ("chat/completions", {"messages": [HELLO]}, ("prompt_tokens", "completion_tokens")),
        ("responses", {"input": "Hello"}, ("input_tokens", "output_tokens")),
        ("messages", {"messages": [HELLO], "max_tokens": 50}, ("input_tokens", "output_tokens")),
    ],
)
def test_every_dialect_counts(kept: Kept, path: str, body: Any, tokens: tuple[str, str]) -> None:
    headers = {"Authorization": f"Bearer {kept.keys['bob']}"}
    sent = {"model": "echo", **body}
    with kept.client.post(f"/v1/{path}", json=sent, headers=headers) as answer:
        usage = answer.json["usage"]
    (total,) = kept.get("bob", "/v1/usage")["data"]
    counted = (total["num_model_requests"], total["input_tokens"], total["output_tokens"])
    assert counted == (1, *(usage[name] for name in tokens))


def test_embeddings_have_a_page_of_their_own(kept: Kept) -> None:
    kept.use("alice", usage="embeddings", completion_tokens=0)
    page = kept.get("alice", "/v1/organization/usage/embeddings", start_time=kept.today)
    assert page["data"][0]["results"][0]["object"] == "organization.usage.embeddings.result"
    assert sums(kept.get("alice", start_time=kept.today)) == [[]]


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({}, "start_time"),
        ({"start_time": "soon"}, "start_time"),
        ({"start_time": -1}, "start_time"),
        ({"start_time": 10**15}, "start_time"),
        ({"start_time": 10, "end_time": 10}, "end_time"),
        ({"start_time": 0, "bucket_width": "2d"}, "bucket_width"),
        ({"start_time": 0, "limit": 32}, "limit"),
        ({"start_time": 0, "limit": 0}, "limit"),
        ({"start_time": 0, "bucket_width": "1h", "limit": 169}, "limit"),
        ({"start_time": 0, "group_by": "colour"}, "group_by[0]"),
        ({"start_time": 0, "project_ids": "p"}, "project_ids"),
        ({"start_time": 0, "page": "page_nonsense"}, "page"),
        ({"start_time": 0, "batch": "perhaps"}, "batch"),
    ],
)
def test_wrong_queries(kept: Kept, query: dict[str, Any], param: str) -> None:
    error = assert_envelope(kept.get("alice", PAGE, 400, **query), status=400)
    assert error["param"] == param


def test_hostile_values_are_values(kept: Kept) -> None:
    kept.use("alice")
    for value in ("'; DROP TABLE usage; --", "%", "*", "\x00", "é" * 500):
        assert sums(kept.get("alice", start_time=kept.today, user_ids=value)) == [[]]
    assert sums(kept.get("alice", start_time=kept.today)) == [[(1, 10, 5)]]


def test_the_official_client_reads_them(kept: Kept) -> None:
    kept.use("alice", 1)
    kept.use("bob", 1)
    with openai.OpenAI(
        admin_api_key=kept.keys["root"],
        api_key="unused",
        base_url="http://127.0.0.1/v1",
        max_retries=0,
        http_client=http_library.Client(transport=http_library.WSGITransport(app=kept.app)),
        _strict_response_validation=True,
    ) as client:
        page = client.admin.organization.usage.completions(
            start_time=kept.today - DAY,
            bucket_width="1d",
            group_by=["api_key_id", "model"],
            limit=2,
        )
        results = page.data[0].results
        assert [each.api_key_id for each in results] == ["alice", "bob"]
        assert page.data[0].object == "bucket" and results[0].model == "echo"


def test_where_nothing_is_kept(tmp_path: Path) -> None:
    client = create_app(
        Settings(usage_days=0, data_folder=str(tmp_path)), EchoEngine()
    ).test_client()
    answer = client.get("/v1/usage")
    assert answer.status_code == 404 and "usage_days" in answer.json["error"]["message"]


def test_the_document_tells_the_parameters(client: FlaskClient) -> None:
    document: Any = client.get("/openapi.json").json
    parameters = document["paths"][PAGE]["get"]["parameters"]
    found = {each["name"]: each for each in parameters}
    assert found["start_time"]["required"] and found["start_time"]["schema"]["type"] == "integer"
    assert found["group_by"]["schema"]["type"] == "array" and not found["group_by"]["required"]


def test_a_broken_file_is_told_and_opens_no_budget_anew(tmp_path: Path) -> None:
    (tmp_path / "usage.sqlite3").write_bytes(b"no database " * 100)
    settings = Settings(api_key="k", monthly_tokens=20, data_folder=str(tmp_path))
    client = create_app(settings, EchoEngine()).test_client()
    headers = {"Authorization": "Bearer k"}
    asked = {"model": "echo", "prompt": "a b c", "max_tokens": 5}
    for _ in range(2):
        for answer in (
            client.get("/v1/usage", headers=headers),
            client.post("/v1/completions", headers=headers, json=asked),
        ):
            assert answer.status_code == 503 and answer.headers["Retry-After"]
            assert assert_envelope(answer.json)["code"] == "usage_unreadable"
    (tmp_path / "usage.sqlite3").unlink()
    statuses = [client.post("/v1/completions", headers=headers, json=asked) for _ in range(9)]
    assert statuses[0].status_code == 200 and statuses[-1].status_code == 429


def test_what_is_not_written_yet_is_when_the_server_stops(tmp_path: Path) -> None:
    settings = Settings(api_port=0, usage_days=0)
    app = create_app(settings, EchoEngine())
    services: Services = app.extensions["openai"]
    services.usage_store = UsageStore(tmp_path, days=1, times=WriterTimes(gathering=60.0))
    services.observers.append(services.usage_store.observe)
    server = APIServer(app, settings)
    server.start()
    asked = {"model": "echo", "prompt": "a b c"}
    assert ask(server.port, "POST", "/v1/completions", asked).status == 200
    RunningServer({}, services, SwappableEngine(), server).stop(8)
    assert [used.requests for used in UsageStore(tmp_path, days=1).read(0, 2**40)] == [1]


@pytest.mark.skipif(sys.platform != "linux", reason="prlimit")
def test_a_full_disk_stops_no_answer_and_loses_no_usage(tmp_path: Path) -> None:
    import resource

    server = ServerProcess(
        *("--loader", "echo", "--api-key", "k"),
        environment={"OPENEDAI_DATA_FOLDER": str(tmp_path)},
    )
    try:
        server.wait_until_ready()
        asked = {"model": "echo", "prompt": "a b c", "max_tokens": 5}

        def answers(count: int) -> None:
            for _ in range(count):
                answer = ask(
                    *(server.port, "POST", "/v1/completions", asked), Authorization="Bearer k"
                )
                assert answer.status == 200

        def requests() -> int:
            answer = ask(server.port, "GET", "/v1/usage", Authorization="Bearer k")
            assert answer.status in (200, 503)
            if answer.status == 503:
                return 0
            return sum(row["num_model_requests"] for row in answer.json()["data"])

        answers(3)
        assert requests() == 3
        pid = server.process.pid
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, hard))
        answers(5)
        wait_for(lambda: "usage cannot be kept" in server.output)
        answers(2)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))
        answers(1)
        wait_for(lambda: requests() == 11)
        server.signal(signal.SIGTERM)
        assert server.wait(20) == 0
    finally:
        server.stop()
