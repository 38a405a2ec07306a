"""The install script, on trees of the shape that the webui has had over the years."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.process import ROOT

SCRIPT = ROOT / "scripts" / "install_into_webui.sh"
EVERY_AGE = ("2023", "January 2026", "May 2026", "May 2026, portable")
PLACES = {
    "2023": "extensions/openai",
    "January 2026": "extensions/openai",
    "May 2026": "user_data/extensions/opened_ai",
    "May 2026, portable": "extensions/opened_ai",
}


def checkout(root: Path, age: str) -> Path:
    """A tree of the shape that a checkout of this age has, as far as the script looks."""
    webui = root / "text generation webui"
    files = [
        "server.py",
        *(f"modules/{name}.py" for name in ("shared", "extensions", "text_generation")),
    ]
    files += ["extensions/gallery/script.py"]
    if age in ("2023", "January 2026"):
        files += ["extensions/openai/script.py", "extensions/openai/typing.py"]
    if age == "January 2026":
        files += ["user_data/extensions/place-your-extensions-here.txt"]
    if age.startswith("May 2026"):
        files += ["modules/api/script.py"]
    if age == "May 2026":
        files += ["user_data/extensions/place-your-extensions-here.txt"]
    for file in files:
        (webui / file).parent.mkdir(parents=True, exist_ok=True)
        (webui / file).write_text(f"the webui's own {file}\n")
    return webui


def install(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {
        name: value
        for name, value in os.environ.items()
        if name not in ("VIRTUAL_ENV", "CONDA_PREFIX")
    }
    return subprocess.run(
        [SCRIPT, *map(str, arguments)],
        env=clean | {"PIP_NO_INDEX": "1"} | environment,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


OURS = files(ROOT / "extensions" / "openai")


@pytest.mark.parametrize("age", EVERY_AGE)
def test_it_lands_where_the_webui_looks_twice_and_leaves_as_it_came(
    tmp_path: Path, age: str
) -> None:
    webui = checkout(tmp_path, age)
    before, place = files(webui), webui / PLACES[age]
    for _ in range(2):
        done = install("--no-requirements", webui)
        assert done.returncode == 0, done.stderr
        assert f"--extensions {place.name}" in done.stdout
        assert files(place) == OURS
    others = {name: text for name, text in files(webui).items() if webui / name not in ours(place)}
    kept = {
        name.replace("extensions-before-openedai/", "extensions/"): text
        for name, text in others.items()
    }
    assert kept == before, "what was there is still there, beside ours"
    done = install("--uninstall", webui)
    assert done.returncode == 0, done.stderr
    assert files(webui) == before
    again = install("--uninstall", webui)
    assert again.returncode == 0 and "nothing to remove" in again.stdout
    assert files(webui) == before


def ours(place: Path) -> set[Path]:
    return {path for path in place.rglob("*") if path.is_file()}


@pytest.mark.parametrize("age", EVERY_AGE)
def test_linked(tmp_path: Path, age: str) -> None:
    webui = checkout(tmp_path, age)
    before, place = files(webui), webui / PLACES[age]
    for _ in range(2):
        assert install("--link", "--no-requirements", webui).returncode == 0
        assert place.is_symlink() and place.resolve() == ROOT / "extensions" / "openai"
    assert install("--no-requirements", webui).returncode == 0
    assert not place.is_symlink() and files(place) == OURS
    assert install("--link", "--no-requirements", webui).returncode == 0
    assert install("--uninstall", webui).returncode == 0
    assert files(webui) == before
    assert files(ROOT / "extensions" / "openai") == OURS, (
        "the link was removed, not what it points to"
    )


def test_an_update_of_the_webui_that_brings_its_extension_back_is_kept_too(tmp_path: Path) -> None:
    webui = checkout(tmp_path, "January 2026")
    assert install("--no-requirements", webui).returncode == 0
    assert install("--uninstall", webui).returncode == 0
    assert install("--no-requirements", webui).returncode == 0
    place = webui / "extensions" / "openai"
    for path in sorted(place.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    (place / "script.py").write_text("the webui's newer one\n")
    done = install("--no-requirements", webui)
    assert "extensions-before-openedai/openai.2" in done.stdout
    assert install("--uninstall", webui).returncode == 0
    assert (place / "script.py").read_text() == "the webui's newer one\n"


@pytest.mark.parametrize("missing", ["server.py", "modules/extensions.py"])
def test_what_is_no_webui_is_refused(tmp_path: Path, missing: str) -> None:
    webui = checkout(tmp_path, "May 2026")
    (webui / missing).unlink()
    before = files(webui)
    done = install("--no-requirements", webui)
    assert done.returncode == 1 and missing in done.stderr and done.stderr.count("\n") == 1
    assert files(webui) == before


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ((), "PATH"),
        (("/no/such/folder",), "/no/such/folder"),
        (("--python",), "--python"),
        (("--nonsense", "."), "--nonsense"),
        ((".", ".."), ".."),
        ((ROOT,), "modules/shared.py"),
    ],
)
def test_a_wrong_call_is_one_line(arguments: tuple[str, ...], named: str) -> None:
    done = install(*arguments)
    assert done.returncode == 1 and named in done.stderr and done.stderr.count("\n") == 1


def test_help() -> None:
    done = install("--help")
    assert done.returncode == 0 and "--uninstall" in done.stdout


def test_another_extension_of_that_name_is_left_alone(tmp_path: Path) -> None:
    webui = checkout(tmp_path, "May 2026")
    other = webui / "user_data" / "extensions" / "opened_ai" / "script.py"
    other.parent.mkdir()
    other.write_text("somebody else's\n")
    done = install("--no-requirements", webui)
    assert done.returncode == 1 and "another extension" in done.stderr
    assert other.read_text() == "somebody else's\n"
    assert install("--uninstall", webui).returncode == 0
    assert other.read_text() == "somebody else's\n"


@pytest.mark.parametrize(
    "place", ["installer_files/env", "portable_env", "venv", ".venv", "env", "", "active"]
)
def test_requirements_go_into_the_webuis_own_environment(tmp_path: Path, place: str) -> None:
    """By a stand-in that notes what it is asked to do."""
    webui = checkout(tmp_path, "May 2026")
    root = tmp_path / "elsewhere" if place in ("", "active") else webui / place
    python = root / "bin" / ("python3" if place == "portable_env" else "python")
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\necho "$@" > "{tmp_path}/asked"\n')
    python.chmod(0o755)
    if place == "active":
        done = install(webui, VIRTUAL_ENV=str(root))
    else:
        done = install(webui, *(() if place else ("--python", python)))
    assert done.returncode == 0, done.stderr
    asked = (tmp_path / "asked").read_text()
    assert asked.startswith("-m pip install") and "openai/requirements.txt" in asked


def test_where_there_is_no_environment_it_asks_for_one(tmp_path: Path) -> None:
    webui = checkout(tmp_path, "May 2026")
    done = install(webui)
    assert done.returncode == 1 and "--python" in done.stderr
    assert not (webui / PLACES["May 2026"]).exists()


def test_requirements_that_fail_change_nothing(tmp_path: Path) -> None:
    webui = checkout(tmp_path, "2023")
    before = files(webui)
    done = install("--python", "/bin/false", webui)
    assert done.returncode == 1 and "nothing was changed" in done.stderr
    assert files(webui) == before


def test_with_a_real_pip_all_is_there_already(tmp_path: Path) -> None:
    """The tests' own environment has what the extension needs; there is no network."""
    webui = checkout(tmp_path, "May 2026")
    done = install("--python", sys.executable, webui)
    assert done.returncode == 0, done.stderr
