"""Grammars are compiled before the engine gets them; what cannot be is a 400 that names the place."""

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

MAX_WHOLE_LENGTH = 2 << 20  # characters, as when many tools make one grammar
MAX_SEARCHED = 48  # schemas within a schema that are tried when the one that is wrong is looked for

Part = tuple[str, str]
"""A field, and the grammar of what it asks for alone."""


def compiled(
    grammar: str,
    param: str,
    info: EngineInfo,
    parts: Sequence[Part] = (),
    *,
    by: Compiler = compiler,
) -> Generator[None, None, None]:
    """Return when a grammar is known to be one that `info`'s model can be held to. Yields at least every
    TICK_S meanwhile.

    `param` is the field that it came from; `parts`: the fields, where it is made of several. Raises
    InvalidRequest with the place of what is wrong, QueueFull, EngineFailed.
    """
    check_count(param, "characters", len(grammar), MAX_WHOLE_LENGTH)
    vocabulary = _vocabulary(info)
    problem = yield from by.problem(grammar, vocabulary)
    if not problem:
        return
    for field, alone in parts or ((param, grammar),):
        found = yield from by.problem(alone, vocabulary)
        if found:
            param, problem = yield from _inside(alone, field, found, vocabulary, by)
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


def _inside(
    grammar: str, field: str, problem: str, vocabulary: Vocabulary | None, by: Compiler
) -> Generator[None, None, tuple[str, str]]:
    """The place in a field's schema that is wrong by itself, and what is wrong with it."""
    begin = "start: %json "
    if not grammar.startswith(begin) or problem in COSTS:
        return field, problem
    try:
        root: dict[str, Any] = json.loads(grammar[len(begin) :])
    except (ValueError, RecursionError):  # a grammar of the client's own
        return field, problem
    definitions = {key: root[key] for key in ("$defs", "definitions") if key in root}
    path: tuple[str | int, ...] = ()
    node: Any = root
    searched = 0
    while True:
        for step, child in _definitions_first(schema_children(node)):
            searched += 1
            if searched > MAX_SEARCHED:
                return place(field, path), problem
            if not isinstance(child, dict):
                continue
            alone = {**child, **definitions, "x-guidance": WHITESPACE}
            found = yield from by.problem(begin + json.dumps(alone), vocabulary)
            if found and "does not exist" not in found:  # a reference to what is not in here
                path, node, problem = (*path, *step), child, found
                break
        else:
            return place(field, path), problem


def _definitions_first(
    children: Iterable[tuple[tuple[str | int, ...], Any]],
) -> list[tuple[tuple[str | int, ...], Any]]:
    """What refers to something wrong is wrong as well, so that is looked at first."""
    return sorted(children, key=lambda child: child[0][0] not in ("$defs", "definitions"))
