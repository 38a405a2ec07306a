"""A model that three servers have, while one of them is killed, hangs, is slow, answers garbage, is full, or
comes back under load. The servers are small, real, and answer as each test says."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from extensions.openai.engines.protocol import Capability
from extensions.openai.engines.remote.address import parse_address
from extensions.openai.engines.remote.http_client import HttpClient, Timeouts
from extensions.openai.engines.router.engine import RouterEngine
from extensions.openai.engines.router.health import HealthCheck, HealthWatch
from extensions.openai.engines.router.targets import Target
from extensions.openai.engines.upstream.engine import UpstreamEngine
from extensions.openai.engines.upstream.rows import Upstream, UpstreamModel
from extensions.openai.engines.upstreams_file import engines_of
from extensions.openai.settings import Settings
from tests.support.api import Api
from tests.support.fake_upstream import (
    FakeUpstream,
    Scripted,
    chunk,
    event,
    streamed,
    whole,
)

QUICK = Timeouts(connect=0.5, first=0.6, silence=0.6)
HELLO = streamed("Hello", " there")


@pytest.fixture
def fakes() -> Iterator[list[FakeUpstream]]:
    running = [FakeUpstream(HELLO) for _ in range(3)]
    yield running
    for fake in running:
        fake.kill()


@pytest.fixture
def router(fakes: list[FakeUpstream]) -> Iterator[RouterEngine]:
    targets = []
    for at, fake in enumerate(fakes):
        address = parse_address(fake.address)
        row = Upstream(f"t{at}", address, concurrent=8)
        engine = UpstreamEngine(row, UpstreamModel("big", "there"), HttpClient(address, {}, QUICK))
        targets.append(Target(row.name, engine))
    router = RouterEngine("big", targets)
    yield router
    router.close()


@pytest.fixture
def ask(router: RouterEngine) -> Callable[[int], str]:
    """Ask a question of this number, and return the answer's text."""
    api = Api(router)
    return lambda number: str(api.chat(f"question {number}")["choices"][0]["message"]["content"])


def told(fakes: list[FakeUpstream]) -> list[int]:
    return [len(fake.posts) for fake in fakes]


def test_it_is_one_model(router: RouterEngine, fakes: list[FakeUpstream]) -> None:
    info = router.info
    assert (info.model, info.parallel, info.is_remote) == ("big", 24, True)
    assert Capability.TOOLS in info.capabilities
    api = Api(router)
    assert api.complete("x", n=2)["usage"]["completion_tokens"] == 4
    assert api.chat("x", stop=["there"])["choices"][0]["message"]["content"] == "Hello "
    assert sum(told(fakes)) == 3


BROKEN: dict[str, Scripted] = {
    "fails": whole({"error": {"message": "boom"}}, 500),
    "hangs": Scripted([5.0]),
    "answers garbage": Scripted([b"data: {nonsense\n\n"]),
    "breaks off at once": Scripted(is_cut=True),
    "is full": whole({}, 429, Retry_After="30"),
    "starts": whole({}, 503, Retry_After="30"),
    "sends pages": Scripted([b"<html>"], 502, kind="text/html"),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_server_that_does_not_answer_costs_no_request(
    fakes: list[FakeUpstream], router: RouterEngine, ask: Callable[[int], str], how: str
) -> None:
    bad = BROKEN[how]
    fakes[1].script = lambda asked: bad
    assert [ask(number) for number in range(20)] == ["Hello there"] * 20
    report = {each.name: each for each in router.report()}
    assert 1 <= report["t1"].requests <= 4, "it is left alone after a few"
    assert report["t1"].state == ("full" if how in ("is full", "starts") else "broken")
    assert all(each.outstanding == 0 for each in report.values())


def test_a_server_that_is_killed_costs_no_request(
    fakes: list[FakeUpstream], router: RouterEngine, ask: Callable[[int], str]
) -> None:
    for number in range(6):
        ask(number)
    fakes[1].kill()
    assert [ask(number) for number in range(20)] == ["Hello there"] * 20
    assert [each.state for each in router.report()].count("broken") == 1


def test_a_refusal_is_the_requests_own_fault(
    fakes: list[FakeUpstream], router: RouterEngine
) -> None:
    for fake in fakes:
        fake.script = lambda asked: whole({"error": {"message": "no", "param": "seed"}}, 400)
    api = Api(router)
    body = {"model": "big", "messages": [{"role": "user", "content": "Hi"}]}
    answer = api.client.post("/v1/chat/completions", json=body)
    assert (answer.status_code, answer.json["error"]["param"]) == (400, "seed")
    assert sum(told(fakes)) == 1
    assert {each.state for each in router.report()} == {"up"}


def test_what_has_begun_is_not_begun_again(fakes: list[FakeUpstream], router: RouterEngine) -> None:
    for fake in fakes:
        fake.script = lambda asked: Scripted([event(chunk({"content": "Hel"}))], is_cut=True)
    api = Api(router)
    body = {"model": "big", "messages": [{"role": "user", "content": "Hi"}], "stream": True}
    data = api.client.post("/v1/chat/completions", json=body).get_data(as_text=True)
    assert data.count("Hel") == 1 and "upstream_unreachable" in data
    assert sum(told(fakes)) == 1


def test_where_all_fail_the_first_failure_is_told(
    fakes: list[FakeUpstream], router: RouterEngine
) -> None:
    for fake in fakes:
        fake.script = lambda asked: whole({}, 429, Retry_After="7")
    api = Api(router)
    body = {"model": "big", "messages": [{"role": "user", "content": "Hi"}]}
    answer = api.client.post("/v1/chat/completions", json=body)
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "7")
    assert told(fakes) == [1, 1, 1]


