"""Imports point down the list of layers in docs/architecture.md, and in no circle. Read from the source."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.support.process import ROOT

PACKAGE = "extensions.openai"
FOLDER = ROOT / "extensions" / "openai"
LAYERS: tuple[tuple[str, ...], ...] = (
    ("script", "__main__"),
    ("hosts",),
    ("server",),
    ("web.app",),
    ("endpoints",),
    ("web",),
    ("dialects",),
    ("generation",),
    ("state", "observability"),
    ("limits",),
    ("access", "outbound"),
    ("engines",),
    ("schemas",),
    ("configuration", "settings", "errors", "system"),
)
"""From the top down. A name stands for itself and what is below it; the longest that fits counts. `endpoints`
are the other files at the top."""
_OF_A_RECORD = (
    "A limit is asked with the record of a request: a plain value, whose caller it reads."
)
EXCEPTIONS = {
    ("limits.active_requests", "observability.record"): _OF_A_RECORD,
    ("limits.rate_limits", "observability.record"): _OF_A_RECORD,
    ("limits.units", "observability.record"): _OF_A_RECORD,
}
"""(what imports, what it imports): why it may."""


def name_of(file: Path) -> str:
    """`web.app` for web/app.py, `web` for web/__init__.py, an empty text for the package itself."""
    parts = file.relative_to(FOLDER).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {name_of(file): file for file in sorted(FOLDER.rglob("*.py"))}


@cache
def imports(name: str) -> tuple[tuple[str, str], ...]:
    """What a module imports, wherever it does so: full names of modules, each with what is taken from it."""
    return tuple(_imports(FILES[name], name))


def _imports(file: Path, name: str) -> Iterator[tuple[str, str]]:
    package = name.split(".") if file.stem == "__init__" else name.split(".")[:-1]
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for each in node.names:
                yield each.name, ""
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1]
            start = [PACKAGE, *filter(None, above)] if node.level else []
            module = ".".join([*start, *([node.module] if node.module else [])])
            for each in node.names:
                yield module, each.name


def ours(name: str) -> set[str]:
    """The modules of the package that one of its modules imports."""
    found = set()
    for module, taken in imports(name):
        if module == PACKAGE or module.startswith(f"{PACKAGE}."):
            inner = module.removeprefix(PACKAGE).removeprefix(".")
            whole = f"{inner}.{taken}".removeprefix(".")
            found.add(whole if whole in FILES else inner)
    return found - {"", name}


def layer(name: str) -> int:
    """Its place in LAYERS."""
    within = name
    while within:
        for place, names in enumerate(LAYERS):
            if within in names:
                return place
        within = within.rpartition(".")[0]
    assert name in FILES and FILES[name].parent == FOLDER, f"{name} stands in no layer"
    return LAYERS.index(("endpoints",))


GRAPH = {name: ours(name) for name in FILES if name}


@pytest.mark.parametrize("name", GRAPH)
def test_imports_point_down(name: str) -> None:
    up = {
        other
        for other in GRAPH[name]
        if layer(other) < layer(name) and (name, other) not in EXCEPTIONS
    }
    assert not up, f"{name} imports from above"


def test_each_exception_is_still_one() -> None:
    assert all(other in GRAPH[name] and layer(other) < layer(name) for name, other in EXCEPTIONS)


def test_no_import_goes_round() -> None:
    """Through packages' own files too: whose module is imported, its package was before."""
    tuple(TopologicalSorter(GRAPH).static_order())


def test_the_list_is_that_of_the_architecture() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    found = re.search(r"Imports point down this list: (.+?)\.\s", text, re.DOTALL)
    assert found is not None
    output = [word for word in re.findall(r"[a-z.]+", found[1]) if word not in ("and", "then")]
    assert output == [name for names in LAYERS for name in names if name != "__main__"]


def outside(name: str) -> set[str]:
    """What a module imports that is not of the package: the first names."""
    return {
        module.partition(".")[0] for module, _ in imports(name) if not module.startswith(PACKAGE)
    }


@pytest.mark.parametrize("folder", ["generation", "engines"])
def test_what_makes_answers_knows_no_flask(folder: str) -> None:
    names = [name for name in GRAPH if name.split(".")[0] == folder]
    assert names
    assert not [name for name in names if outside(name) & {"flask", "werkzeug", "waitress"}]


def test_only_one_folder_imports_llama_cpp() -> None:
    users = {name for name in GRAPH if "xllamacpp" in outside(name)}
    assert users and all(name.startswith("engines.llamacpp.") for name in users)
