"""What only some engines can, asked as the server asks for it."""

from __future__ import annotations

from collections.abc import Sequence

from extensions.openai.engines.protocol import Infill, Scorer, Scores, TextEngine, ask, run_on


def score(engine: TextEngine, tokens: Sequence[int], alternatives: int) -> Scores:
    return run_on(engine, Scorer, lambda scorer: scorer.score(tokens, alternatives))


def infill(engine: TextEngine, before: str | tuple[int, ...], after: str) -> tuple[int, ...]:
    return ask(engine, Infill, lambda each: each.infill(before, after))
