"""Changing models while requests run: who waits, who ends, and what is left."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from extensions.openai.engines.echo import EchoEngine
from extensions.openai.engines.folder_model_manager import FolderModelManager
from extensions.openai.engines.model_manager import Loaded, Template
from extensions.openai.engines.protocol import Engine, GenerateRequest
from extensions.openai.engines.swappable import SwappableEngine
from extensions.openai.errors import (
    EngineFailed,
    InvalidRequest,
    ModelChanged,
    ModelLoadFailed,
    ModelLoading,
    ModelNotFound,
)
from tests.support.paced import PacedEngine


@dataclass(frozen=True)
class Model:
    name: str
    loader: str = "echo"


@dataclass
class Files:
    """A folder of models, one of which cannot be loaded."""

    made: list[str] = field(default_factory=list)

    def names(self) -> tuple[str, ...]:
        return ("paced", "a", "b", "broken")

    def find(self, name: str) -> Model:
        return Model(name)

    def make(self, model: Model) -> Engine:
        self.made.append(model.name)
        if model.name == "broken":
            raise RuntimeError("/secret/path is no model")
        return EchoEngine(name=model.name)


def model_manager(
    engine: SwappableEngine, patience: float = 5.0
) -> tuple[FolderModelManager[Model], Files]:
    files = Files()
    return FolderModelManager(engine, files, files.make, patience), files


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        threading.Event().wait(0.01)


def test_the_next_request_sees_the_new_model() -> None:
    engine = SwappableEngine()
    models, _ = model_manager(engine)
    models.load("a", {}, Template())
    assert engine.info.model == "a" and models.loaded() == Loaded("a", (), "echo")
    models.load("b", {}, Template())
    assert engine.info.model == "b" and models.loaded().model == "b"
    models.unload()
    assert models.loaded().model is None
    with pytest.raises(ModelLoading, match="No model is loaded"):
        engine.info  # noqa: B018
    models.unload()


def test_a_model_that_is_unloaded_comes_back_when_it_is_wanted() -> None:
    engine = SwappableEngine()
    models, files = model_manager(engine)
    models.reload_if_unloaded()
    assert files.made == [], "there is nothing to come back"
    models.load("a", {}, Template())
    models.reload_if_unloaded()
    models.unload()
    models.unload()
    threads = [threading.Thread(target=models.reload_if_unloaded) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert engine.info.model == "a" and models.loaded() == Loaded("a", (), "echo")
    assert files.made == ["a", "a"], "once for all that wait"
    models.unload()
    models.load("b", {}, Template())
    models.reload_if_unloaded()
    assert engine.info.model == "b", "what was loaded since stays"


def test_answers_under_way_may_end() -> None:
    engine = SwappableEngine()
    engine.set(PacedEngine(pace=0.01))
    models, _ = model_manager(engine, patience=30)
    answer = engine.generate(GenerateRequest("x", 20))
    first = next(piece for piece in answer if piece)
    loading = threading.Thread(target=models.load, args=("a", {}, Template()))
    loading.start()
    text = first.text + "".join(piece.text for piece in answer if piece)
    assert text
    loading.join(20)
    assert engine.info.model == "a"


def test_those_that_do_not_end_get_one_error() -> None:
    engine = SwappableEngine()
    engine.set(PacedEngine(endless=True, pace=0.01))
    models, _ = model_manager(engine, patience=0.1)
    answer = engine.generate(GenerateRequest("x", 4000))
    next(answer)
    loading = threading.Thread(target=models.load, args=("a", {}, Template()))
    loading.start()
    with pytest.raises(ModelChanged) as caught:
        for _ in answer:
            pass
    assert caught.value.status == 503 and caught.value.code == "model_changed"
    loading.join(20)
    assert engine.info.model == "a"


def test_meanwhile_new_requests_are_told_to_come_again() -> None:
    engine = SwappableEngine()
    engine.set(PacedEngine(endless=True, pace=0.01))
    models, _ = model_manager(engine, patience=30)
    answer = engine.generate(GenerateRequest("x", 4000))
    next(answer)
    begun = engine.generate(GenerateRequest("y", 5))
    loading = threading.Thread(target=models.unload)
    loading.start()

    def refused() -> bool:
        try:
            return not engine.info
        except ModelLoading as error:
            return "being changed" in error.message

    wait_for(refused)
    with pytest.raises(ModelLoading):
        next(begun)
    answer.close()
    loading.join(20)
    with pytest.raises(ModelLoading, match="No model is loaded"):
        next(engine.generate(GenerateRequest("y", 5)))


def test_loads_wait_for_each_other() -> None:
    engine = SwappableEngine()
    files = Files()
    busy, most = 0, 0

    def make(model: Model) -> Engine:
        nonlocal busy, most
        busy += 1
        most = max(most, busy)
        threading.Event().wait(0.05)
        busy -= 1
        return EchoEngine(name=model.name)

    models = FolderModelManager(engine, files, make, 1.0)
    loads = [threading.Thread(target=models.load, args=(n, {}, Template())) for n in "abab"]
    for each in loads:
        each.start()
    for each in loads:
        each.join(20)
    assert most == 1 and engine.info.model == models.loaded().model


def test_what_cannot_be_loaded_is_one_error_without_its_path() -> None:
    engine = SwappableEngine()
    models, files = model_manager(engine)
    models.load("a", {}, Template())
    with pytest.raises(EngineFailed) as caught:
        models.load("broken", {}, Template())
    assert "/secret" not in caught.value.message
    assert models.loaded().model is None
    with pytest.raises(ModelLoading):
        engine.info  # noqa: B018
    models.load("a", {}, Template())
    assert engine.info.model == "a" and files.made == ["a", "broken", "a"]


@pytest.mark.parametrize("name", ["nothing", "../a", "/etc/passwd", ""])
def test_only_names_of_the_list(name: str) -> None:
    engine = SwappableEngine()
    models, files = model_manager(engine)
    models.load("a", {}, Template())
    with pytest.raises(ModelNotFound):
        models.load(name, {}, Template())
    assert engine.info.model == "a" and files.made == ["a"], "and nothing was unloaded for it"


def test_what_it_cannot_do_is_refused_by_name() -> None:
    models, _ = model_manager(SwappableEngine())
    cases: tuple[tuple[Callable[[], object], str], ...] = (
        (lambda: models.load("a", {"ctx_size": 5}, Template()), "args.ctx_size"),
        (lambda: models.load("a", {}, Template(name="Alpaca")), "instruction_template"),
        (lambda: models.load("a", {}, Template(text="{{ x }}")), "instruction_template_str"),
        (lambda: models.apply_loras(["x"]), "lora_names"),
    )
    for call, param in cases:
        with pytest.raises(InvalidRequest) as caught:
            call()
        assert caught.value.param == param
    models.apply_loras([])
    assert models.loras() == ()


def test_a_model_that_cannot_come_takes_nothing_away() -> None:
    """The file is looked at while the model before is served."""
    engine, files = SwappableEngine(), Files()
    faults = {"broken": "broken.gguf is damaged."}
    models = FolderModelManager(
        engine, files, files.make, 1.0, fault=lambda spec: faults.get(spec.name)
    )
    models.load("a", {}, Template())
    with pytest.raises(ModelLoadFailed, match=r"nothing has changed: broken\.gguf is damaged"):
        models.load("broken", {}, Template())
    assert engine.info.model == "a" and files.made == ["a"]
    assert models.loaded().model == "a"


def test_the_memory_that_a_model_takes() -> None:
    files = Files()

    def memory(spec: Model) -> int:
        if spec.name == "broken":
            raise RuntimeError("/secret/path is no model")
        return len(spec.name)

    models = FolderModelManager(SwappableEngine(), files, files.make, 1.0, memory=memory)
    assert [models.memory(name) for name in models.models()] == [5, 1, 1, None]
