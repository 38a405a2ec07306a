"""Installing into real versions of the web UI, and updating from one to the next as its updater does it.

`make test-webui-install WEBUI_GIT=path` takes a clone or a mirror of its repository with the commits below.
No model is loaded: the web UI's own loader loads ours by name, with stand-ins for gradio and for the
command line.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.scripts.webui_layouts import (
    earlier_install,
    extension_files,
    files,
    git,
    install,
    status,
)
from tests.support.process import free_port

WEBUI_GIT = os.environ.get("WEBUI_GIT")
pytestmark = [
    pytest.mark.skipif(
        not WEBUI_GIT, reason="needs its repository: make test-webui-install WEBUI_GIT=path"
    ),
    pytest.mark.timeout(600),
]
TOO_OLD = "d37a2873^"  # 23 May 2023
COMMITS = ("e52b43c9", "3e3a66e7", "55225849", "17f9c188", "910456ba", "ed888c71")
"""1 June and 31 December 2023, 20 August 2024, 19 June 2025, 8 January and 31 May 2026."""
LARGE = "extensions/superboogav2/nltk_data"
"""Left out: mirrors may lack its large files."""
LOADS = """
import argparse, importlib, json, logging, sys, urllib.request
from pathlib import Path
from types import ModuleType
from unittest.mock import MagicMock

sys.path.insert(0, "")
shared = MagicMock(name="modules.shared")
shared.args = argparse.Namespace(extensions=["opened_ai"], listen=False, nowebui=False)
shared.settings, shared.default_settings = {"opened_ai-api_port": PORT}, {}
shared.parser = argparse.ArgumentParser()
shared.user_data_dir = Path("user_data")
for name, module in {
    "gradio": MagicMock(), "modules.shared": shared,
    "modules.chat": MagicMock(), "modules.html_generator": MagicMock(),
}.items():
    sys.modules[name] = module
import modules

modules.shared = shared
logging.basicConfig()
colors = ModuleType("modules.logging_colors")
colors.logger = logging.getLogger("webui")
sys.modules["modules.logging_colors"] = colors
utils = importlib.import_module("modules.utils")
loader = importlib.import_module("modules.extensions")
loader.available_extensions = utils.get_available_extensions()
loader.load_extensions()
url = f"http://127.0.0.1:{PORT}/health"
print(json.dumps({
    "loaded": loader.state["opened_ai"][0],
    "status": urllib.request.urlopen(url, timeout=30).status,
    "from": str(next(Path(extension.__file__).parent for extension, name in loader.iterator())),
}))
sys.stdout.flush()
"""


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository that has these versions, one after the other."""
    source = Path(str(WEBUI_GIT)).resolve()
    objects = Path(
        git(source, "rev-parse", "--path-format=absolute", "--git-path", "objects").strip()
    )
    target = tmp_path_factory.mktemp("upstream") / "webui.git"
    git(target.parent, "init", "-q", "--bare", str(target))
    (target / "objects" / "info" / "alternates").write_text(f"{objects}\n")
    parent: list[str] = []
    for commit in (TOO_OLD, *COMMITS):
        git(target, "read-tree", git(source, "rev-parse", commit).strip())
        git(target, "rm", "-rq", "--cached", "--ignore-unmatch", LARGE)
        made = git(
            target, "commit-tree", git(target, "write-tree").strip(), *parent, "-m", commit
        ).strip()
        git(target, "branch", commit.strip("^"), made)
        parent = ["-p", made]
    return target


def clone(upstream: Path, tmp_path: Path, commit: str) -> Path:
    webui = tmp_path / "webui"
    git(tmp_path, "clone", "-q", "--branch", commit, str(upstream), str(webui))
    git(webui, "config", "user.name", "n")
    git(webui, "config", "user.email", "e@e")
    return webui


def pull(webui: Path, commit: str) -> str:
    git(webui, "branch", "-q", f"--set-upstream-to=origin/{commit}")
    return git(webui, "pull", "--autostash")


def put(webui: Path, *options: str) -> str:
    done = install("--python", sys.executable, *options, webui)
    assert done.returncode == 0, done.stderr
    return done.stdout


def loads(webui: Path) -> dict[str, Any]:
    """What the web UI's own loader makes of `--extensions opened_ai`."""
    clean = {name: value for name, value in os.environ.items() if "OPENEDAI" not in name}
    done = subprocess.run(
        [sys.executable, "-c", f"PORT = {free_port()}\n{LOADS}"],
        cwd=webui,
        env=clean | {"OPENEDAI_USE_MOCK_API": "true"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def test_one_install_lives_through_all_updates(upstream: Path, tmp_path: Path) -> None:
    webui = clone(upstream, tmp_path, COMMITS[0])
    put(webui)
    for commit in COMMITS:
        pull(webui, commit)
        assert status(webui) == "", commit
        seen = loads(webui)
        assert (seen["loaded"], seen["status"]) == (True, 200), commit
        assert status(webui) == "", f"{commit}: after it ran"
    put(webui)
    assert status(webui) == "" and loads(webui)["from"].endswith("user_data/extensions/opened_ai")
    put(webui, "--uninstall")
    shutil.rmtree(webui / "user_data" / "openedai", ignore_errors=True)
    assert git(webui, "status", "--porcelain", "--ignored").count("opened") == 0


@pytest.mark.parametrize("commit", COMMITS)
def test_each_version_loads_it_from_where_it_belongs(
    upstream: Path, tmp_path: Path, commit: str
) -> None:
    webui = clone(upstream, tmp_path, commit)
    before = files(webui)
    put(webui)
    place = Path(loads(webui)["from"])
    place = place if place.is_absolute() else webui / place
    assert files(place) == extension_files() and status(webui) == ""
    put(webui, "--uninstall")
    shutil.rmtree(webui / "user_data" / "openedai", ignore_errors=True)
    assert files(webui) == before


@pytest.mark.parametrize(("old", "new"), list(pairwise(COMMITS)))
def test_an_earlier_install_that_an_update_ran_into_is_healed(
    upstream: Path, tmp_path: Path, old: str, new: str
) -> None:
    webui = clone(upstream, tmp_path, old)
    earlier_install(webui)
    if old == COMMITS[0]:
        # Our untracked files are in the way, and git refuses the update.
        with pytest.raises(subprocess.CalledProcessError):
            pull(webui, new)
    else:
        pull(webui, new)
    assert status(webui) != ""
    put(webui)
    assert status(webui) == "" and loads(webui)["loaded"]
    pull(webui, new)
    assert status(webui) == "" and loads(webui)["loaded"]


def test_what_is_too_old_is_refused(upstream: Path, tmp_path: Path) -> None:
    webui = clone(upstream, tmp_path, TOO_OLD.strip("^"))
    done = install("--python", sys.executable, webui)
    assert done.returncode == 1 and "24 May 2023" in done.stderr and status(webui) == ""
