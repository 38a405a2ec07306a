"""The tests themselves: each one asserts something, none ends before it does, none sleeps for long, and none
reaches into what is private."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tests.support.process import ROOT

TESTS = ROOT / "tests"
RAISING = {"raises", "warns", "fail", "check_returncode"}
NO_LONGER_THAN = 1.0  # seconds
MEANS_THAT_IT_DOES_NOT_RAISE = {
    "test_the_right_key_opens",
    "test_without_a_key_of_ours_any_key_will_do",
    "test_the_same_key_twice_and_another_scheme_are_fine",
    "test_no_two_accounts_are_one",
    "test_loopback_names_are_let_in",
    "test_a_page_of_this_machine_is_let_in",
    "test_damage_in_the_head_never_raises_anything_else",
    "test_no_import_goes_round",
}
SLEEPS: dict[str, str] = {
    "tests/support/stand_in_cloudflared.py": "a program that hangs; it is killed",
}


@cache
def trees() -> dict[str, ast.Module]:
    paths = sorted(TESTS.rglob("*.py"))
    return {str(path.relative_to(ROOT)): ast.parse(path.read_text("utf-8")) for path in paths}


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def called(node: ast.AST) -> str:
    """The last name of what is called; empty where it is no call."""
    if not isinstance(node, ast.Call):
        return ""
    if isinstance(node.func, ast.Attribute):
        return node.func.attr
    if isinstance(node.func, ast.Name):
        return node.func.id
    # Seldom: to write out each call of all tests takes seconds.
    return ast.unparse(node.func).rpartition(".")[2]


@cache
def asserting() -> frozenset[str]:
    """Names of functions that assert, by themselves or in one that they call."""
    bodies = {
        each: set(map(called, ast.walk(each)))
        for tree in trees().values()
        for each in functions(tree)
    }
    found = set(RAISING)
    found |= {
        each.name for each in bodies if any(isinstance(n, ast.Assert) for n in ast.walk(each))
    }
    while more := {each.name for each, calls in bodies.items() if calls & found} - found:
        found |= more
    return frozenset(found)


def own(function: ast.FunctionDef) -> Iterator[ast.AST]:
    """The nodes of a function without those of functions inside of it."""
    waiting: list[ast.AST] = list(function.body)
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, ast.FunctionDef | ast.Lambda):
            waiting += ast.iter_child_nodes(node)


def every_test() -> Iterator[tuple[str, ast.FunctionDef]]:
    for path, tree in trees().items():
        if Path(path).name.startswith("test_"):
            yield from ((path, each) for each in functions(tree) if each.name.startswith("test_"))


def test_each_test_asserts_something() -> None:
    silent = {
        each.name: path
        for path, each in every_test()
        if each.name not in MEANS_THAT_IT_DOES_NOT_RAISE
        and not any(isinstance(n, ast.Assert) or called(n) in asserting() for n in ast.walk(each))
    }
    assert not silent


def test_none_returns_before_it_asserts() -> None:
    early = []
    for path, each in every_test():
        nodes = list(own(each))
        lines = [n.lineno for n in nodes if isinstance(n, ast.Return) and n.value is None]
        first = min(
            (
                n.lineno
                for n in ast.walk(each)
                if isinstance(n, ast.Assert)
                or (isinstance(n, ast.Call) and called(n) in asserting())
            ),
            default=0,
        )
        early += [f"{path}:{line} {each.name}" for line in lines if line < first]
    assert not early, "select the cases that mean something when they are collected"


def test_none_sleeps_for_long() -> None:
    long = {
        f"{path}:{node.lineno}"
        for path, tree in trees().items()
        for node in ast.walk(tree)
        if called(node) in ("sleep", "wait")
        and isinstance(node, ast.Call)
        and ast.unparse(node.func) in ("time.sleep", "threading.Event().wait")
        and node.args
        and isinstance(node.args[0], ast.Constant)
        and node.args[0].value > NO_LONGER_THAN
    }
    assert {each.partition(":")[0] for each in long} <= set(SLEEPS), long


PRODUCT = ("extensions", "host", "openedai", "benchmarks", "scripts")
PRIVATE = re.compile(r"_[a-z]\w*", re.IGNORECASE)
SETTERS = ("setattr", "getattr", "delattr", "object")
OF_OTHERS = {
    "_actions": "argparse",
    "_client": "the official client",
    "_generate_reply": "a web UI",
    "_exit": "os",
}
"""Names that others have, too."""


@cache
def private_names() -> frozenset[str]:
    """Names that begin with an underscore, of what the product defines."""
    found: set[str] = set()
    for path in (file for folder in PRODUCT for file in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                found.add(node.name)
            elif isinstance(node, ast.Attribute | ast.Name) and isinstance(node.ctx, ast.Store):
                found.add(node.attr if isinstance(node, ast.Attribute) else node.id)
    return frozenset(filter(PRIVATE.fullmatch, found)) - OF_OTHERS.keys()


def reached(node: ast.AST) -> Iterator[str]:
    """Names of others' attributes that a piece of code uses."""
    if isinstance(node, ast.Attribute):
        if not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")):
            yield node.attr
    elif isinstance(node, ast.ImportFrom):
        yield from (each.name for each in node.names)
    elif isinstance(node, ast.Call) and called(node) in SETTERS:
        constants = (each.value for each in node.args if isinstance(each, ast.Constant))
        yield from (value for value in constants if isinstance(value, str))


def test_none_reaches_into_what_is_private() -> None:
    assert {"_sockets", "_lock", "_holder"} <= private_names()
    private = [
        f"{path}:{getattr(node, 'lineno', 0)} {name}"
        for path, tree in trees().items()
        for node in ast.walk(tree)
        for name in reached(node)
        if name in private_names()
    ]
    assert not private, "look at what it does, or give it a public way to be seen"
