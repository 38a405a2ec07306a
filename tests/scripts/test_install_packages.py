"""What the installer brings to which Python, by the real pip, offline; and that it changes nothing there."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from scripts.webui_install import environment
from scripts.webui_install.work import RefusalError
from tests.scripts.webui_layouts import (
    earlier_install,
    extension_files,
    files,
    install,
    plain_tree,
)
from tests.scripts.wheels import (
    REQUIRED,
    FakeEnvironment,
    all_wheels,
    make_wheel,
    requirement_names,
)

PLACE = "user_data/extensions/opened_ai"
pytestmark = pytest.mark.timeout(240)  # pip takes seconds a call on a busy machine


@pytest.fixture
def webui(tmp_path: Path) -> Path:
    return plain_tree(tmp_path, "May 2026")


@pytest.fixture
def python(tmp_path: Path) -> FakeEnvironment:
    return FakeEnvironment(tmp_path / "environment")


def run(webui: Path, python: FakeEnvironment, wheels: Path, *arguments: str) -> str:
    before = python.contents()
    done = install("--python", python.python, *arguments, webui, PIP_FIND_LINKS=str(wheels))
    assert done.returncode == 0, done.stderr
    if "--repair-environment" not in arguments:
        assert python.contents() == before, "nothing is changed in the environment"
    return done.stdout


def brought(webui: Path) -> tuple[dict[str, Any], set[str]]:
    """The note beside the packages, and the modules that are there."""
    (place,) = (webui / "user_data" / "openedai" / "packages").iterdir()
    note = json.loads((place / "openedai-packages.json").read_text())
    modules = {path.name.replace("_", "-") for path in place.iterdir() if path.is_dir()}
    return note, {name for name in modules if not name.endswith(".dist-info")}


def test_the_list_of_this_test_is_that_of_the_extension() -> None:
    assert set(REQUIRED) == requirement_names()


def test_what_is_missing_goes_beside_the_webuis_packages(
    webui: Path, python: FakeEnvironment, tmp_path: Path
) -> None:
    python.add_all_but("flask", "limits")
    wheels = all_wheels(tmp_path / "wheels")
    make_wheel(wheels, "orjson", "3.11")  # newer than the web UI's, and so left alone
    run(webui, python, wheels)
    note, modules = brought(webui)
    assert note["isolated"] is False and modules == {"flask", "limits"}
    assert files(webui / PLACE) == extension_files()
    output = run(webui, python, tmp_path / "empty")
    assert "there already" in output, "pip is not asked again where nothing has changed"
    python.add("flask", "3.1")
    run(webui, python, wheels)
    assert brought(webui)[1] == {"limits"}, "the web UI has got flask by itself"
    run(webui, python, wheels, "--uninstall")
    assert not (webui / "user_data" / "openedai").exists()


def test_where_nothing_is_missing_there_is_no_folder(
    webui: Path, python: FakeEnvironment, tmp_path: Path
) -> None:
    python.add_all_but()
    run(webui, python, tmp_path)
    assert not (webui / "user_data" / "openedai").exists()
    assert files(webui / PLACE) == extension_files()


def test_what_contradicts_the_webuis_packages_is_seen_by_the_extension_alone(
    webui: Path, python: FakeEnvironment, tmp_path: Path
) -> None:
    """A real environment of spring 2023: fastapi 0.95 wants pydantic 1."""
    python.add("fastapi", "0.95.2", ["pydantic<2"])
    python.add_all_but("flask", "pydantic-settings", pydantic="1.10.8", httpcore="0.17.3")
    output = run(webui, python, all_wheels(tmp_path / "wheels"))
    assert "pydantic 1.10.8, httpcore 0.17.3" in output
    note, modules = brought(webui)
    assert note["isolated"] is True and modules == set(REQUIRED)
    check = install("--check", "--python", python.python, webui)
    assert check.returncode == 0 and "all is well" in check.stdout
    run(webui, python, tmp_path, "--uninstall")
    assert not (webui / "user_data" / "openedai").exists()


@pytest.mark.parametrize("options", [(), ("--dry-run",)])
def test_where_pip_finds_no_way_nothing_is_changed(
    webui: Path, python: FakeEnvironment, tmp_path: Path, options: tuple[str, ...]
) -> None:
    python.add_all_but("flask")
    before, untouched = files(webui), python.contents()
    done = install(*options, "--python", python.python, webui, PIP_FIND_LINKS=str(tmp_path))
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "flask" in done.stderr and "nothing was changed" in done.stderr
    assert files(webui) == before and python.contents() == untouched


def test_a_dry_run_says_what_would_be_brought(
    webui: Path, python: FakeEnvironment, tmp_path: Path
) -> None:
    python.add_all_but("flask")
    before = files(webui)
    output = run(webui, python, all_wheels(tmp_path / "wheels"), "--dry-run")
    assert "flask 3.1" in output and files(webui) == before


def test_the_copy_has_no_list_that_the_webuis_updater_would_upgrade(
    webui: Path, python: FakeEnvironment, tmp_path: Path
) -> None:
    """`one_click.py` runs `pip install -r extensions/NAME/requirements.txt --upgrade` for all of them."""
    python.add_all_but()
    run(webui, python, tmp_path)
    assert not list(webui.rglob("requirements.txt"))


def test_an_environment_that_an_earlier_install_has_broken_is_repaired_on_the_users_word(
    tmp_path: Path, python: FakeEnvironment
) -> None:
    webui = plain_tree(tmp_path, "August 2024")
    earlier_install(webui)
    python.add("fastapi", "0.95.2", ["pydantic<2,>=1.6"])
    python.add_all_but()
    wheels = all_wheels(tmp_path / "wheels")
    make_wheel(wheels, "pydantic", "1.10.8")
    check = install("--check", "--python", python.python, webui)
    assert check.returncode == 1 and "pydantic<2,>=1.6" in check.stdout
    output = run(webui, python, wheels)
    assert '-m pip install "pydantic<2,>=1.6"' in output and "--repair-environment" in output
    run(webui, python, wheels, "--repair-environment")
    assert (python.packages / "pydantic-1.10.8.dist-info").exists()
    assert brought(webui)[0]["isolated"] is True


@pytest.mark.parametrize(
    "place",
    ["installer_files/env/bin/python", "installer_files/env/python.exe", "portable_env/bin/python3",
     "portable_env/python.exe", "venv/bin/python", "venv/Scripts/python.exe", ".venv/bin/python",
     "env/bin/python"],
)  # fmt: skip
def test_the_webuis_own_python_is_found(
    tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIRTUAL_ENV", str(tmp_path / "active"))
    active = tmp_path / "active" / "bin" / "python"
    for path in (active, tmp_path / "webui" / place):
        path.parent.mkdir(parents=True)
        path.touch()
    assert environment.find_python(tmp_path / "webui", None) == tmp_path / "webui" / place
    assert environment.find_python(tmp_path, None) == active
    active.unlink()
    with pytest.raises(RefusalError, match="--python"):
        environment.find_python(tmp_path, None)


@pytest.mark.parametrize(
    ("answer", "named"),
    [
        ('{"version": [3, 9, 18], "tag": null, "pip": null, "installed": {}}', "3.9.18"),
        ("no answer", "does not run"),
    ],
)
def test_a_python_that_does_not_do_is_refused(
    webui: Path, tmp_path: Path, answer: str, named: str
) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\necho '{answer}'\n")
    python.chmod(0o755)
    before = files(webui)
    done = install("--python", python, webui)
    assert done.returncode == 1 and named in done.stderr and done.stderr.count("\n") == 1
    assert files(webui) == before


def test_with_the_tests_own_environment_all_is_there(webui: Path) -> None:
    """It has what the extension needs; there is no network."""
    done = install("--python", sys.executable, webui)
    assert done.returncode == 0, done.stderr
    assert not (webui / "user_data" / "openedai").exists()
