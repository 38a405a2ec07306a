"""The documentation tells the truth: tables are up to date, nothing is left out, links lead somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from extensions.openai.errors import all_errors
from extensions.openai.generation.sampling.table import PARAMETERS
from extensions.openai.observability.logs import FIELDS
from extensions.openai.observability.metrics import METRICS
from extensions.openai.schemas.bad_request import CODES
from extensions.openai.settings import Settings
from extensions.openai.web.app import ENDPOINTS, ROUTES
from tests.agents.cases import table
from tests.agents.catalogue import IN_THE_MATRIX
from tests.support.examples import NOT_RUN, examples
from tests.support.process import ROOT

MAX_NOT_RUN = 6
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").glob("*.md")])


def read(page: str) -> str:
    return (ROOT / "docs" / page).read_text(encoding="utf-8")


def test_generated_tables_are_up_to_date() -> None:
    command = [sys.executable, str(ROOT / "scripts/generate_docs.py"), "--check"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_setting_is_documented() -> None:
    page = read("settings.md")
    for name in Settings.model_fields:
        assert f"`--{name.replace('_', '-')}`" in page


def test_every_parameter_is_documented() -> None:
    page = read("parameters.md")
    for row in PARAMETERS:
        for name in (row.name, *row.aliases):
            assert f"`{name}`" in page


def test_every_route_is_documented() -> None:
    page = read("api.md")
    for route in ROUTES:
        for address in route.addresses.value:
            path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", address + route.path)
            assert f"`{path}`" in page


def test_every_metric_and_field_of_the_log_is_documented() -> None:
    page = read("operations.md")
    for name in [*("openedai_" + row.name for row in METRICS), *FIELDS]:
        assert f"`{name}`" in page


def test_every_error_code_is_documented() -> None:
    page = read("errors.md")
    for code in [*CODES, *(error.code for error in all_errors() if error.code)]:
        assert f"`{code}`" in page


def test_every_code_in_the_source_is_documented() -> None:
    page = read("errors.md")
    for file in (ROOT / "extensions/openai").rglob("*.py"):
        for code in re.findall(r'code="(\w+)"', file.read_text(encoding="utf-8")):
            assert f"`{code}`" in page, f"{code} of {file.name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if not link.startswith("http"):
            assert (page.parent / link).exists(), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_tables_have_a_head(page: Path) -> None:
    """An empty line in a table ends it, and what follows is no table."""
    lines = [*page.read_text(encoding="utf-8").splitlines(), ""]
    for at, line in enumerate(lines):
        if line.startswith("| ") and not lines[at - 1].startswith("|"):
            assert re.fullmatch(r"\|( *:?-+:? *\|)+", lines[at + 1]), line


def test_the_version_is_told_once() -> None:
    from extensions.openai import __version__

    assert f'version = "{__version__}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f"## [{__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


MANY_ALIKE = ("loaders", "migrations")
"""Folders whose files are not drawn one by one."""


def test_the_tree_of_the_architecture_is_complete() -> None:
    """docs/architecture.md draws every module of the host and the extension, and no other. What an endpoint
    serves is in docs/api.md, so that a new one need not be drawn."""
    drawn = set(re.findall(r"\b(\w+\.py)\b", read("architecture.md").split("```")[1]))
    files = [*(ROOT / "host").rglob("*.py"), *(ROOT / "extensions" / "openai").rglob("*.py")]
    modules = {file.name for file in files} - {"__init__.py"}
    unlike = {file.name for file in files if file.parent.name not in MANY_ALIKE} - {"__init__.py"}
    assert drawn - {"server.py"} <= modules
    endpoints = {Path(str(each.__file__)).name for each in ENDPOINTS}
    assert unlike - drawn - endpoints == set()


def test_every_example_says_how_it_is_tried() -> None:
    """tests/whole/test_examples.py tries them as tests/support/examples.py describes."""
    assert len(examples()) > 30
    for each in examples():
        if each.language == "text":
            assert each.how is None, each.id
            continue
        assert each.language, f"{each.id}: a block without a language; is it `text`?"
        known = each.how in ("run", "stand-in", "agents") or (each.how or "").startswith(NOT_RUN)
        assert known, f"{each.id}: {each.how}"


def test_the_matrix_of_agents_is_the_tests_own() -> None:
    assert table(IN_THE_MATRIX) in read("coding-agents.md")


def test_each_recipe_of_a_client_is_linked() -> None:
    linked = set(re.findall(r"tests/clients/recipes/([\w.]+)", read("clients.md")))
    assert linked == {each.name for each in (ROOT / "tests/clients/recipes").glob("with_*")}


def test_few_are_not_run_and_each_says_why() -> None:
    reasons = [(each.how or "").removeprefix(NOT_RUN) for each in examples() if each.how]
    left = [each.id for each in examples() if (each.how or "").startswith(NOT_RUN)]
    assert len(left) <= MAX_NOT_RUN, left
    assert all(len(reason) > 2 for reason in reasons)
    for each in examples():
        for named in re.findall(r"tests/\S+\.py", each.how or ""):
            assert (ROOT / named).exists(), f"{each.id}: {named}"