def test_conversations_stay_where_they_began(
    fakes: list[FakeUpstream], router: RouterEngine
) -> None:
    api = Api(router)
    system = {"role": "system", "content": "x" * 2000}
    for number in range(9):
        api.chat([system, {"role": "user", "content": f"{number}"}])
    assert sorted(told(fakes)) == [0, 0, 9]


def test_a_slow_server_gets_fewer(fakes: list[FakeUpstream], router: RouterEngine) -> None:
    fakes[1].script = lambda asked: streamed("Hello", " there", every=0.1)
    wrong = _load(router, clients=6, each=10)
    assert not wrong
    assert told(fakes)[1] < min(told(fakes)[0], told(fakes)[2])


def test_a_restart_under_load_costs_no_request(
    fakes: list[FakeUpstream], router: RouterEngine
) -> None:
    def restart() -> None:
        for fake in fakes[:2]:
            time.sleep(0.15)
            fake.kill()
            time.sleep(0.15)
            fake.restart()

    for fake in fakes:
        fake.script = lambda asked: Scripted([0.005, *HELLO.parts])
    restarting = threading.Thread(target=restart)
    restarting.start()
    wrong = _load(router, clients=6, each=40)
    restarting.join(10)
    # An answer that had begun at a server that was killed is lost; no other is.
    assert len(wrong) <= 12 and all("broke" in each for each in wrong), wrong
    assert all(each.outstanding == 0 for each in router.report())


def _load(router: RouterEngine, *, clients: int, each: int) -> list[str]:
    """The answers that are wrong, of several clients at once."""
    from extensions.openai.engines.protocol import ChatRequest, Message, RemoteChat
    from extensions.openai.errors import UpstreamFailed

    wrong: list[str] = []

    def work(client: int) -> None:
        for number in range(each):
            request = ChatRequest((Message("user", f"{client} asks {number}"),))
            text, has_begun = "", False
            try:
                for piece in router.answer(RemoteChat(request)):
                    if piece is not None:
                        text, has_begun = text + piece.text, True
            except UpstreamFailed:
                wrong.append("broke off" if has_begun else "failed")
                continue
            if text != "Hello there":
                wrong.append(text)

    threads = [threading.Thread(target=work, args=(client,)) for client in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return wrong


def test_health_is_asked_for(fakes: list[FakeUpstream], router: RouterEngine) -> None:
    checks = {}
    for at, fake in enumerate(fakes):
        address = parse_address(f"http://127.0.0.1:{fake.port}")
        checks[f"t{at}"] = HealthCheck(HttpClient(address, {}, QUICK), "/health")
    watch = HealthWatch(checks, every=0.05)
    watched = RouterEngine("big", [Target(f"t{at}", router) for at in range(3)], watch)
    fakes[2].health = 503
    next(watched.answer(_chat()))
    assert _until(lambda: [each.state for each in watched.report()] == ["up", "up", "down"])
    fakes[2].health = 200
    assert _until(lambda: [each.state for each in watched.report()] == ["up", "up", "up"])
    fakes[0].kill()
    assert _until(lambda: [each.state for each in watched.report()] == ["down", "up", "up"])
    watch.close()


def _chat() -> Any:
    from extensions.openai.engines.protocol import ChatRequest, Message, RemoteChat

    return RemoteChat(ChatRequest((Message("user", "Hi"),)))


def _until(holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        if holds():
            return True
        time.sleep(0.02)
    return holds()


def test_a_name_in_several_rows_is_one_model(fakes: list[FakeUpstream], tmp_path: Path) -> None:
    rows = "".join(
        f"  t{at}: {{address: '{fake.address}', models: {{big: there}}, weight: {at + 1}}}\n"
        for at, fake in enumerate(fakes)
    )
    file = tmp_path / "upstreams.yaml"
    file.write_text(f"upstreams:\n{rows}", encoding="utf-8")
    (served,) = engines_of(Settings(upstreams=str(file)))
    assert isinstance(served.engine, RouterEngine)
    app = Api(served.engine)
    for number in range(30):
        app.chat(f"{number}")
    metrics = app.client.get("/metrics").get_data(as_text=True)
    for name, at, value in (("up", 2, "1.0"), ("running", 0, "0.0"), ("failures_total", 1, "0.0")):
        assert f'openedai_target_{name}{{model="big",target="t{at}"}} {value}\n' in metrics
    assert "# TYPE openedai_target_requests_total counter" in metrics
    assert 'openedai_target_requests_total{model="big",target="t2"}' in metrics
    found = Counter({each.name: each.requests for each in served.engine.report()})
    assert found["t0"] < found["t2"] and sum(found.values()) == 30
    served.engine.close()
