"""Converts pydantic's errors about a body to the one error that the client gets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from pydantic_core import ErrorDetails

from ..errors import InvalidRequest
from . import bad_request
from .field_names import closest_name

MAX_COMPARED_NAMES = 64
"""Fields of one object that are compared with the name of a missing one."""


def refusal(problems: Sequence[ErrorDetails], body: dict[str, Any]) -> InvalidRequest:
    """The error for a body with these problems."""
    first = problems[0]["loc"][:1]
    # A value of a union type fails once for each type; the deepest error is the most specific.
    candidates = [
        (problem, *_walk(problem, body)) for problem in problems if problem["loc"][:1] == first
    ]
    deepest = max(len(path) for _, path, _ in candidates)
    candidates = [candidate for candidate in candidates if len(candidate[1]) == deepest]
    # A wrong value of the right type is more specific than a wrong type.
    problem, path, value = min(candidates, key=lambda candidate: _is_type_error(*candidate[::2]))
    alternatives = [other for other, other_path, _ in candidates if other_path == path]
    return _to_invalid_request(problem, _param(path), value, alternatives)


def _is_type_error(problem: ErrorDetails, value: Any) -> bool:
    """Whether the value has the wrong JSON type."""
    if problem["type"] == "literal_error":
        return not isinstance(value, str)
    return problem["type"] in _EXPECTED and not _is_huge(value)


def _is_huge(value: Any) -> bool:
    """Whether it was an integer of more than 64 bits, which is parsed as a float."""
    return isinstance(value, float) and abs(value) >= 2**63


def _walk(problem: ErrorDetails, body: Any) -> tuple[list[str | int], Any]:
    """The path of a location inside the body (without the names of union members), and the value there: of a
    missing field the object that lacks it."""
    path: list[str | int] = []
    value = body
    is_member_named = False
    last = len(problem["loc"]) - 1
    for at, step in enumerate(problem["loc"]):
        if step == "[key]" and at == last:
            # The member's name is wrong, not its value; it may be long, so report the object.
            return path[:-1], path[-1]
        if not is_member_named and _names_member(value, problem, at):
            # Clients of another dialect put this value into a field of the member's name.
            is_member_named = True
            continue
        if isinstance(value, (dict, list)) and _has_step(value, step):
            value = value[step]  # type: ignore[index]  # see _has_step
            is_member_named = False
        elif problem["type"] != "missing" or at != last:
            is_member_named = is_member_named or "[" not in str(step)  # as `tagged-union[...]` has
            continue
        path.append(step)
    return path, value


def _names_member(value: Any, problem: ErrorDetails, at: int) -> bool:
    """Whether a step names the union member of the value; the next step is then a field of it."""
    steps = problem["loc"]
    if not isinstance(value, dict) or steps[at] not in (value.get("type"), value.get("role")):
        return False
    rest = steps[at + 1 :]
    return bool(rest) and (
        _has_step(value, rest[0]) or (problem["type"] == "missing" and len(rest) == 1)
    )


def _has_step(value: dict[str, Any] | list[Any], step: str | int) -> bool:
    if isinstance(value, dict):
        return step in value
    return isinstance(step, int) and step < len(value)


def _param(path: Sequence[str | int]) -> str:
    """`["messages", 0, "content"]` as `messages[0].content`."""
    param = ""
    for step in path:
        param += f"[{step}]" if isinstance(step, int) else f".{step}" if param else step
    return param


_EXPECTED = {
    "string_type": "a string",
    "int_type": "an integer",
    "int_from_float": "an integer",
    "float_type": "a decimal",
    "bool_type": "a boolean",
    "list_type": "an array",
    "tuple_type": "an array",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
    "none_required": "null",
    "literal_error": "a string",
}


def _to_invalid_request(
    problem: ErrorDetails, param: str, value: Any, alternatives: Sequence[ErrorDetails]
) -> InvalidRequest:
    """Convert one pydantic error."""
    kind = problem["type"]
    context = problem.get("ctx", {})
    if kind in ("int_type", "int_from_float") and _is_huge(value):
        low = -(2**63) if value < 0 else None
        return bad_request.out_of_range(param, value, low=low, high=2**63 - 1)
    if _is_type_error(problem, value):
        expected = dict.fromkeys(
            _EXPECTED[a["type"]] for a in alternatives if a["type"] in _EXPECTED
        )
        return bad_request.wrong_type(param, " or ".join(expected), value)
    if kind == "wrong_type":
        return bad_request.wrong_type(param, problem["msg"], value)
    if kind == "missing":
        return bad_request.missing(param, _misspelling(str(problem["loc"][-1]), value))
    if kind in ("greater_than_equal", "greater_than"):
        is_open = kind == "greater_than"
        low = context["gt" if is_open else "ge"]
        return bad_request.out_of_range(param, value, low=low, high=None, open_low=is_open)
    if kind in ("less_than_equal", "less_than", "finite_number", "int_parsing_size"):
        return bad_request.out_of_range(
            param, value, low=None, high=context.get("le", context.get("lt"))
        )
    if kind in ("too_short", "too_long", "string_too_short", "string_too_long"):
        name = "string" if kind.startswith("string") else "array"
        low, high = context.get("min_length", 0), context.get("max_length")
        return bad_request.wrong_length(param, name, len(value), low=low, high=high)
    if kind in ("literal_error", "union_tag_invalid", "unknown_member"):
        allowed = context.get("expected") or context["expected_tags"]
        names = allowed.replace(" or ", ", ").replace("'", "").split(", ")
        if kind != "literal_error":
            field = context["discriminator"].strip("'")
            param, value = f"{param}.{field}", value.get(field)
            if value is None:
                return bad_request.missing(param)
            if not isinstance(value, str):
                return bad_request.wrong_type(param, "a string", value)
        return bad_request.not_one_of(param, value, names)
    if kind == "union_tag_not_found":
        return bad_request.missing(f"{param}.{context['discriminator'].strip(chr(39))}")
    if kind == "string_pattern_mismatch":
        return bad_request.no_match(param, context["pattern"])
    if kind == "unsupported_parameter":
        return bad_request.unsupported(param, problem["msg"])
    return InvalidRequest(f"Invalid '{param}': {problem['msg']}", param=param, code="invalid_value")


def _misspelling(name: str, sent: Any) -> str | None:
    """The field among those sent that is one edit away from a missing one."""
    if not isinstance(sent, Mapping):
        return None
    names = islice((each for each in sent if isinstance(each, str)), MAX_COMPARED_NAMES)
    return next((each for each in names if closest_name(each, (name,), given=())), None)
