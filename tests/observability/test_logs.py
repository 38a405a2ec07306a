"""The lines of the log: one for each request, nothing of its content, text or JSON."""

from __future__ import annotations

import json
import logging
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from extensions.openai.engines.echo import EchoEngine
from extensions.openai.observability.logs import (
    FIELDS,
    MAX_LINE_CHARS,
    OneLine,
    configure,
    log_request,
)
from extensions.openai.observability.record import RequestRecord
from extensions.openai.settings import Settings
from extensions.openai.web.app import create_app
from tests.support.process import ROOT, ServerProcess
from tests.support.wire import ask

CHAT = "/v1/chat/completions"
SECRET = "an-exact-and-secret-phrase"
LOG = logging.getLogger("openedai")


def body(**fields: Any) -> dict[str, Any]:
    message = {"role": "user", "content": SECRET}
    return {"model": "echo", "messages": [message], "user": SECRET, **fields}


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Iterator[Any]:
    caplog.set_level(logging.INFO, "openedai")

    def read() -> list[dict[str, str]]:
        found = [message for message in caplog.messages if message.startswith("request ")]
        return [dict(pair.split("=", 1) for pair in shlex.split(line)[1:]) for line in found]

    yield read


@pytest.mark.parametrize("stream", [False, True])
def test_the_line_of_a_request(lines: Any, stream: bool) -> None:
    client = create_app(Settings(api_key="the-key"), EchoEngine()).test_client()
    headers = {"Authorization": "Bearer the-key", "x-request-id": "mine"}
    with client.post(CHAT, json=body(stream=stream), headers=headers) as answer:
        answer.get_data()
    (line,) = lines()
    assert list(line) == [name for name in FIELDS if name in line], "in the order of the table"
    expected = {
        "request": "mine",
        "address": "127.0.0.1",
        "route": f"POST {CHAT}",
        "model": "echo",
        "status": "200",
        "key": "api-key",
    }
    assert expected.items() <= line.items()
    assert ("stream" in line) is stream
    assert "error" not in line and "cancelled" not in line
    assert int(line["prompt_tokens"]) > 0 and int(line["completion_tokens"]) > 0
    times = [float(line[name]) for name in ("first_token_ms", "total_ms")]
    assert times == sorted(times)


def test_errors_and_strangers(lines: Any) -> None:
    client = create_app(Settings(api_key="the-key"), EchoEngine()).test_client()
    client.post(CHAT, json=body(), headers={"Authorization": "Bearer wrong-key"}).close()
    client.get("/no/such/page?api_key=abc").close()
    refused, lost = lines()
    assert (refused["status"], refused["error"]) == ("401", "invalid_api_key")
    assert refused["key"] == lost["key"] == "nobody"
    assert lost["status"] == "404" and "route" not in lost
    assert lost["path"] == "GET /no/such/page" and "path" not in refused


def test_what_was_wrong_with_a_request(lines: Any) -> None:
    client = create_app(Settings(), EchoEngine()).test_client()
    client.post(CHAT, json=body(temperature=900)).close()
    client.put(CHAT).close()
    client.post(CHAT, json=body(**{"odd name\n": 1}), query_string="q=1").close()
    client.post("/v1/v1/chat/completions", json=body()).close()
    invalid, method, _, lost = lines()
    assert (invalid["error"], invalid["param"]) == ("decimal_above_max_value", "temperature")
    assert (method["status"], method["path"]) == ("405", f"PUT {CHAT}")
    assert lost["path"] == "POST /v1/v1/chat/completions"


