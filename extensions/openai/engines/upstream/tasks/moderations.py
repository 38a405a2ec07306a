"""Moderation by another server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...callback_bridge import Emit
from ...moderators import Judgement, Judgements, ModerationSteps
from ...remote.estimates import tokens_in
from .exchange import Exchanges, read_leniently


def moderate(inputs: Any, exchanges: Exchanges) -> ModerationSteps:
    """What it says of the inputs, by `POST /moderations`."""

    def work(emit: Emit[Judgements | None]) -> None:
        answer = exchanges.json("/moderations", {"input": inputs}, emit)
        with read_leniently():
            judged = tuple(map(_judgement, answer["results"]))
            if len(judged) != _results(inputs):
                raise ValueError
        emit(Judgements(judged, _tokens(inputs)))

    return exchanges.begin(work)


def _judgement(said: Mapping[str, Any]) -> Judgement:
    categories = {
        str(name): value for name, value in said["categories"].items() if value is not None
    }
    scores = {
        str(name): float(value)
        for name, value in said["category_scores"].items()
        if value is not None
    }
    if not isinstance(said["flagged"], bool) or not all(
        isinstance(each, bool) for each in categories.values()
    ):
        raise TypeError
    types = said.get("category_applied_input_types") or {}
    return Judgement(
        said["flagged"],
        categories,
        scores,
        {str(name): [str(each) for each in value] for name, value in types.items()},
    )


def _results(inputs: Any) -> int:
    """One for each text; parts of a message are judged together."""
    is_several = isinstance(inputs, list) and all(isinstance(each, str) for each in inputs)
    return len(inputs) if is_several else 1


def _tokens(inputs: Any) -> int:
    if isinstance(inputs, str):
        return tokens_in(inputs)
    return sum(
        tokens_in(each if isinstance(each, str) else each.get("text", "")) for each in inputs
    )
