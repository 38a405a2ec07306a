"""The figure to scale replicas on, in an answer and in the metrics."""

from __future__ import annotations

import re

from extensions.openai.engines.echo import EchoEngine
from extensions.openai.engines.swappable import SwappableEngine
from extensions.openai.settings import Settings
from extensions.openai.web.app import create_app
from tests.conftest import Serve
from tests.support.paced import PacedEngine
from tests.support.wire import ask, streaming
from tests.test_request_queue import CHAT, chat, queue, wait_for

LOAD = "/v1/internal/load"


def metric(port: int) -> float:
    text = ask(port, "GET", "/metrics").body.decode()
    (found,) = re.findall(r'^openedai_load\{model="paced"\} (\S+)$', text, re.MULTILINE)
    return float(found)


def test_it_says_how_many_run_and_wait_for_each_slot(serve: Serve) -> None:
    port = serve(PacedEngine(endless=True, pace=0.01, parallel=2)).port
    assert ask(port, "GET", LOAD).json() == {
        "object": "load", "load": 0.0, "slots": 2, "running": 0, "waiting": 0,
        "requests_waiting": 0, "queue_limit": 256, "tokens_waiting": 0, "draining": False,
        "models": [{"model": "paced", "slots": 2, "running": 0, "waiting": 0, "load": 0.0}],
    }  # fmt: skip
    body = chat(stream=True)
    long = chat(stream=True, messages=[{"role": "user", "content": "x" * 4000}])
    with streaming(port, CHAT, body), streaming(port, CHAT, body):
        wait_for(lambda: queue(port)["running"] == 2)
        assert ask(port, "GET", LOAD).json()["load"] == 1.0
        with streaming(port, CHAT, long):
            wait_for(lambda: queue(port)["waiting"] == 1)
            found = ask(port, "GET", LOAD).json()
            assert (found["load"], found["running"], found["waiting"]) == (1.5, 2, 1)
            assert found["models"][0]["load"] == 1.5 == metric(port)
            assert 1000 < found["tokens_waiting"] < 1100
    wait_for(lambda: queue(port)["running"] == 0)
    assert ask(port, "GET", LOAD).json()["load"] == 0.0 == metric(port)


def test_while_no_model_is_loaded_there_is_no_load() -> None:
    client = create_app(Settings(), SwappableEngine()).test_client()
    answer = client.get(LOAD)
    assert answer.status_code == 200
    assert (answer.json["load"], answer.json["slots"], answer.json["models"]) == (0.0, 0, [])


def test_a_server_that_drains_says_so() -> None:
    app = create_app(Settings(), EchoEngine())
    requests = app.extensions["openai"].active_requests
    assert not requests.is_draining
    requests.drain(0, 0)
    assert requests.is_draining


def test_it_needs_a_key_as_the_metrics_do() -> None:
    closed = create_app(Settings(api_key="user-key"), EchoEngine()).test_client()
    assert closed.get(LOAD).status_code == 401
    opened = create_app(Settings(api_key="user-key", metrics="open"), EchoEngine()).test_client()
    assert opened.get(LOAD).status_code == 200
