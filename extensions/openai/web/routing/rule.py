"""A rule of Werkzeug's router that is cheap to make."""

from __future__ import annotations

from collections.abc import Callable

from werkzeug.routing import Rule


class MatchingRule(Rule):
    """Compiles what builds a URL when one is built, which is hardly ever: for some 300 rules it takes 70 ms,
    nine tenths of what an application takes to be made."""

    def _compile_builder(self, append_unknown: bool = True) -> Callable[..., tuple[str, str]]:
        compile_builder = super()._compile_builder

        def build(rule: Rule, **values: object) -> tuple[str, str]:
            return compile_builder(append_unknown)(rule, **values)

        return build
