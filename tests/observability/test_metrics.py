"""GET /metrics: valid, right, bounded, and behind the key."""

from __future__ import annotations

import shutil
import subprocess
from typing import Any

import pytest
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families

from extensions.openai.engines.echo import EchoEngine
from extensions.openai.engines.protocol import Engine
from extensions.openai.engines.swappable import SwappableEngine
from extensions.openai.limits.scheduler import Scheduler
from extensions.openai.limits.served_models import ServedModels
from extensions.openai.observability.metrics import MAX_LABEL_VALUES, METRICS, PREFIX, Metrics
from extensions.openai.observability.record import RequestRecord
from extensions.openai.settings import Settings
from extensions.openai.state.store import Store
from extensions.openai.web.app import create_app
from tests.conftest import Serve
from tests.support.batches import batch_of, chat_line, settled, wait_for
from tests.support.paced import PacedEngine
from tests.support.reference import assert_envelope
from tests.support.wire import ask, streaming

CHAT = "/v1/chat/completions"
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def client(engine: Engine | None = None, **options: Any) -> FlaskClient:
    return create_app(Settings(**options), engine or EchoEngine()).test_client()


def parse(text: str) -> Samples:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples[PREFIX + name, frozenset(labels.items())]


def body(**fields: Any) -> dict[str, Any]:
    return {"model": "echo", "messages": [{"role": "user", "content": "one two three"}], **fields}


def test_what_requests_leave_behind() -> None:
    here = client(strict_models=True)
    for stream in (False, True):
        with here.post(CHAT, json=body()) as answer:
            usage = answer.json["usage"]
        with here.post(CHAT, json=body(stream=stream)) as answer:
            answer.get_data()
    here.post(CHAT, json=body(model="no")).close()
    here.get("/nowhere").close()
    answer = here.get("/metrics")
    assert answer.mimetype == "text/plain"
    samples = parse(answer.get_data(as_text=True))
    route = "POST /v1/chat/completions"
    assert value(samples, "requests_total", route=route, status="200") == 4
    assert value(samples, "requests_total", route=route, status="404") == 1
    assert value(samples, "requests_total", route="other", status="404") == 1
    assert value(samples, "errors_total", code="model_not_found") == 1
    assert value(samples, "request_seconds_count", route=route) == 5
    assert value(samples, "answers_total", model="echo") == 4
    for name in ("prompt_tokens", "completion_tokens"):
        assert value(samples, f"{name}_total", model="echo") == 4 * usage[name]
    assert value(samples, "first_token_seconds_count", model="echo") == 4
    assert value(samples, "token_gap_seconds_count", model="echo") == 4
    assert value(samples, "slots") == EchoEngine().info.parallel
    assert value(samples, "running") == value(samples, "waiting") == 0


def test_numbers_of_the_moment(serve: Serve) -> None:
    engine = PacedEngine(parallel=1)
    engine.gate.clear()
    port = serve(engine, queue_limit=3).port
    message = {"model": "paced", "messages": [{"role": "user", "content": "Hi"}]}

    def now(name: str) -> float:
        return value(parse(ask(port, "GET", "/metrics").body.decode()), name)

    with streaming(port, CHAT, message), streaming(port, CHAT, message):
        assert engine.wait_for_active(1)
        for _ in range(500):
            if now("waiting") == 1:
                break
        assert (now("running"), now("waiting"), now("queue_limit")) == (1, 1, 3)
    assert engine.wait_for_active(0)
    for _ in range(500):
        samples = parse(ask(port, "GET", "/metrics").body.decode())
        if samples.get(("openedai_cancelled_total", frozenset({("route", f"POST {CHAT}")}))) == 2:
            break
    assert value(samples, "cancelled_total", route=f"POST {CHAT}") == 2
    assert value(samples, "running") == value(samples, "waiting") == 0
    engine.gate.set()


def test_every_row_is_in_the_page_or_waits_for_its_first_value() -> None:
    storing = create_app(Settings(store="memory"), EchoEngine()).test_client()
    storing.get(CHAT)
    text = storing.get("/metrics").get_data(as_text=True)
    for row in METRICS:
        if row.name == "tunnel_up" or row.name.startswith(("target_", "model_")):
            continue  # there is neither a tunnel nor a model of several servers, nor one that requests load
        kind = {"counter": "counter", "histogram": "histogram", "gauge": "gauge"}[row.kind]
        assert f"# TYPE {PREFIX}{row.name} {kind}" in text
    assert "process_resident_memory_bytes" in text
    assert "_created" not in text, "a second series for each counter"


