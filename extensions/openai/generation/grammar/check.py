"""Compiles grammars before the engine gets them; one that cannot be compiled is a 400 that names the
place."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable, Sequence
from typing import Any

from ...engines.protocol import EngineInfo
from ...errors import InvalidRequest
from .bounds import check_count, place
from .compiling.compiler import COSTS, Compiler, compiler
from .compiling.process import Vocabulary
from .json_schema import WHITESPACE, schema_children

MAX_COMBINED_CHARACTERS = 2 << 20  # of a grammar that combines many tools
MAX_SEARCHED_SCHEMAS = 48  # subschemas that are tried to find the invalid one

Part = tuple[str, str]
"""A field, and its own grammar."""


def compiled(
    grammar: str,
    param: str,
    info: EngineInfo,
    parts: Sequence[Part] = (),
    *,
    by: Compiler = compiler,
) -> Generator[None, None, None]:
    """Return once it is known that `info`'s model can follow the grammar. Yields at least every TICK_S until
    then.

    `param` is the grammar's field; `parts`: its fields, if it combines several. Raises InvalidRequest with
    the place of the problem, QueueFull, EngineFailed.
    """
    check_count(param, "characters", len(grammar), MAX_COMBINED_CHARACTERS)
    vocabulary = _vocabulary(info)
    problem = yield from by.problem(grammar, vocabulary)
    if not problem:
        return
    for field, alone in parts or ((param, grammar),):
        found = yield from by.problem(alone, vocabulary)
        if found:
            param, problem = yield from _locate(alone, field, found, vocabulary, by)
            break
    raise InvalidRequest(
        f"Invalid '{param}': it cannot be enforced: {problem[:500]}",
        param=param,
        code="invalid_value",
    )


def _vocabulary(info: EngineInfo) -> Vocabulary | None:
    if info.token_bytes is None:
        return None
    return Vocabulary(info.token_bytes, min(info.end_tokens, default=len(info.token_bytes) - 1))


def _locate(
    grammar: str, field: str, problem: str, vocabulary: Vocabulary | None, by: Compiler
) -> Generator[None, None, tuple[str, str]]:
    """The innermost invalid subschema of a field's schema, and its problem."""
    begin = "start: %json "
    if not grammar.startswith(begin) or problem in COSTS:
        return field, problem
    try:
        root: dict[str, Any] = json.loads(grammar[len(begin) :])
    except (ValueError, RecursionError):  # the client's own grammar
        return field, problem
    definitions = {key: root[key] for key in ("$defs", "definitions") if key in root}
    path: tuple[str | int, ...] = ()
    node: Any = root
    searched = 0
    while True:
        for step, child in _definitions_first(schema_children(node)):
            searched += 1
            if searched > MAX_SEARCHED_SCHEMAS:
                return place(field, path), problem
            if not isinstance(child, dict):
                continue
            alone = {**child, **definitions, "x-guidance": WHITESPACE}
            found = yield from by.problem(begin + json.dumps(alone), vocabulary)
            if found and "does not exist" not in found:  # a reference to outside this subschema
                path, node, problem = (*path, *step), child, found
                break
        else:
            return place(field, path), problem


def _definitions_first(
    children: Iterable[tuple[tuple[str | int, ...], Any]],
) -> list[tuple[tuple[str | int, ...], Any]]:
    """Check definitions first, because references to an invalid one fail too."""
    return sorted(children, key=lambda child: child[0][0] not in ("$defs", "definitions"))
