"""The lines of docs/coding-agents.md, pasted as they are printed."""

from __future__ import annotations

import os
import re
import subprocess
from itertools import groupby
from pathlib import Path

import pytest

from tests.agents.catalogue import Place, surroundings
from tests.agents.installed import INSTALLED
from tests.families.served import Served
from tests.support.examples import Example, examples
from tests.support.families import FAMILIES
from tests.support.process import ROOT
from tests.support.scripted_model import Script

pytestmark = [
    pytest.mark.skipif(not INSTALLED, reason="needs the agents: make test-agents"),
    pytest.mark.timeout(900),
]
PAGE = ROOT / "docs" / "coding-agents.md"
ADDRESS = "http://127.0.0.1:5001"
FILE = re.compile(r"`(~?[\w./-]+\.(?:toml|json))`[^`\n]*(?:`[^`\n]*`)?[^`\n]*:$", re.MULTILINE)
CONTEXT = 65_536


def _section(example: Example) -> str:
    above = PAGE.read_text(encoding="utf-8").splitlines()[: example.line]
    return next(line[3:] for line in reversed(above) if line.startswith("## "))


RECIPES = {
    name: list(blocks)
    for name, blocks in groupby(
        (each for each in examples() if each.page == PAGE and each.how == "agents"), _section
    )
}


def test_all_agents_of_npm_have_one() -> None:
    assert list(RECIPES) == ["codex", "claude-code", "qwen-code", "opencode", "cline"]


@pytest.mark.parametrize("name", RECIPES)
def test_what_a_user_pastes_works(name: str, tmp_path: Path, merges: list[str]) -> None:
    """Each prompt is answered; the files are where the line above them says."""
    spoken = FAMILIES["qwen35"]
    script = Script("answer", spoken.says("The answer is 4."))
    spoken.write(tmp_path, [script], CONTEXT, merges)
    work, home = tmp_path / "work", tmp_path / "home"
    work.mkdir()
    home.mkdir()
    served = Served(tmp_path, spoken.name, "--ctx-size", str(CONTEXT), "--parallel", "2")
    place = Place(Path(str(INSTALLED)).resolve(), work, home, f"{served.process.url}/v1")
    try:
        for block in RECIPES[name]:
            code = block.code.replace(ADDRESS, served.process.url)
            if block.language != "bash":
                path = _path_of(block, home, work)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(code)
                continue
            output = _run(code, place)
            asked = len(re.findall(r'".+"$', code, re.MULTILINE))
            assert asked and output.count("The answer is 4.") >= asked, output
        assert "status=400" not in served.process.output
    finally:
        served.stop()


def _path_of(block: Example, home: Path, work: Path) -> Path:
    above = PAGE.read_text(encoding="utf-8").splitlines()[: block.line - 1]
    named: str = FILE.findall("\n".join(above))[-1]
    return home / named[2:] if named.startswith("~/") else work / named


def _run(code: str, place: Place) -> str:
    binaries = place.installed / "npm" / "node_modules" / ".bin"
    known = surroundings(place)
    kept = ("HOME", "OPENCODE_DISABLE", "CLINE_TELEMETRY", "DISABLE_AUTOUPDATER")
    environment = {name: value for name, value in known.items() if name.startswith(kept)}
    environment["PATH"] = f"{place.installed / 'bin'}:{binaries}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", code],
        cwd=place.work,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr
