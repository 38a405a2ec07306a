"""The models of a webui's folder, through functions of the kind that it has for its Model tab."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from extensions.openai.engines.model_manager import Loaded, Template
from extensions.openai.engines.protocol import GenerateRequest
from extensions.openai.engines.swappable import SwappableEngine
from extensions.openai.engines.webui.engine import WebuiEngine
from extensions.openai.engines.webui.model_manager import ChatModelManager
from extensions.openai.errors import (
    EngineFailed,
    InvalidRequest,
    ModelChanged,
    ModelInUse,
    ModelLoading,
    ModelNotFound,
)
from tests.support.process import ROOT
from tests.webui_host import AGES, MiniHost, install
from tests.webui_host.model_tab import TEMPLATE, add_model_tab

TINY = ROOT / "models" / "openedai-tiny"


@pytest.fixture(params=AGES)
def host(request: pytest.FixtureRequest) -> Iterator[MiniHost]:
    with install(request.param, TINY) as host:
        add_model_tab(host)
        host.load()
        yield host
        for name in list(host.modules):
            sys.modules.pop(name, None)


@pytest.fixture
def engine() -> SwappableEngine:
    engine = SwappableEngine()
    engine.set(WebuiEngine())
    return engine


def test_models_are_listed_loaded_and_unloaded(host: MiniHost, engine: SwappableEngine) -> None:
    model_manager = ChatModelManager(engine, 5)
    assert model_manager.models() == ("tiny", "other", "broken", "missing")
    assert model_manager.loaded() == Loaded("tiny", (), "Transformers")
    model_manager.load("other", {}, Template())
    assert model_manager.loaded().model == engine.info.model == "other"
    model_manager.unload()
    assert model_manager.loaded().model is None
    with pytest.raises(ModelLoading):
        engine.info  # noqa: B018
    model_manager.load("tiny", {}, Template())
    pieces = engine.generate(GenerateRequest("Hello", 3))
    assert "".join(piece.text for piece in pieces if piece)


@pytest.mark.parametrize("name", ["broken", "missing"])
def test_one_that_cannot_be_loaded_leaves_none(
    host: MiniHost, engine: SwappableEngine, name: str
) -> None:
    model_manager = ChatModelManager(engine, 5)
    with pytest.raises(EngineFailed):
        model_manager.load(name, {}, Template())
    assert model_manager.loaded().model is None and host.shared.model_name == "None"
    assert not host.shared.generation_lock.locked()
    model_manager.load("other", {}, Template())
    assert engine.info.model == "other"


@pytest.mark.parametrize("name", ["nothing", "None", "../tiny", "/etc", ""])
def test_only_names_of_the_folder(host: MiniHost, engine: SwappableEngine, name: str) -> None:
    model_manager = ChatModelManager(engine, 5)
    with pytest.raises(ModelNotFound):
        model_manager.load(name, {}, Template())
    assert engine.info.model == "tiny"


def test_options_hold_for_one_load(host: MiniHost, engine: SwappableEngine) -> None:
    model_manager = ChatModelManager(engine, 5)
    model_manager.load("other", {"threads": 7}, Template())
    assert host.shared.args.threads == 7
    model_manager.load("other", {}, Template())
    assert host.shared.args.threads == (4 if host.age == "2026" else 0)


@pytest.mark.parametrize(
    "options",
    [
        {"trust_remote_code": True},
        {"trust-remote-code": True},
        {"model_dir": "elsewhere"},
        {"nonsense": 1},
        {"threads": "many"},
        {"threads": [1]},
        {"cpu": 1},
        {"loader": "/etc/passwd"},
        {"loader": "../x"},
    ],
)
def test_options_that_are_not_for_requests_are_refused_by_name(
    host: MiniHost, engine: SwappableEngine, options: dict[str, Any]
) -> None:
    before = dict(vars(host.shared.args))
    with pytest.raises(InvalidRequest) as caught:
        ChatModelManager(engine, 5).load("other", options, Template())
    assert caught.value.param in {f"args.{name}" for name in options}
    assert vars(host.shared.args) == before and engine.info.model == "tiny"


def test_templates(host: MiniHost, engine: SwappableEngine) -> None:
    model_manager = ChatModelManager(engine, 5)
    model_manager.load("other", {}, Template(text=TEMPLATE))
    assert host.shared.settings["instruction_template_str"] == TEMPLATE
    assert host.shared.tokenizer.chat_template == TEMPLATE
    model_manager.load("other", {}, Template())
    assert host.shared.tokenizer.chat_template != TEMPLATE
    with pytest.raises(InvalidRequest) as caught:
        model_manager.load("other", {}, Template(name="../secret"))
    assert caught.value.param == "instruction_template"
    if host.age == "2026":
        model_manager.load("other", {}, Template(name="Plain"))
        assert host.shared.tokenizer.chat_template == TEMPLATE


def test_loras(host: MiniHost, engine: SwappableEngine) -> None:
    model_manager = ChatModelManager(engine, 5)
    assert model_manager.loras() == ("pirate", "broken-lora")
    model_manager.apply_loras(["pirate"])
    assert model_manager.loaded().loras == ("pirate",)
    with pytest.raises(InvalidRequest) as caught:
        model_manager.apply_loras(["../pirate"])
    assert caught.value.param == "lora_names" and model_manager.loaded().loras == ("pirate",)
    with pytest.raises(EngineFailed):
        model_manager.apply_loras(["broken-lora"])
    model_manager.apply_loras([])
    assert model_manager.loaded().loras == ()
    model_manager.unload()
    with pytest.raises(ModelLoading):
        model_manager.apply_loras(["pirate"])


def test_an_answer_under_way_ends_well_or_with_one_error(
    host: MiniHost, engine: SwappableEngine
) -> None:
    model_manager = ChatModelManager(engine, 0.1)
    answer = engine.generate(GenerateRequest("Hello", 400, {"ban_eos_token": True}))
    next(piece for piece in answer if piece)
    loading = threading.Thread(target=model_manager.load, args=("other", {}, Template()))
    loading.start()
    try:
        assert [piece for piece in answer if piece][-1].finish == "length"
    except ModelChanged as error:
        assert error.code == "model_changed"
    loading.join(30)
    assert engine.info.model == "other"


def test_while_the_page_generates_the_model_is_not_taken_away(
    host: MiniHost, engine: SwappableEngine
) -> None:
    model_manager = ChatModelManager(engine, 0.1)
    with host.shared.generation_lock, pytest.raises(ModelInUse):
        model_manager.unload()
    assert engine.info.model == "tiny"
    model_manager.unload()
