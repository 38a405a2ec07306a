"""Who answers a request: by which names, and as it was when the request came."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import pytest

from extensions.openai.access.caller import Caller
from extensions.openai.engines.echo import EchoEngine
from extensions.openai.engines.protocol import EngineInfo, GenerateRequest
from extensions.openai.engines.swappable import SwappableEngine
from extensions.openai.errors import (
    InvalidRequest,
    ModelChanged,
    ModelLoading,
    ModelNotFound,
    ShuttingDown,
)
from extensions.openai.limits.scheduler import CallerState, Scheduler, SlotRequest
from extensions.openai.limits.served_models import ServedModels
from extensions.openai.settings import Settings
from tests.support.paced import PacedEngine


class Counting(EchoEngine):
    """Counts how often it is asked what it is."""

    asked = 0

    @property
    def info(self) -> EngineInfo:
        self.asked += 1
        return super().info


def served(engine: Any, **settings: Any) -> ServedModels:
    settings = {"require_model": False} | settings
    return ServedModels(engine, Scheduler(queue_limit=1), Settings(**settings))


@pytest.mark.parametrize(
    ("aliases", "known", "unknown"),
    [
        ("none", ["echo"], ["gpt-4", "", "Echo", "gpt-3.5-turbo"]),
        ("gpt-4,x", ["echo", "gpt-4", "x", "gpt-3.5-turbo"], ["gpt-4o", ""]),
        ("*", ["echo", "whatever", ""], []),
    ],
)
def test_a_model_answers_to_its_names(aliases: str, known: list[str], unknown: list[str]) -> None:
    models = served(EchoEngine(), model_aliases=aliases, strict_models=True)
    assert {models.resolve(name).name for name in [*known, None]} == {"echo"}
    for name in unknown:
        with pytest.raises(ModelNotFound):
            models.resolve(name)
        with pytest.raises(ModelNotFound):
            models.find(name)
        assert served(EchoEngine()).resolve(name).name == "echo"


def test_a_name_may_be_required_and_settings_may_change() -> None:
    models = served(EchoEngine(), require_model=True)
    with pytest.raises(InvalidRequest, match="model"):
        models.resolve(None)
    assert models.resolve("echo").name == "echo"
    models.configure(Settings(require_model=False))
    assert models.resolve(None).name == "echo"


def test_what_is_resolved_is_asked_once() -> None:
    engine, front = Counting(), SwappableEngine()
    front.set(engine)
    model = served(front).resolve("echo")
    for _ in range(3):
        assert model.engine.info is model.info
        assert [piece.text for piece in model.engine.generate(GenerateRequest("a")) if piece]
    assert engine.asked == 1


def test_a_model_that_comes_later_goes_on_with_the_request() -> None:
    """As a request that waits in the queue while the operator loads another model."""
    front = SwappableEngine()
    models = served(front)
    with pytest.raises(ModelLoading):
        models.resolve(None)
    front.set(EchoEngine(name="a"))
    model = models.resolve(None)
    front.set(EchoEngine(name="b"))
    assert (model.name, model.info.model, model.engine.info.model) == ("a", "a", "b")
    assert "".join(p.text for p in model.engine.generate(GenerateRequest("hi")) if p) == "hi"
    front.clear()
    with pytest.raises(ModelLoading, match="No model is loaded"):
        model.engine.tokenize("x")


def test_the_snapshot_counts_as_work_under_way() -> None:
    front = SwappableEngine()
    front.set(PacedEngine(endless=True, pace=0.01))
    answer = served(front).resolve(None).engine.generate(GenerateRequest("hello", 1000))
    next(answer)

    def change() -> None:
        with front.suspended(0):
            front.clear()

    changing = threading.Thread(target=change)
    changing.start()
    with pytest.raises(ModelChanged):
        list(answer)
    changing.join(10)
    assert not changing.is_alive()


class Reading(EchoEngine):
    """Writes nothing, as a model of embeddings."""

    @property
    def info(self) -> EngineInfo:
        return replace(super().info, capabilities=())


def test_each_of_several_models_is_found_by_its_names() -> None:
    models = served(EchoEngine(name="main"), model_aliases="small", require_model=True)
    models.add("second", EchoEngine(name="second"), ("gpt-4o", "small"))
    found = {
        name: models.resolve(name).name
        for name in ("main", "gpt-3.5-turbo", "second", "gpt-4o", "small")
    }
    assert found == {
        "main": "main",
        "gpt-3.5-turbo": "main",
        "second": "second",
        "gpt-4o": "second",
        "small": "second",
    }
    assert [models.names(each) for each in models.all()] == [
        ("main", "gpt-3.5-turbo"),
        ("second", "gpt-4o", "small"),
    ]
    second = models.find("gpt-4o")
    text = "".join(p.text for p in second.engine.generate(GenerateRequest("hi")) if p)
    assert (second.engine.info.model, text) == ("second", "hi")
    assert second.scheduler is not models.loaded().scheduler
    with pytest.raises(InvalidRequest, match="model"):
        models.resolve(None)


def test_where_there_is_a_choice_names_are_checked() -> None:
    models = served(EchoEngine(name="main"))
    models.add("reader", Reading(name="reader"))
    assert models.resolve("gpt-4o").name == "main", "only one of them can answer"
    models.add("second", EchoEngine(name="second"))
    with pytest.raises(ModelNotFound, match=r"has `second`, `main`, `gpt-3.5-turbo`, `reader`"):
        models.resolve("secnd")
    models.configure(Settings(model_aliases="*"))
    assert models.resolve("secnd").name == "main"


def test_others_answer_while_the_default_model_is_not_there() -> None:
    front = SwappableEngine()
    models = served(front)
    models.add("second", EchoEngine(name="second"))
    assert models.resolve("second").name == "second"
    assert [each.name for each in models.all()] == ["second"]
    assert models.slots == 4
    with pytest.raises(ModelLoading):
        models.resolve("main")


def test_the_queues_are_one_to_look_at() -> None:
    models = served(EchoEngine(name="main"))
    models.add("second", EchoEngine(name="second"))
    alice, bob = (SlotRequest(Caller(name, frozenset())) for name in ("alice", "bob"))
    for name, slots, asked in (("main", 1, (alice, alice)), ("second", 1, (bob, bob))):
        for each in asked:
            models.resolve(name).scheduler.request_slot(slots, each)
    state = models.queue()
    assert (state.slots, state.running, state.waiting, state.limit) == (2, 2, 2, 257)
    assert state.callers == {"alice": CallerState(1, 1), "bob": CallerState(1, 1)}
    models.refuse_new()
    for name in ("main", "second"):
        with pytest.raises(ShuttingDown):
            models.resolve(name).scheduler.request_slot(1)
