"""What the project says of itself in more than one place."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import host

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return found


def test_one_version(project: dict[str, Any]) -> None:
    assert project["version"] == host.__version__


def test_the_extras_are_there_and_the_dependencies_are_read_from_one_file(
    project: dict[str, Any],
) -> None:
    assert {"test", "dev"} <= set(project["optional-dependencies"])
    assert project["dynamic"] == ["dependencies"]


def test_the_host_starts_without_what_only_some_need() -> None:
    """--help must not wait for the hub's library, YAML or an HTTP server of the host's own."""
    script = "import sys, host.main; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"yaml", "huggingface_hub", "flask", "xllamacpp"} & set(loaded)


def test_openai_is_the_sdk_and_not_our_extension() -> None:
    openai = pytest.importorskip("openai")
    assert ROOT not in Path(openai.__file__).parents or ".venv" in openai.__file__


def test_an_old_python_is_told_so() -> None:
    """server.py must be readable for old versions, or the reason is lost in a SyntaxError."""
    source = (ROOT / "server.py").read_text()
    compile(source, "server.py", "exec", dont_inherit=True)
    assert "sys.version_info < (3, 10)" in source.split("from host")[0]
