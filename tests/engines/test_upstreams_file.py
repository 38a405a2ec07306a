"""The file of upstreams read again while requests run: what stays, what changes, what is taken away."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from extensions.openai.engines.protocol import ChatRequest, Message, RemoteChat
from extensions.openai.engines.router.engine import RouterEngine
from extensions.openai.engines.router.targets import report_of
from extensions.openai.engines.upstream.engine import UpstreamEngine
from extensions.openai.engines.upstreams_file import UpstreamModels
from extensions.openai.errors import UpstreamBusy
from extensions.openai.settings import SettingsError
from tests.support.fake_upstream import FakeUpstream, Scripted, chunk, event, streamed

Read = Callable[..., None]


@pytest.fixture
def fakes() -> Iterator[list[FakeUpstream]]:
    running = [FakeUpstream(streamed("from ", str(at))) for at in range(2)]
    yield running
    for fake in running:
        fake.kill()


@pytest.fixture
def models() -> Iterator[UpstreamModels]:
    made = UpstreamModels()
    yield made
    for each in made.models:
        each.engine.close()


@pytest.fixture
def read(models: UpstreamModels, fakes: list[FakeUpstream], tmp_path: Path) -> Read:
    """Read a file with a row for each server that has the model `big`; the words of a row are given."""
    file = tmp_path / "upstreams.yaml"

    def again(*rows: str | None) -> None:
        text = "".join(
            f"  t{at}: {{address: '{fakes[at].address}', kind: vllm, models: {{big: there}}{row}}}\n"
            for at, row in enumerate(rows)
            if row is not None
        )
        file.write_text(f"upstreams:\n{text}", encoding="utf-8")
        models.read(str(file))

    return again


def engine_of(models: UpstreamModels) -> RouterEngine | UpstreamEngine:
    (only,) = models.models
    assert isinstance(only.engine, (RouterEngine, UpstreamEngine))
    return only.engine


def said(models: UpstreamModels, text: str = "Hi") -> str:
    chat = RemoteChat(ChatRequest((Message("user", text),)))
    return "".join(piece.text for piece in engine_of(models).answer(chat) if piece is not None)


def test_rows_that_are_the_same_keep_all(read: Read, models: UpstreamModels) -> None:
    read("")
    before = engine_of(models)
    said(models)
    read("")
    assert engine_of(models) is before
    read(", concurrent: 3")
    assert engine_of(models) is not before and engine_of(models).info.parallel == 3


def test_a_server_more_and_a_server_less(
    read: Read, models: UpstreamModels, fakes: list[FakeUpstream]
) -> None:
    read("")
    assert said(models) == "from 0"
    read("", "")
    router = engine_of(models)
    assert {said(models, f"{number}") for number in range(20)} == {"from 0", "from 1"}
    counted = {each.name: each.requests for each in report_of(router)}
    read(None, "")
    assert engine_of(models) is router, "what it knows of the other one stays"
    assert {said(models, f"{number}") for number in range(5)} == {"from 1"}
    (left,) = report_of(router)
    assert (left.name, left.requests) == ("t1", counted["t1"] + 5)
    read("", ", weight: 7")
    assert [each.name for each in report_of(router)] == ["t0", "t1"]


def test_a_server_that_drains_ends_what_it_has_and_gets_no_more(
    read: Read, models: UpstreamModels, fakes: list[FakeUpstream]
) -> None:
    goes_on = threading.Event()

    def slowly(_: object) -> Scripted:
        return Scripted([event(chunk({"content": "slow"})), 0.5, *streamed("ly").parts])

    read("", "")
    router = engine_of(models)
    for fake in fakes:
        fake.script = slowly
    texts: list[str] = []

    def ask() -> None:
        chat = RemoteChat(ChatRequest((Message("user", "Hi"),)))
        for piece in router.answer(chat):
            if piece is not None and piece.text:
                texts.append(piece.text)
                goes_on.set()

    thread = threading.Thread(target=ask)
    thread.start()
    assert goes_on.wait(50)
    (at,) = [at for at, each in enumerate(report_of(router)) if each.outstanding]
    rows = ["", ""]
    rows[at] = ", draining: true"
    read(*rows)
    found = {each.name: (each.state, each.outstanding) for each in report_of(router)}
    assert found[f"t{at}"] == ("draining", 1)
    fakes[1 - at].script = lambda asked: streamed("other")
    assert {said(models, f"{number}") for number in range(6)} == {"other"}
    thread.join(50)
    assert texts == ["slow", "ly"]
    assert {each.outstanding for each in report_of(router)} == {0}


def test_a_server_that_is_taken_away_ends_what_it_has(
    read: Read, models: UpstreamModels, fakes: list[FakeUpstream]
) -> None:
    parts = [event(chunk({"content": "a"})), 0.4, *streamed("b").parts]
    fakes[0].script = lambda asked: Scripted(parts)
    read("")
    answer = engine_of(models).answer(RemoteChat(ChatRequest((Message("user", "Hi"),))))
    text = next(piece.text for piece in answer if piece is not None)
    read(None, "")
    assert text + "".join(piece.text for piece in answer if piece is not None) == "ab"
    deadline = time.monotonic() + 3
    while fakes[0].open_connections and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not fakes[0].open_connections
    assert said(models) == "from 1"


def test_where_all_drain_clients_come_again_later(read: Read, models: UpstreamModels) -> None:
    read(", draining: true")
    with pytest.raises(UpstreamBusy):
        said(models)
    read("")
    assert said(models) == "from 0"


def test_a_file_that_is_wrong_changes_nothing(
    read: Read, models: UpstreamModels, fakes: list[FakeUpstream]
) -> None:
    read("")
    before = models.models
    for row in (", concurrent: 0", ", kind: none", ", aliases: [x]"):
        with pytest.raises(SettingsError):
            read(row)
    assert models.models is before and said(models) == "from 0"
