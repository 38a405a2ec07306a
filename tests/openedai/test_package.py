"""The wheel: it brings all, clashes with nothing, and works from any folder without the source tree."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support.process import ROOT, ServerProcess


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built of this tree, with the packages that are there."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", str(folder), str(ROOT)], check=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def site(wheel: Path) -> Path:
    """Where it is installed, by itself."""
    folder = wheel.parent / "site"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*command, "--target", str(folder), str(wheel)], check=True)
    return folder


def environment(site: Path, home: Path) -> Mapping[str, str]:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("OPENEDAI_", "OPENAI_"))}
    return inherited | {"PYTHONPATH": str(site), "XDG_DATA_HOME": str(home / "data")}


def openedai(site: Path, home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(site / "bin/openedai"), *arguments],
        cwd=home,
        env=environment(site, home),
        capture_output=True,
        text=True,
        check=False,
    )


def test_all_is_below_one_name(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {"openedai", "openedai-0.1.0.dist-info"}
    for name in (
        "__main__.py",
        "commands/run.py",
        "host/main.py",
        "host/requirements.txt",
        "extensions/openai/script.py",
        "extensions/openai/requirements.txt",
        "models/openedai-tiny/openedai-tiny.gguf",
    ):
        assert f"openedai/{name}" in names
    unwanted = ("/tests/", "/training/", "__pycache__", "user_data", ".safetensors")
    assert not [name for name in names if any(word in name for word in unwanted)]


def test_every_module_is_in_it(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder, inside in (
        ("openedai", "openedai"),
        ("host", "openedai/host"),
        ("extensions/openai", "openedai/extensions/openai"),
    ):
        for file in (ROOT / folder).rglob("*.py"):
            assert f"{inside}/{file.relative_to(ROOT / folder).as_posix()}" in names


def test_what_it_needs(wheel: Path) -> None:
    metadata = zipfile.ZipFile(wheel).read("openedai-0.1.0.dist-info/METADATA").decode()
    needed = {
        line.split(":")[1].strip() for line in metadata.splitlines() if "Requires-Dist" in line
    }
    for name in ("flask", "waitress", "xllamacpp", "huggingface"):
        assert any(each.startswith(name) and "extra" not in each for each in needed), name


def test_data_is_in_the_users_home(site: Path, tmp_path: Path) -> None:
    version = openedai(site, tmp_path, "version").stdout
    assert f"program in {site / 'openedai'}\n" in version
    assert f"data in {tmp_path / 'data/openedai'}\n" in version
    made = openedai(site, tmp_path, "keys", "create", "--name", "alice")
    assert made.stdout.startswith("sk-alice-")
    assert (tmp_path / "data/openedai/keys.secret").is_file()
    listed = json.loads(openedai(site, tmp_path, "models", "--json").stdout)
    assert [(each["name"], each["loaded"]) for each in listed] == [("openedai-tiny", True)]
    assert not list((site / "openedai").rglob("user_data"))


def test_it_serves_and_chats_from_any_folder(site: Path, tmp_path: Path) -> None:
    (tmp_path / "host").mkdir()
    (tmp_path / "host/main.py").write_text("raise SystemExit('the wrong host')")
    server = ServerProcess(
        "--loader",
        "echo",
        environment=dict(environment(site, tmp_path)),
        checkout=tmp_path,
        program=("-m", "openedai", "run"),
    )
    try:
        server.wait_until_ready()
        answer = openedai(site, tmp_path, "chat", "--base-url", f"{server.url}/v1", "hello")
        assert (answer.returncode, answer.stderr) == (0, "") and "hello" in answer.stdout
        check = openedai(site, tmp_path, "check", "--port", str(server.port))
        assert check.returncode == 0 and f"{server.port} has a server that answers" in check.stdout
    finally:
        server.stop()
    check = openedai(site, tmp_path, "check", "--port", "0")
    assert check.returncode == 0, check.stdout
