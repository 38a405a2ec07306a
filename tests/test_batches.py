"""Batches over the API: what the official client sends and gets, what is wrong with files, and their ends."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import orjson
import pytest
from flask.testing import FlaskClient

from extensions.openai.settings import Settings
from extensions.openai.web.app import create_app
from extensions.openai.web.batches import indexing
from tests.conftest import sdk_on
from tests.support.batches import (
    batch_of,
    chat_line,
    line_of,
    lines_in,
    read_lines,
    result_of,
    settled,
    wait_for,
)
from tests.support.keys import headers_of
from tests.support.paced import PacedEngine
from tests.support.reference import assert_envelope
from tests.test_stored_completions import client_of

BATCHES = "/v1/batches"
CHATS = "/v1/chat/completions"
GOOD = chat_line("good", "Hi")
DEEP = b'"deep":' + b"[" * 300 + b"]" * 300


@pytest.fixture(scope="module")
def client() -> Iterator[FlaskClient]:
    yield client_of()


@pytest.fixture(scope="module")
def sdk(client: FlaskClient) -> Iterator[openai.OpenAI]:
    """Strict about what it is answered."""
    with sdk_on(client.application) as made:
        yield made


@pytest.fixture
def engine() -> PacedEngine:
    return PacedEngine(parallel=4)


@pytest.fixture
def paced(engine: PacedEngine) -> FlaskClient:
    """A client of an engine that speaks when the test lets it."""
    return create_app(Settings(store="memory", batch_lines=2), engine).test_client()


def test_the_official_client(client: FlaskClient, sdk: openai.OpenAI) -> None:
    content = b"".join(chat_line(f"line-{n}", f"Question {n}") for n in range(5))
    file = sdk.files.create(file=("in.jsonl", content), purpose="batch")
    made = sdk.batches.create(
        input_file_id=file.id,
        endpoint="/v1/chat/completions",
        completion_window="24h",
        metadata={"night": "1"},
    )
    assert (made.object, made.endpoint, made.completion_window) == ("batch", CHATS, "24h")
    assert made.metadata == {"night": "1"} and made.input_file_id == file.id
    assert made.expires_at is not None and made.expires_at - made.created_at == 86400
    settled(client.application)
    done = sdk.batches.retrieve(made.id)
    assert done.status == "completed" and done.errors is None and done.error_file_id is None
    assert done.request_counts is not None
    assert (done.request_counts.total, done.request_counts.completed) == (5, 5)
    assert done.completed_at and done.finalizing_at and done.in_progress_at
    assert done.model == "echo" and done.output_file_id is not None
    lines = read_lines(sdk.files.content(done.output_file_id).read())
    assert sorted(line["custom_id"] for line in lines) == [f"line-{n}" for n in range(5)]
    used = 0
    for line in lines:
        assert set(line) == {"id", "custom_id", "response", "error"} and line["error"] is None
        assert set(line["response"]) == {"status_code", "request_id", "body"}
        body = line["response"]["body"]
        assert line["response"]["status_code"] == 200 and body["object"] == "chat.completion"
        used += body["usage"]["total_tokens"]
    assert done.usage is not None and done.usage.total_tokens == used
    assert sdk.files.retrieve(done.output_file_id).purpose == "batch_output"
    assert next(iter(sdk.batches.list(limit=1))).id == made.id


@pytest.mark.parametrize(
    ("endpoint", "body", "object"),
    [
        ("/v1/completions", {"model": "echo", "prompt": "Hi"}, "text_completion"),
        ("/v1/responses", {"model": "echo", "input": "Hi"}, "response"),
        (
            "/v1/messages",
            {"model": "echo", "max_tokens": 8, "messages": [{"role": "user", "content": "Hi"}]},
            None,
        ),
    ],
)
def test_endpoints_in_their_own_form(
    client: FlaskClient, endpoint: str, body: Any, object: str | None
) -> None:
    done = result_of(client, line_of("a", body, endpoint), endpoint=endpoint)
    [line] = lines_in(client, done["output_file_id"])
    answer, asked = line["response"]["body"], client.post(endpoint, json=body).get_json()
    assert set(answer) == set(asked) and answer.get("object") == object
    assert done["usage"]["output_tokens"] > 0


@pytest.mark.parametrize(
    ("content", "code", "line"),
    [
        (b"", "empty_file", None),
        (b"\n\r\n", "empty_file", None),
        (b"\n" * 1_300_000 + GOOD, "too_many_tasks", None),
        (GOOD + b"{", "invalid_json_line", 2),
        (b"\n\n[1]", "invalid_json_line", 3),
        (b'{"custom_id": "\xff"}', "invalid_json_line", 1),
        (b'{"custom_id": "\\ud800", "method": "POST"}', "invalid_json_line", 1),
        (GOOD + chat_line("b", "HERE").replace(b"HERE", b"\\udc00"), "invalid_json_line", 2),
        (GOOD + chat_line("b", "HERE").replace(b"HERE", b"\xed\xa0\x80"), "invalid_json_line", 2),
        (GOOD + b"\x00", "invalid_json_line", 2),
        (GOOD.replace(b"\n", b"\r") + chat_line("b", "x"), "invalid_json_line", 1),
        (b"\xff\xfe" + GOOD.decode().strip().encode("utf-16-le"), "invalid_json_line", 1),
        (b"[" * 100_000, "invalid_json_line", 1),
        (b'{"method": "POST"}', "missing_required_parameter", 1),
        (GOOD.replace(b'"good"', b"7"), "invalid_type", 1),
        (GOOD.replace(b'"good"', b'""'), "invalid_value", 1),
        (chat_line("a", "x", stream=True), "streaming_unsupported", 1),
        (GOOD + chat_line("a", "x", background=True), "invalid_request", 2),
        (GOOD + line_of("a", {"model": "x"}), "invalid_request", 2),
        (GOOD.replace(b"POST", b"GET"), "invalid_method", 1),
        (GOOD.replace(b"/v1/chat/completions", b"/v1/embeddings"), "invalid_url", 1),
        (line_of("a", "text"), "invalid_type", 1),
        (GOOD.replace(b'"model"', DEEP + b',"model"'), "invalid_value", 1),
        (GOOD + chat_line("b", "x") + GOOD, "duplicate_custom_id", 3),
        (GOOD + chat_line("b", "x" * (1 << 20)), "invalid_json_line", 2),
    ],
)
def test_what_is_wrong_with_a_file(content: bytes, code: str, line: int | None) -> None:
    client = client_of(max_body_mb=1)
    done = result_of(client, content)
    assert done["status"] == "failed" and done["failed_at"]
    [error] = done["errors"]["data"]
    assert (error["code"], error["line"]) == (code, line)
    assert error["message"].endswith(".") and done["output_file_id"] is None


def test_wrong_lines_without_end_are_named_up_to_a_bound(client: FlaskClient) -> None:
    done = result_of(client, b"wrong\n" * 50_000)
    lines = [error["line"] for error in done["errors"]["data"]]
    assert lines == list(range(1, 101))


def test_the_same_name_without_end_is_named_up_to_a_bound(client: FlaskClient) -> None:
    done = result_of(client, GOOD * 20_000)
    errors = done["errors"]["data"]
    assert [error["line"] for error in errors] == list(range(2, 102))
    assert {error["code"] for error in errors} == {"duplicate_custom_id"}


@pytest.mark.parametrize(
    ("bound", "code"), [("MAX_LINES", "too_many_tasks"), ("MAX_BYTES", "file_too_large")]
)
def test_a_file_that_is_too_large(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch, bound: str, code: str
) -> None:
    lines = [chat_line(f"{n}", "x") for n in range(4)]
    most = 3 if bound == "MAX_LINES" else sum(map(len, lines[:3]))
    monkeypatch.setattr(indexing, bound, most)
    assert result_of(client, b"".join(lines[:3]))["status"] == "completed"
    failed = result_of(client, b"".join(lines))
    [error] = failed["errors"]["data"]
    assert failed["status"] == "failed" and (error["code"], error["line"]) == (code, None)
    assert failed["request_counts"] == {"total": 0, "completed": 0, "failed": 0}


def test_lines_of_20_megabytes(client: FlaskClient) -> None:
    """They are as long as a request may be, and answered as that would be."""
    content = chat_line("long", "x " * (10 << 20)) + GOOD
    done = result_of(client, content)
    assert done["request_counts"]["total"] == 2 and done["status"] == "completed"
    lines = [
        *lines_in(client, done["output_file_id"]),
        *lines_in(client, done["error_file_id"]),
    ]
    found = {line["custom_id"]: line["response"]["status_code"] for line in lines}
    assert found == {"good": 200, "long": 400} and len(lines) == 2


def test_other_ways_to_write_a_file(client: FlaskClient) -> None:
    content = b"\xef\xbb\xbf" + GOOD.replace(b"\n", b"\r\n") + b"\r\n\n" + chat_line("b", "x")[:-1]
    done = result_of(client, content)
    assert done["request_counts"] == {"total": 2, "completed": 2, "failed": 0}
    names = {line["custom_id"] for line in lines_in(client, done["output_file_id"])}
    assert names == {"good", "b"}


@pytest.mark.parametrize(
    ("wrong", "param", "said"),
    [
        ({"endpoint": "/v1/audio/speech"}, "endpoint", "Supported values"),
        ({"completion_window": "1 day"}, "completion_window", "pattern"),
        ({"completion_window": "721h"}, "completion_window", "720"),
        ({"input_file_id": None}, "input_file_id", "string"),
    ],
)
def test_wrong_requests(client: FlaskClient, wrong: Any, param: str, said: str) -> None:
    body = {"input_file_id": "file-1", "endpoint": CHATS, "completion_window": "24h", **wrong}
    answer = client.post(BATCHES, json=body)
    assert answer.status_code == 400 and said in answer.text
    assert assert_envelope(answer.get_json(), status=400)["param"] == param


def test_files_that_are_not_there_or_for_something_else(client: FlaskClient) -> None:
    done = result_of(client, b"", input_file_id="file-unknown")
    [error] = done["errors"]["data"]
    assert error["code"] == "invalid_request" and "Cannot find file" in error["message"]


def test_requests_that_fail_are_in_the_error_file(client: FlaskClient) -> None:
    content = (
        chat_line("good", "Hi")
        + chat_line("wrong", "Hi", temperature="hot")
        + chat_line("short", "Hi", max_tokens="few")
    )
    done = result_of(client, content)
    assert done["status"] == "completed"
    assert done["request_counts"] == {"total": 3, "completed": 1, "failed": 2}
    assert [line["custom_id"] for line in lines_in(client, done["output_file_id"])] == ["good"]
    failed = {line["custom_id"]: line for line in lines_in(client, done["error_file_id"])}
    for name, param in (("wrong", "temperature"), ("short", "max_tokens")):
        response = failed[name]["response"]
        assert response["status_code"] == 400 and failed[name]["error"] is None
        assert response["body"]["error"]["param"] == param


def test_results_are_readable_while_it_runs(engine: PacedEngine, paced: FlaskClient) -> None:
    one = batch_of(paced, GOOD)
    settled(paced.application)
    engine.gate.clear()
    made = batch_of(paced, chat_line("a", "a") + chat_line("wrong", "b", temperature="hot"))
    running = wait_for(paced, made["id"], lambda each: each["request_counts"]["failed"] == 1)
    assert running["status"] == "in_progress" and running["output_file_id"] is None
    assert [line["custom_id"] for line in lines_in(paced, running["error_file_id"])] == ["wrong"]
    for file in (running["input_file_id"], running["error_file_id"]):
        assert paced.delete(f"/v1/files/{file}").status_code == 409
    engine.gate.set()
    settled(paced.application)
    assert paced.delete(f"/v1/files/{running['input_file_id']}").status_code == 200
    assert paced.delete(f"/v1/files/{one['input_file_id']}").status_code == 200


def test_cancelling_stops_lines_and_keeps_what_is_done(
    engine: PacedEngine, paced: FlaskClient
) -> None:
    engine.gate.clear()
    # Those that begin alike are answered in their order.
    content = chat_line("wrong", "x", temperature="hot")
    content += b"".join(chat_line(f"{n}", "x") for n in range(9))
    made = batch_of(paced, content)
    wait_for(paced, made["id"], lambda each: each["request_counts"]["failed"] == 1)
    assert engine.wait_for_active(2)
    cancelled = paced.post(f"{BATCHES}/{made['id']}/cancel").get_json()
    assert cancelled["status"] == "cancelling" and cancelled["cancelling_at"]
    settled(paced.application)  # though the gate is closed
    assert engine.wait_for_active(0)
    done = paced.get(f"{BATCHES}/{made['id']}").get_json()
    assert done["status"] == "cancelled" and done["cancelled_at"]
    assert done["request_counts"] == {"total": 10, "completed": 0, "failed": 10}
    lines = lines_in(paced, done["error_file_id"])
    codes = {line["custom_id"]: line["error"] and line["error"]["code"] for line in lines}
    assert codes.pop("wrong") is None and len(lines) == 10
    assert codes == dict.fromkeys(map(str, range(9)), "batch_cancelled")
    again = paced.post(f"{BATCHES}/{made['id']}/cancel")
    assert again.status_code == 200 and again.get_json()["status"] == "cancelled"


def test_one_that_has_ended_cannot_be_cancelled(client: FlaskClient) -> None:
    done = result_of(client, GOOD)
    refused = client.post(f"{BATCHES}/{done['id']}/cancel")
    assert refused.status_code == 409 and "Cannot cancel" in refused.text
    assert assert_envelope(refused.get_json(), status=409)["code"] == "batch_ended"


def test_an_operator_pauses_and_resumes(engine: PacedEngine, paced: FlaskClient) -> None:
    engine.gate.clear()
    made = batch_of(paced, b"".join(chat_line(f"{n}", f"{n}") for n in range(5)))
    assert engine.wait_for_active(2)
    pause = f"/v1/internal/batches/{made['id']}"
    assert paced.post(f"{pause}/pause").get_json()["paused"] is True
    engine.gate.set()
    done = wait_for(paced, made["id"], lambda each: each["request_counts"]["completed"] == 2)
    assert done["status"] == "in_progress" and engine.started == 2
    assert "paused" not in paced.post(f"{pause}/resume").get_json()
    settled(paced.application)
    assert paced.get(f"{BATCHES}/{made['id']}").get_json()["status"] == "completed"
    assert engine.started == 5 and paced.post(f"{pause}/pause").status_code == 409


def test_batches_are_their_keys_own(tmp_path: Path) -> None:
    options = {"data_folder": str(tmp_path)}
    headers = headers_of(Settings(**options), "ann", "bob")  # type: ignore[arg-type]
    client = client_of(**options)
    made = result_of(client, GOOD, headers=headers["ann"])
    assert made["status"] == "completed"
    for method, path in (("GET", ""), ("POST", "/cancel")):
        path = f"{BATCHES}/{made['id']}{path}"
        refused = client.open(path, method=method, headers=headers["bob"])
        assert refused.status_code == 404
    assert client.get(BATCHES, headers=headers["bob"]).get_json()["data"] == []
    pause = f"/v1/internal/batches/{made['id']}/pause"
    assert client.post(pause, headers=headers["ann"]).status_code == 403
    stolen = result_of(client, b"", input_file_id=made["input_file_id"], headers=headers["bob"])
    unknown = result_of(client, b"", input_file_id="file-unknown", headers=headers["bob"])
    said = [each["errors"]["data"][0] for each in (stolen, unknown)]
    assert orjson.dumps(said[0]).replace(made["input_file_id"].encode(), b"file-unknown") == (
        orjson.dumps(said[1])
    )
