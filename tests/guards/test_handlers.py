"""Handlers only translate; how a request is carried out stands once, in `generation/plan.py`."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path
from types import ModuleType

import pytest

from extensions.openai import chat, completions
from extensions.openai.web.app import ROUTES
from extensions.openai.web.routing.routes import Route

LONGEST_HANDLER = 25  # lines
OF_THE_PLAN = {
    "generation.answer_size",
    "generation.best_of",
    "generation.hooks",
    "generation.run",
    "generation.sampling.policy",
    "generation.stop_strings",
    "limits.scheduler",
}
"""What only the plan may use of all that stands between a request and its events."""


def handler_lines(route: Route) -> int:
    tree = ast.parse(Path(inspect.getfile(route.handler)).read_text("utf-8"))
    (found,) = (
        node
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and node.name == route.handler.__name__
    )
    assert found.end_lineno is not None
    return found.end_lineno - found.lineno + 1


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_no_handler_is_long(route: Route) -> None:
    assert handler_lines(route) <= LONGEST_HANDLER


@pytest.mark.parametrize("endpoint", [chat, completions], ids=lambda module: module.__name__)
def test_endpoints_leave_the_work_to_the_plan(endpoint: ModuleType) -> None:
    tree = ast.parse(inspect.getsource(endpoint))
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            module = node.module or ""
            imported |= {module, *(f"{module}.{name.name}" for name in node.names)}
        elif isinstance(node, ast.Import):
            imported |= {name.name for name in node.names}
    assert "generation.plan" in imported
    for name in imported:
        assert not any(f"{name}.".startswith(f"{module}.") for module in OF_THE_PLAN), name
