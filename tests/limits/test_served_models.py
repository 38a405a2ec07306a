"""Who answers a request: by which names, and as it was when the request came."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from extensions.openai.engines.echo import EchoEngine
from extensions.openai.engines.protocol import EngineInfo, GenerateRequest
from extensions.openai.engines.swappable import SwappableEngine
from extensions.openai.errors import InvalidRequest, ModelChanged, ModelLoading, ModelNotFound
from extensions.openai.limits.scheduler import Scheduler
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