def test_batches() -> None:
    engine = PacedEngine(parallel=4)
    engine.gate.clear()
    here = create_app(Settings(store="memory", batch_lines=2), engine).test_client()
    lines = [chat_line(f"{n}", "x") for n in range(5)]
    made = batch_of(here, b"".join([chat_line("wrong", "x", temperature="hot"), *lines]))
    other = batch_of(here, b"".join(lines))
    wait_for(here, made["id"], lambda each: each["request_counts"]["failed"] == 1)
    wait_for(here, other["id"], lambda each: each["status"] == "in_progress")

    def now(name: str, **labels: str) -> float:
        return value(parse(here.get("/metrics").get_data(as_text=True)), name, **labels)

    assert now("batches", status="in_progress") == 2
    assert now("batches", status="validating") == now("batch_lines", state="completed") == 0
    assert (now("batch_lines", state="failed"), now("batch_lines", state="open")) == (1, 10)
    assert now("batch_oldest_seconds") >= 0
    assert now("batch_file_bytes", purpose="batch") > now(
        "batch_file_bytes", purpose="batch_output"
    )
    assert now("batch_file_bytes", purpose="batch_output") > 0
    engine.gate.set()
    settled(here.application)
    for name in ("in_progress", "cancelling", "finalizing", "validating"):
        assert now("batches", status=name) == 0
    assert now("batch_lines", state="open") == now("batch_oldest_seconds") == 0


def test_batches_of_a_store_that_fails() -> None:
    here = client(store="memory")
    here.get("/v1/batches")
    here.application.extensions["openai"].store.database.close()
    answer = here.get("/metrics")
    assert answer.status_code == 200 and b"openedai_batches" not in answer.data


def test_openmetrics_when_asked_for() -> None:
    accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
    answer = client().get("/metrics", headers=accept)
    assert answer.mimetype == "application/openmetrics-text"
    text = answer.get_data(as_text=True)
    assert text.endswith("# EOF\n") and "_created" not in text


def test_promtool_finds_nothing_wrong() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian: prometheus)")
    here = client()
    here.post(CHAT, json=body()).close()
    here.get("/nowhere").close()
    page = here.get("/metrics").get_data()
    done = subprocess.run(
        [promtool, "check", "metrics"], input=page, capture_output=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_labels_are_bounded() -> None:
    served = ServedModels(EchoEngine(), Scheduler(queue_limit=1), Settings())
    metrics = Metrics(served, Store(Settings(store="off")))
    for number in range(MAX_LABEL_VALUES * 3):
        record = RequestRecord(model=f"m{number}", error=f"e{number}", status=500, prompt_tokens=1)
        metrics.observe(record)
    samples = parse(metrics.exposition("")[0].decode())
    for name, label in (("answers_total", "model"), ("errors_total", "code")):
        values = {dict(key[1])[label] for key in samples if key[0] == PREFIX + name}
        assert len(values) == MAX_LABEL_VALUES + 1
    assert value(samples, "answers_total", model="other") == MAX_LABEL_VALUES * 2


def test_applications_count_for_themselves() -> None:
    one, other = client(), client()
    one.get("/nowhere").close()
    samples = parse(other.get("/metrics").get_data(as_text=True))
    assert (PREFIX + "requests_total", frozenset({("route", "other"), ("status", "404")})) not in (
        samples
    )


def test_before_the_model_is_there() -> None:
    samples = parse(client(SwappableEngine()).get("/metrics").get_data(as_text=True))
    assert value(samples, "slots") == 0


@pytest.mark.parametrize(
    ("metrics", "key", "status"),
    [
        ("key", None, 401),
        ("key", "k", 200),
        ("open", None, 200),
        ("off", "k", 404),
        ("off", None, 401),
    ],
)
def test_who_may_read_them(metrics: str, key: str | None, status: int) -> None:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    answer = client(api_key="k", metrics=metrics).get("/metrics", headers=headers)
    assert answer.status_code == status
    if status == 404:
        assert "setting metrics" in assert_envelope(answer.json)["message"]
    assert client().get("/metrics").status_code == 200
