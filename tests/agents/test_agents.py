"""Real coding agents on a real server, with scripted models: three tasks with tools each.

`make test-agents` installs them into `.agents` and runs this. AGENTS_MODEL names a model file that answers
one question of each agent, and works on a task.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agents.catalogue import AGENTS, CONTEXT, DONE, TASKS, Place, scripts_of, surroundings
from tests.agents.installed import INSTALLED
from tests.families.served import Served
from tests.support.families import FAMILIES
from tests.support.scripted_model import Script

REAL = os.environ.get("AGENTS_MODEL")
pytestmark = [
    pytest.mark.skipif(not INSTALLED, reason="needs the agents: make test-agents"),
    pytest.mark.timeout(600),
]
WORK = (
    "Use your tool to write the file notes.txt, which has the line: two. Then say that it is done."
)
REFUSED = re.compile(r"\bstatus=[45]\d\d\b")
MEMORY = 16
"""Bytes by which a model that speaks in bytes knows its place."""
TRIED = [(agent, family) for agent in AGENTS.values() for family in agent.families]


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


def ended(name: str, place: Place, prompt: str, patience: float = 300) -> tuple[int | None, str]:
    """An agent's exit status and output; no status: it did not end in this time, and was killed."""
    agent = AGENTS[name]
    agent.prepare(place)
    process = subprocess.Popen(
        agent.command(place, prompt),
        cwd=place.work,
        env=surroundings(place) | agent.environment(place),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=patience)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return None, process.communicate()[0]
    return process.returncode, output


def run(name: str, place: Place, prompt: str, patience: float = 300) -> str:
    status, output = ended(name, place, prompt, patience)
    assert status == 0, output
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
    assert not REFUSED.search(server.process.output)


@pytest.mark.timeout(2000)
@pytest.mark.skipif(not REAL, reason="needs a model: AGENTS_MODEL=path/of/a.gguf")
@pytest.mark.parametrize("name", AGENTS)
def test_a_real_model_answers_and_works(name: str, place: Place, server: Served) -> None:
    """What comes of the work is up to the model, also that it ends; that all has its form is not."""
    model = Path(str(REAL))
    (server.folder / model.name).unlink(missing_ok=True)
    (server.folder / model.name).symlink_to(model.resolve())
    server.load_by_name(model.stem)
    before = len(server.process.output)
    said = run(name, place, "Say hello in one short sentence. Use no tools.", patience=1200)
    assert said.strip()
    status, output = ended(name, place, WORK, patience=240)
    lines = server.process.output[before:]
    found = {
        "answers": lines.count("status=200"),
        "refused": REFUSED.findall(lines),
        "exit status": status,
        "file": (place.work / "notes.txt").exists(),
    }
    print(name, found, said.strip()[-200:], output.strip()[-300:], sep="\n")
    assert found["answers"] and not found["refused"], lines
