"""Real coding agents on a real server, with scripted models: three tasks with tools each.

`make test-agents` installs them into `.agents` and runs this. AGENTS_MODEL names a model file that answers
one question of each agent.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import gguf
import pytest

from tests.agents.catalogue import AGENTS, DONE, TASKS, Place, scripts_of, surroundings
from tests.families.served import Served
from tests.support.families import FAMILIES
from tests.support.process import ROOT
from tests.support.scripted_model import Script

INSTALLED = os.environ.get("AGENTS_DIR")
REAL = os.environ.get("AGENTS_MODEL")
pytestmark = [
    pytest.mark.skipif(not INSTALLED, reason="needs the agents: make test-agents"),
    pytest.mark.timeout(600),
]
CONTEXT = 65_536
MEMORY = 16
"""Bytes by which a model that speaks in bytes knows its place."""
TRIED = [(agent, family) for agent in AGENTS.values() for family in agent.families]


@pytest.fixture(scope="module")
def merges() -> list[str]:
    """Those of the embedded model: agents' prompts are long."""
    (path,) = (ROOT / "models" / "openedai-tiny").glob("*.gguf")
    field = gguf.GGUFReader(path).fields["tokenizer.ggml.merges"]
    return list(field.contents())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("models")
    FAMILIES["qwen3"].write(folder, [Script("answer", "Hello.")])
    served = Served(folder, "qwen3", "--ctx-size", str(CONTEXT), "--parallel", "2")
    yield served
    served.stop()


@pytest.fixture
def place(server: Served, tmp_path: Path) -> Place:
    work, home = tmp_path / "work", tmp_path / "home"
    work.mkdir()
    home.mkdir()
    return Place(Path(str(INSTALLED)).resolve(), work, home, f"{server.process.url}/v1")


def run(name: str, place: Place, prompt: str, patience: float = 300) -> str:
    agent = AGENTS[name]
    agent.prepare(place)
    done = subprocess.run(
        agent.command(place, prompt),
        cwd=place.work,
        env=surroundings(place),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=patience,
    )
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    return output


@pytest.mark.parametrize(("agent", "family"), TRIED, ids=[f"{a.name}-{f}" for a, f in TRIED])
def test_an_agent_writes_changes_and_runs(
    agent: object, family: str, place: Place, server: Served, merges: list[str]
) -> None:
    name = agent.name  # type: ignore[attr-defined]
    spoken = FAMILIES[family]
    scripts = scripts_of(AGENTS[name], spoken, place)
    enforced = AGENTS[name].enforced
    path = spoken.write(
        server.folder, scripts, CONTEXT, () if enforced else merges, MEMORY if enforced else 2
    )
    server.load_by_name(path.stem)
    output = run(name, place, TASKS)
    assert (place.work / "notes.txt").read_text() == "two\n", output
    assert (place.work / "copy.txt").read_text() == "two\n", output
    assert DONE in output or name == "aider", output
    assert " 400 " not in server.process.output and " 500 " not in server.process.output


@pytest.mark.timeout(1600)
@pytest.mark.skipif(not REAL, reason="needs a model: AGENTS_MODEL=path/of/a.gguf")
@pytest.mark.parametrize("name", AGENTS)
def test_an_agent_gets_an_answer_of_a_real_model(name: str, place: Place, server: Served) -> None:
    model = Path(str(REAL))
    (server.folder / model.name).unlink(missing_ok=True)
    (server.folder / model.name).symlink_to(model.resolve())
    server.load_by_name(model.stem)
    assert run(name, place, "Say hello in one short sentence. Use no tools.", patience=1500).strip()
