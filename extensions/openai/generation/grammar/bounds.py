"""Limits the size of constraints: checked in one linear pass, before recursive or slower code reads them.

Constraints within these bounds are then tried in another process (`compiling/compiler.py`).
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from ...errors import InvalidRequest

MAX_GRAMMAR_LENGTH = 256 << 10  # characters of a grammar in GBNF or Lark
MAX_RULES = 2_000
MAX_ALTERNATIVES = 4_000  # in a whole grammar
MAX_NESTING = 64  # of brackets
MAX_PATTERN_LENGTH = 8_192  # characters of a regular expression
MAX_REPETITIONS = 10_000  # the largest count in a grammar or pattern
MAX_COUNT = 2**31 - 1  # the largest in a keyword of a schema, which costs the same whatever it is
MAX_SCHEMA_SIZE = 20_000  # values in a schema, all levels together
MAX_SCHEMA_TEXT = 512 << 10  # characters of its strings and keys, together
MAX_SCHEMA_DEPTH = 96  # of nested objects and arrays
MAX_MULTIPLE = 2_000  # of `multipleOf`, without its trailing zeros
MAX_ENUM = 5_000  # members of all `enum`s together
MAX_PROPERTIES = 5_000  # of all objects together
MAX_REFS = 2_000
MAX_CHOICES_LENGTH = 128 << 10  # characters of all choices together
LONG_CHARACTERS = 4 << 10  # a longer constraint takes a while to read


def refuse(param: str, problem: str) -> NoReturn:
    """Raise InvalidRequest about a constraint."""
    raise InvalidRequest(
        f"Invalid '{param}': it cannot be enforced: {problem}", param=param, code="invalid_value"
    )


_long_lock = threading.Lock()


@contextmanager
def one_at_a_time(length: int) -> Iterator[None]:
    """Read a constraint with this many characters in the block. Long ones are read one at a time: threads
    that compute share the interpreter with threads that stream, and would delay them."""
    if length <= LONG_CHARACTERS:
        yield
        return
    with _long_lock:
        yield


def check_count(param: str, what: str, count: int, limit: int) -> None:
    """Raise InvalidRequest, naming the limit, if there are more than `limit` of something."""
    if count > limit:
        refuse(param, f"it has {count} {what}; at most {limit} can be enforced.")


# A repetition's counts, including Lark's forms: {2}, {2,}, {,3}, ~2, ~2..3.
_NUMBER = re.compile(r"[0-9]+")


def check_pattern(pattern: str, param: str) -> None:
    """Raise InvalidRequest for a regular expression that is too long, too deep, or repeats too much."""
    check_count(param, "characters", len(pattern), MAX_PATTERN_LENGTH)
    depth, inside, at = 0, False, 0
    while at < len(pattern):
        character = pattern[at]
        at += 1
        if character == "\\":
            at += 1
        elif inside:
            inside = character != "]"
        elif character == "[":
            inside = True
        elif character == "(":
            depth += 1
            check_count(param, "nested groups", depth, MAX_NESTING)
        elif character == ")":
            depth -= 1
        elif character == "{":
            end = pattern.find("}", at, at + 24)
            _check_repetition(pattern[at : end if end >= 0 else at + 24], param)


def _check_repetition(counts: str, param: str) -> None:
    for number in _NUMBER.findall(counts):
        # Do not convert longer numbers: that takes quadratic time.
        if len(number) > 9 or int(number) > MAX_REPETITIONS:
            refuse(param, f"it repeats something {number[:12]} times; at most {MAX_REPETITIONS}.")


_LARK_PART = re.compile(
    r"""
      (?P<comment> (?: // | \# ) [^\n]* )
    | (?P<string> " (?: [^"\\\n] | \\. )* (?: "i? | $ ) )
    | (?P<regex> / (?: [^/\\\n] | \\. )+ / [imslux]* )
    | (?P<rule> ^ [ \t]* [!?]* [A-Za-z_][A-Za-z0-9_.]* (?: \[ [^\]\n]{0,500} \] )? [ \t]* : )
    | (?P<open> [(\[{] ) | (?P<close> [)\]}] ) | (?P<alternative> \| )
    | (?P<repetition> (?: ~ [ \t]* | \.\. [ \t]* ) [0-9]+ | (?<= \{ ) [0-9,\s]{1,40} (?= \} ) )
    """,
    re.VERBOSE | re.MULTILINE,
)


def check_lark(lark: str, param: str) -> None:
    """Raise InvalidRequest for a grammar in Lark that is too large in any respect."""
    check_count(param, "characters", len(lark), MAX_GRAMMAR_LENGTH)
    counts = dict.fromkeys(("rule", "alternative"), 0)
    depth = 0
    for part in _LARK_PART.finditer(lark):
        kind = part.lastgroup
        if kind == "open":
            depth += 1
            check_count(param, "nested brackets", depth, 2 * MAX_NESTING)
        elif kind == "close":
            depth = max(0, depth - 1)
        elif kind == "repetition":
            _check_repetition(part[0], param)
        elif kind == "regex":
            check_pattern(part[0][1:], param)
        elif kind in counts:
            counts[kind] += 1
    check_count(param, "rules", counts["rule"], MAX_RULES)
    check_count(param, "alternatives", counts["alternative"], MAX_ALTERNATIVES)


def place(param: str, path: tuple[Any, ...]) -> str:
    """A path inside a field, for errors: `tools[0].function.parameters.properties.x`."""
    return param + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
