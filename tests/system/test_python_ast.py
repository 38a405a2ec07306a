"""Parsing Python in several threads at once."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pytest

from extensions.openai.system import python_ast

CALLS = "[f(a=[1, 2, {'k': 'v'}], b=-1), g(c='x')]\n" * 20


class Garbage:
    """A cycle whose collection runs Python, in which threads switch while a tree is made."""

    def __init__(self) -> None:
        self.myself = self

    def __del__(self) -> None:
        for _ in range(20):
            pass


@pytest.fixture
def threads_switch_often() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


T = TypeVar("T")


def _at_once(read: Callable[[str], T], source: str) -> list[T]:
    def read_many(_: int) -> list[T]:
        found = []
        for _ in range(200):
            Garbage()
            found.append(read(source))
        return found

    with ThreadPoolExecutor(6) as pool:
        return [value for values in pool.map(read_many, range(6)) for value in values]


def test_threads_parse_at_once(threads_switch_often: None) -> None:
    assert {len(tree.body) for tree in _at_once(python_ast.parse, CALLS)} == {20}


def test_threads_read_literals_at_once(threads_switch_often: None) -> None:
    value = [{"k": [1, -2.5, None, True, "x"]}] * 20
    assert all(found == value for found in _at_once(python_ast.literal, str(value)))


@pytest.mark.parametrize("source", ["[", "f(", "a b", "\0"])
def test_what_is_no_python(source: str) -> None:
    for read in (python_ast.parse, python_ast.literal):
        with pytest.raises((SyntaxError, ValueError)):
            read(source)
