"""A rule of Werkzeug's router that is cheap to make."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from werkzeug.routing import BaseConverter, Rule
from werkzeug.routing.rules import RulePart


@dataclass(frozen=True, slots=True)
class _Parsed:
    """What the text of a path says; the same in every application, as all have Werkzeug's own converters."""

    parts: tuple[RulePart, ...]
    trace: tuple[tuple[bool, str], ...]
    converters: Mapping[str, BaseConverter]


_parsed: dict[str, _Parsed] = {}
"""By the texts of paths, of which there are some hundreds."""


class MatchingRule(Rule):
    """Reads the text of a path once for all applications, and compiles what builds a URL when one is
    built, which is hardly ever. These would be most of what an application takes to be made, and most of
    its objects, through which the garbage collector goes."""

    def _parse_rule(self, rule: str) -> Iterable[RulePart]:
        found = _parsed.get(rule)
        if found is not None:
            self._trace.extend(found.trace)
            self._converters.update(found.converters)
            self.arguments.update(found.converters)
            return found.parts
        before, others = len(self._trace), set(self._converters)
        parts = tuple(super()._parse_rule(rule))
        own = {name: each for name, each in self._converters.items() if name not in others}
        _parsed[rule] = _Parsed(parts, tuple(self._trace[before:]), own)
        return parts

    def _compile_builder(self, append_unknown: bool = True) -> Callable[..., tuple[str, str]]:
        return _build_with_query if append_unknown else _build


def _build(rule: Rule, **values: Any) -> tuple[str, str]:
    return Rule._compile_builder(rule, False)(rule, **values)


def _build_with_query(rule: Rule, **values: Any) -> tuple[str, str]:
    return Rule._compile_builder(rule, True)(rule, **values)
