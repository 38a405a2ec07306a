"""One server process that loads the models of the families by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.families.served import Served
from tests.support.families import FAMILIES, Family
from tests.support.scripted_model import Script

Speak = Callable[..., Served]


@pytest.fixture(scope="module", params=FAMILIES.values(), ids=lambda family: family.name)
def family(request: pytest.FixtureRequest) -> Family:
    """Each family in turn."""
    value: Family = request.param
    return value


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("families")


@pytest.fixture(scope="session")
def _server(folder: Path) -> Iterator[Served]:
    FAMILIES["qwen3"].write(folder, [Script("answer", "Hello.")])
    served = Served(folder, "qwen3")
    yield served
    served.stop()


@pytest.fixture(scope="session")
def speak(_server: Served, folder: Path) -> Speak:
    """Let the server load a model of this family that knows these scripts."""

    def load(family: Family, scripts: dict[str, str], *, in_bytes: bool = False) -> Served:
        made = [Script(name, text, in_bytes=in_bytes) for name, text in scripts.items()]
        _server.load(family, made)
        return _server

    return load
