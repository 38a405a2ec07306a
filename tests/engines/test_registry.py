"""A new engine is its module and a row: the command line, the host's files and the server follow it."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from extensions.openai.engines import registry
from extensions.openai.engines.echo import EchoEngine
from extensions.openai.engines.model_spec import ModelLoadError, ModelOutline, ModelSpec
from extensions.openai.engines.protocol import Engine
from extensions.openai.engines.registry import ENGINES, EngineRow
from extensions.openai.hosts.launch import Launcher
from extensions.openai.settings import Settings
from host.errors import HostError
from host.models import model_files
from host.models.spec import ModelSpec as HostSpec
from host.options import HostOptions, from_environment
from tests.support.process import free_port


class Parrot:
    """The module of an engine from outside this project."""

    reason: str | None = None

    @classmethod
    def make(cls, spec: ModelSpec, settings: Settings) -> Engine:
        if cls.reason:
            raise ModelLoadError(cls.reason)
        return EchoEngine(name=f"{spec.name} with {settings.message_repair}")

    @classmethod
    def check(cls, spec: ModelSpec) -> None:
        if cls.reason:
            raise ModelLoadError(cls.reason)

    @staticmethod
    def explain(spec: ModelSpec) -> Sequence[str]:
        return (spec.name,)

    @staticmethod
    def outline(spec: ModelSpec) -> ModelOutline:
        return ModelOutline(EchoEngine(name=spec.name).info, 0)


@pytest.fixture
def parrot(monkeypatch: pytest.MonkeyPatch) -> Any:
    row = EngineRow("parrot", lambda: Parrot, reads_files=False)
    monkeypatch.setitem(ENGINES, "parrot", row)
    return Parrot


@pytest.fixture
def serving() -> Any:
    launcher = Launcher()
    launcher.setup({"api_port": free_port()}, {})
    yield launcher
    launcher.stop(1)
    gc.unfreeze()  # which loading a model does to all that is there


def spec_for(loader: str) -> HostSpec:
    return model_files.model_spec(
        HostOptions(model="nothing", model_dir=Path("none"), loader=loader)
    )


def test_a_row_is_all_that_the_host_asks_for(parrot: Any, serving: Any) -> None:
    assert from_environment({"OPENEDAI_LOADER": "parrot"}) == {"loader": "parrot"}
    spec = spec_for("parrot")
    assert (spec.name, spec.path, spec.catalog) == ("parrot", None, None)
    serving.load_model(spec)
    assert "Model      parrot with on," in serving.banner()


def test_the_host_knows_no_other_loader() -> None:
    with pytest.raises(HostError, match=f"{' or '.join(ENGINES)} was expected, not 'parrot'"):
        from_environment({"OPENEDAI_LOADER": "parrot"})


def test_an_engine_that_cannot_load_says_so_in_a_line(
    parrot: Any, serving: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parrot, "reason", "It is asleep.")
    spec = spec_for("parrot")
    assert registry.fault(spec) == "It is asleep."
    with pytest.raises(SystemExit, match=r"^It is asleep\.$"):
        serving.load_model(spec)


@pytest.mark.parametrize("loader", ENGINES)
def test_each_row_leads_to_an_engine(loader: str) -> None:
    """The host has no file for it: an engine that reads one says so, the others are made."""
    row = ENGINES[loader]
    assert row.help.startswith(loader)
    spec = HostSpec(loader, "its name", None, 0, -1, 0, 4)
    if row.reads_files:
        assert "needs a model file" in str(registry.fault(spec))
        with pytest.raises(ModelLoadError, match="needs a model file"):
            registry.make(spec, Settings())
        return
    if row.module is None:
        assert "loads no model" in str(registry.fault(spec))
        with pytest.raises(ModelLoadError, match="loads no model"):
            registry.make(spec, Settings())
        return
    assert registry.fault(spec) is None
    engine = registry.make(spec, Settings())
    assert engine.info.model == "its name"
    engine.close()
