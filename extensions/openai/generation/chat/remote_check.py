"""Checks that an answer of another server is what was demanded: servers leave out what they cannot do."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, replace

from ...engines.protocol import Pieces, ToolCallDelta
from ...errors import UpstreamFailed
from ..grammar.verify import answers
from ..tools.plan import ToolPlan
from .answer_shape import Wanted

log = logging.getLogger("openedai")


@dataclass(slots=True)
class _Call:
    """A call as far as it has come."""

    name: str = ""
    arguments: str = ""


def checked_answer(answer: Pieces, server: str, grammar: str | None, wanted: Wanted) -> Pieces:
    """The pieces of an answer; calls behind the first one are left out where one only is allowed.

    Raises UpstreamFailed before the last piece where the text, or a call, is not what was demanded. An answer
    that a limit cut cannot be checked.
    """
    text, calls = "", dict[int, _Call]()
    single = wanted.tools.max_calls == 1
    for piece in answer:
        if piece is None:
            yield None
            continue
        if single and piece.tool_calls:
            first = tuple(each for each in piece.tool_calls if not each.index)
            piece = replace(piece, tool_calls=first)
        text += piece.text
        for each in piece.tool_calls:
            _add(calls, each)
        if piece.finish not in (None, "length"):
            problem = _text_problem(text, grammar, wanted, has_calls=bool(calls))
            problem = problem or _calls_problem(list(calls.values()), wanted.tools)
            if problem:
                log.warning("%s: its answer is not what was demanded", server)
                raise UpstreamFailed(f"{server}, which has the model, {problem}")
        yield piece


def checked_text(pieces: Pieces, server: str, grammar: str, param: str) -> Pieces:
    """The same for the text of a completion."""
    return checked_answer(pieces, server, grammar, Wanted(grammar_param=param))


def _add(calls: dict[int, _Call], delta: ToolCallDelta) -> None:
    call = calls.setdefault(delta.index, _Call())
    call.name = call.name or delta.name or ""
    call.arguments += delta.arguments


def _text_problem(text: str, grammar: str | None, wanted: Wanted, *, has_calls: bool) -> str:
    if grammar is None or has_calls or wanted.tools.demanded:
        return ""
    if answers(text, grammar):
        return ""
    return (
        f"gave an answer that does not match '{wanted.grammar_param}'. Ask again, or another model."
    )


def _calls_problem(calls: list[_Call], plan: ToolPlan) -> str:
    demanded = {tool.name for tool in plan.demanded}
    if demanded and (not calls or not all(call.name in demanded for call in calls)):
        return f"did not make the call that was demanded of '{plan.param}'. Ask again, or another model."
    for call in calls:
        if not _is_good(call, plan):
            place = plan.places.get(call.name, plan.param)
            return f"made a call that does not match '{place}'. Ask again, or another model."
    return ""


def _is_good(call: _Call, plan: ToolPlan) -> bool:
    if (rule := plan.inputs.get(call.name)) is not None:
        try:
            given = json.loads(call.arguments)["input"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return False
        return isinstance(given, str) and answers(given, f"start: {rule}")
    rule = plan.schemas.get(call.name)
    return rule is None or answers(call.arguments or "{}", f"start: {rule}")
