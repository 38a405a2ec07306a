"""What tests with agents share."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import gguf
import pytest

from tests.agents.catalogue import AGENTS, IN_THE_MATRIX, Place
from tests.agents.installed import INSTALLED
from tests.agents.relay import Relay
from tests.agents.stage import USER_KEY, Stage
from tests.support.families import FAMILIES
from tests.support.process import ROOT

FAMILY = FAMILIES["qwen35"]


@pytest.fixture(scope="module", params=IN_THE_MATRIX)
def agents_stage(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, merges: list[str]
) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("matrix")
    relay = Relay("")
    place = Place(
        Path(str(INSTALLED)).resolve(),
        folder / "work",
        folder / "home",
        f"{relay.url}/v1",
        key=USER_KEY,
    )
    stage = Stage(AGENTS[request.param], FAMILY, place, relay, folder)
    stage.write_model(merges)
    yield stage
    stage.stop()
    relay.stop()


@pytest.fixture
def stage(agents_stage: Stage) -> Stage:
    """With folders, requests and a log of its own."""
    for folder in (agents_stage.place.work, agents_stage.place.home):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
    agents_stage.agent.prepare(agents_stage.place)
    agents_stage.begin_case()
    return agents_stage


@pytest.fixture(scope="session")
def merges() -> list[str]:
    """Those of the embedded model: agents' prompts are long."""
    (path,) = (ROOT / "models" / "openedai-tiny").glob("*.gguf")
    field = gguf.GGUFReader(path).fields["tokenizer.ggml.merges"]
    return list(field.contents())
