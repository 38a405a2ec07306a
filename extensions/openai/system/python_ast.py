"""Parse Python source, one text at a time.

Before CPython 3.11.5 and 3.12 all threads share the counter of `ast.parse`, which fails with SystemError
("AST constructor recursion depth mismatch") when two of them parse at once.
"""

from __future__ import annotations

import ast
import threading
from typing import Any

_one_at_a_time = threading.Lock()


def parse(source: str, filename: str = "<unknown>") -> ast.Module:
    """`ast.parse`. Raises SyntaxError, ValueError, RecursionError or MemoryError. Thread-safe."""
    with _one_at_a_time:
        return ast.parse(source, filename)


def literal(source: str) -> Any:
    """`ast.literal_eval`. Raises what `parse` does, and TypeError. Thread-safe."""
    with _one_at_a_time:
        expression = ast.parse(source.strip(), mode="eval")
    return ast.literal_eval(expression)