def test_the_line_for_a_terminal(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "openedai")
    client = create_app(Settings(api_key="the-key"), EchoEngine()).test_client()
    headers = {"Authorization": "Bearer the-key"}
    client.post(CHAT, json=body(), headers=headers).close()
    client.post(CHAT, json=body(), headers={"Authorization": "Bearer wrong-key"}).close()
    client.post(CHAT, json=body(n="x"), headers=headers).close()
    client.get("/v1/chat/completion").close()
    brief = [vars(record)["brief"] for record in caplog.records if hasattr(record, "brief")]
    assert re.fullmatch(rf"400 POST {CHAT} invalid_type n \d+ ms", brief[2])
    assert re.fullmatch(r"404 GET /v1/chat/completion invalid_request_error \d+ ms", brief[3])
    assert re.fullmatch(rf"200 POST {CHAT} \d+\+\d+ tokens \d+ ms", brief[0])
    assert re.fullmatch(rf"401 POST {CHAT} invalid_api_key \d+ ms", brief[1])


def test_nothing_of_the_content_and_no_key(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "openedai")
    client = create_app(Settings(api_key="the-key"), EchoEngine()).test_client()
    for key in ("the-key", "wrong-key"):
        headers = {"Authorization": f"Bearer {key}"}
        client.post(CHAT, json=body(), headers=headers).close()
        client.post(CHAT, json=body(stop=SECRET * 3, temperature=SECRET), headers=headers).close()
        client.get(f"/nowhere?q={SECRET}", headers=headers).close()
        client.get("/v1/the-wrong-key-0123456789/models", headers=headers).close()
    assert caplog.messages
    for secret in (SECRET, "the-key", "wrong-key"):  # also none in a path
        assert secret not in caplog.text


def test_pages_for_machines_and_people_are_quiet(lines: Any) -> None:
    client = create_app(Settings(), EchoEngine()).test_client()
    for path in ("/health", "/metrics", "/", "/openapi.json", "/docs"):
        assert client.get(path).status_code == 200
    assert lines() == []


def test_lines_can_be_left_out(lines: Any) -> None:
    client = create_app(Settings(log_requests=False), EchoEngine()).test_client()
    client.post(CHAT, json=body()).close()
    assert lines() == []


def test_a_line_cannot_be_forged(caplog: pytest.LogCaptureFixture) -> None:
    configure("text", own_host=False)
    assert sum(isinstance(each, OneLine) for each in LOG.filters) == 1
    caplog.set_level(logging.INFO, "openedai")
    forged = "x\n12:00:00 ERROR openedai: all is lost \x1b[31m"
    log_request(RequestRecord(id="1", model=forged, status=200), logging.INFO)
    LOG.info("said %s", forged)
    LOG.info("y" * 10 * MAX_LINE_CHARS)
    for message in caplog.messages:
        assert message.isprintable() and len(message) <= MAX_LINE_CHARS


def test_json_lines_of_a_whole_program() -> None:
    process = ServerProcess("--loader", "echo", "--log-format", "json")
    try:
        process.wait_until_ready()
        ask(process.port, "POST", CHAT, body(stream=True), x_request_id="mine")
        ask(process.port, "POST", CHAT, b"{")
    finally:
        process.stop()
    lines = [json.loads(line) for line in process.output.splitlines() if line.startswith("{")]
    requests = [line for line in lines if line["event"] == "request"]
    assert [line["status"] for line in requests] == [200, 400]
    first = requests[0]
    assert first["request"] == "mine" and first["stream"] is True and first["level"] == "info"
    assert first["prompt_tokens"] > 0 and first["total_ms"] >= first["first_token_ms"]
    assert set(first) - {"event", "time", "level", "logger"} <= set(FIELDS)
    assert any(line["logger"].startswith("host") for line in lines), "the host's lines, too"
    assert SECRET not in process.output


def test_json_in_a_webui_leaves_its_logging_alone() -> None:
    program = """
import logging, sys
logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="HOST %(message)s")
from extensions.openai.observability.logs import configure
configure("json", own_host=False)
configure("json", own_host=False)
logging.getLogger("webui").info("of the app")
logging.getLogger("openedai").warning("of ours")
try:
    1 / 0
except ZeroDivisionError:
    logging.getLogger("openedai").exception("failed")
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout == "HOST of the app\n"
    ours, failed = (json.loads(line) for line in done.stderr.splitlines())
    assert ours["event"] == "of ours" and ours["level"] == "warning"
    assert "ZeroDivisionError" in failed["exception"]
