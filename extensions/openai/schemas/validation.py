"""From the bytes of a body to a typed request, or to the one 400 that names what is wrong."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import UnionType
from typing import Annotated, Any, ClassVar, TypeVar, Union, get_args, get_origin

import orjson
from annotated_types import MaxLen
from pydantic import AliasChoices, BaseModel, ConfigDict, GetCoreSchemaHandler, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, ErrorDetails, PydanticCustomError, core_schema

from ..errors import InvalidRequest
from . import bad_request
from .field_names import meant_by
from .json_bounds import check_bounds


def _fail_fast(schema: Any) -> None:
    """Let all lists in a schema of pydantic's stop at their first wrong element."""
    waiting = [schema]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            if node.get("type") == "list":
                node["fail_fast"] = True
            waiting += node.values()
        elif isinstance(node, (list, tuple)):
            waiting += node


class RequestPart(BaseModel):
    """What a request body and its parts have in common: strict types, unknown fields are let through.

    Of each list only the first wrong element is reported, and the rest is not looked at.
    """

    model_config = ConfigDict(strict=True, extra="allow", frozen=True, hide_input_in_errors=True)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        schema = handler(source)
        _fail_fast(schema)
        return schema


class RequestModel(RequestPart):
    """A request body. Types are strict, as JSON Schema means them."""

    refused: ClassVar[Mapping[str, tuple[Any, ...]]] = {}
    """Names that other servers know and that would change the answer, with the values that would not."""

    @property
    def left_out(self) -> list[str]:
        """Places in it of what is known and has no effect here, for a response header."""
        return []

    always_strict: ClassVar[bool] = False
    """Unknown fields are always refused, as a misspelt one would do harm."""


log = logging.getLogger("openedai")
MAX_LOGGED = 256  # names
_logged: set[str] = set()

Body = TypeVar("Body", bound=RequestModel)


MAX_FIELDS = 1000
"""Names at the top of a body; the API has about 200."""
MAX_PARTS = 16_384
"""What the elements of an array may hold in arrays of their own, as messages hold parts and calls."""


@dataclass(frozen=True, slots=True)
class Unsupported:
    """Marks a field that is known but not served: only values that change nothing are let through."""

    neutral: tuple[Any, ...] = ()

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def _check(self, value: Any) -> Any:
        if value is not None and value not in self.neutral:
            raise PydanticCustomError(
                "unsupported_parameter", "is not supported by this server yet."
            )
        return value


def parse(model: type[Body], data: bytes, *, strict: bool = False) -> Body:
    """Validate a JSON body; `strict` refuses fields that are not known.

    Raises InvalidRequest, with the first problem's `param` and `code`.
    """
    check_bounds(data)
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(
            f"The body of the request is not valid JSON: {error.msg} (line {error.lineno}, column "
            f"{error.colno}).",
            code="invalid_json",
        ) from None
    return check(model, value, strict=strict)


def parse_query(model: type[Body], given: Any) -> Body:
    """Validate what is behind the `?` (a werkzeug MultiDict); a list comes as `name=a&name=b`, as
    `name[]=a&name[]=b`, or with commas. Raises InvalidRequest, as `parse`."""
    values: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        texts = [*given.getlist(name), *given.getlist(f"{name}[]")]
        kind = str(field.annotation)
        if not texts:
            continue
        if "list[" in kind:
            values[name] = ",".join(texts).split(",")
        elif "int" in kind and re.fullmatch(r"-?\d{1,18}", texts[-1]):
            values[name] = int(texts[-1])
        elif "bool" in kind and texts[-1] in ("true", "false"):
            values[name] = texts[-1] == "true"
        else:
            values[name] = texts[-1]
    return check(model, values)


def check(model: type[Body], value: Any, *, strict: bool = False) -> Body:
    """The same for a body that is parsed already."""
    if not isinstance(value, dict):
        raise InvalidRequest(
            f"The body of the request must be a JSON object, but it is {bad_request.kind_of(value)}.",
            code="invalid_type",
        )
    _check_lengths(model, value)
    _check_depth(value)
    try:
        body = model.model_validate(value)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False)
        raise _refusal(problems, value) from None
    _check_unknown(body, strict or model.always_strict)
    return body


def _check_lengths(model: type[RequestModel], body: dict[str, Any]) -> None:
    """Refuse fields with more elements than they may have, before each of them is looked at."""
    if len(body) > MAX_FIELDS:
        raise InvalidRequest(
            f"The body of the request has more than {MAX_FIELDS} fields.", code="too_many_values"
        )
    for name, longest in _longest(model).items():
        value = body.get(name)
        most = longest.get(type(value))
        if most is not None and len(value) > most:  # type: ignore[arg-type]  # a list or an object
            kind = "array" if isinstance(value, list) else "object"
            raise bad_request.wrong_length(name, kind, len(value), high=most)  # type: ignore[arg-type]
        if isinstance(value, list) and _parts_in(value) > MAX_PARTS:
            raise InvalidRequest(
                f"Invalid '{name}': the elements hold more than {MAX_PARTS} parts together.",
                param=name,
                code="too_many_values",
            )


def _parts_in(elements: Sequence[Any]) -> int:
    """How many elements there are in arrays right below these."""
    return sum(
        len(each)
        for element in elements
        if isinstance(element, dict)
        for each in element.values()
        if isinstance(each, list)
    )


@cache
def _longest(model: type[RequestModel]) -> Mapping[str, Mapping[type, int]]:
    """How many elements lists and objects may have, by all names of the fields that have a bound."""
    found: dict[str, Mapping[type, int]] = {}
    for name, field in model.model_fields.items():
        bounds: dict[type, int | None] = {}
        _bounds_in(field.annotation, _max_length(field.metadata), bounds)
        known = {kind: most for kind, most in bounds.items() if most is not None}
        if known:
            found |= dict.fromkeys((name, *_aliases(field)), known)
    return found


def _bounds_in(annotation: Any, most: int | None, bounds: dict[type, int | None]) -> None:
    """Note the bound of each kind of container that a type allows, None where one of them has none.

    `most` is what is said around the type."""
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *metadata = get_args(annotation)
        _bounds_in(inner, _max_length(metadata) or most, bounds)
    elif origin in (Union, UnionType):
        for each in get_args(annotation):
            _bounds_in(each, most, bounds)
    elif origin in (list, dict):
        before = bounds.get(origin, 0)
        bounds[origin] = None if most is None or before is None else max(most, before)


def _max_length(metadata: Sequence[Any]) -> int | None:
    for each in metadata:
        parts = each.metadata if isinstance(each, FieldInfo) else [each]
        for part in parts:
            if isinstance(part, MaxLen):
                return part.max_length
    return None


def _aliases(field: FieldInfo) -> list[str]:
    if isinstance(field.validation_alias, AliasChoices):
        return [str(alias) for alias in field.validation_alias.choices]
    return [str(name) for name in (field.validation_alias, field.alias) if name is not None]


def _check_depth(body: dict[str, Any]) -> None:
    """Refuse what is nested so deeply that it could not be written again as JSON for an engine."""
    for name, value in body.items():
        if isinstance(value, (dict, list)):
            try:
                orjson.dumps([[[[value]]]])  # the engine's own nesting
            except orjson.JSONEncodeError:
                raise InvalidRequest(
                    f"Invalid '{name[:64]}': it is nested too deeply.",
                    param=name[:64],
                    code="invalid_value",
                ) from None


def _check_unknown(body: RequestModel, strict: bool) -> None:
    """Refuse names that we know we do not serve; refuse or log each other unknown name."""
    others = _other_names(type(body))
    for name, value in (body.model_extra or {}).items():
        if name in others:  # of a field that was given under another of its names
            if value is not None and value != getattr(body, others[name]):
                raise bad_request.conflicting(name, others[name])
        elif name in body.refused:
            if value is not None and value not in body.refused[name]:
                raise bad_request.unsupported(name, "is not supported by this server yet.")
        elif strict:
            raise bad_request.unknown(name)
        elif meant := meant_by(name, _known_names(type(body)), body.model_fields_set):
            raise bad_request.misspelt(name, meant)
        else:
            _log_once("a request has a field that is not known and has no effect: %.64r", name)
    for place in body.left_out:
        _log_once("a request has what this server does not have, and it is left out: %.64r", place)
    if strict:
        for name in type(body).model_fields:
            _refuse_unknown(getattr(body, name), name)


def ignored_fields(body: RequestModel) -> list[str]:
    """The names of a request's fields that are not known and have no effect, also inside of other fields."""
    known = _known_names(type(body))
    found = [name for name, value in _extra(body) if value is not None and name not in known]
    for field in body.model_fields_set & type(body).model_fields.keys():
        value = getattr(body, field)
        if isinstance(value, RequestModel):
            found += [f"{field}.{name}" for name, each in _extra(value) if each is not None]
    return found


def _extra(body: RequestModel) -> Iterable[tuple[str, Any]]:
    return (body.model_extra or {}).items()


def _log_once(message: str, name: str) -> None:
    if name not in _logged and len(_logged) < MAX_LOGGED:
        _logged.add(name)
        log.info(message, name)


@cache
def _known_names(model: type[RequestModel]) -> frozenset[str]:
    return frozenset({*model.model_fields, *_other_names(model), *model.refused})


@cache
def _other_names(model: type[RequestModel]) -> Mapping[str, str]:
    """The names of a request's fields by their aliases."""
    return {
        str(alias): name
        for name, field in model.model_fields.items()
        if isinstance(field.validation_alias, AliasChoices)
        for alias in _aliases(field)
    }


def _refuse_unknown(value: Any, param: str) -> None:
    """Look for names that are not known inside of a field."""
    if isinstance(value, BaseModel):
        for name, extra in (value.model_extra or {}).items():
            if extra not in (None, [], {}):  # as in an answer that is sent back as history
                raise bad_request.unknown(f"{param}.{name}")
        for name, field in type(value).model_fields.items():
            _refuse_unknown(getattr(value, name), f"{param}.{field.alias or name}")
    elif isinstance(value, (list, tuple)):
        for at, each in enumerate(value):
            _refuse_unknown(each, f"{param}[{at}]")


def _refusal(problems: Sequence[ErrorDetails], body: dict[str, Any]) -> InvalidRequest:
    first = problems[0]["loc"][:1]
    # A value that may be one of several types fails once for each; the deepest look tells most.
    candidates = [
        (problem, *_walk(problem, body)) for problem in problems if problem["loc"][:1] == first
    ]
    deepest = max(len(path) for _, path, _ in candidates)
    candidates = [candidate for candidate in candidates if len(candidate[1]) == deepest]
    # The right type with a wrong value tells more than "not the other type".
    problem, path, value = min(candidates, key=lambda candidate: _is_type_error(*candidate[::2]))
    alternatives = [other for other, other_path, _ in candidates if other_path == path]
    return _words(problem, _param(path), value, alternatives)


def _is_type_error(problem: ErrorDetails, value: Any) -> bool:
    """Whether the value has another JSON type than is wanted."""
    if problem["type"] == "literal_error":
        return not isinstance(value, str)
    return problem["type"] in _EXPECTED and not _is_huge(value)


def _is_huge(value: Any) -> bool:
    """An integer that needs more than 64 bits comes as a float."""
    return isinstance(value, float) and abs(value) >= 2**63


def _walk(problem: ErrorDetails, body: Any) -> tuple[list[str | int], Any]:
    """The part of a location that leads through the body (without names of union members), and the
    value there."""
    path: list[str | int] = []
    value = body
    last = len(problem["loc"]) - 1
    for at, step in enumerate(problem["loc"]):
        if step == "[key]" and at == last:
            # The name is wrong and not what it stands for; it may be long, so the object is named.
            return path[:-1], path[-1]
        if isinstance(value, (dict, list)) and _leads_on(value, step):
            value = value[step]  # type: ignore[index]  # as _leads_on says
        elif problem["type"] == "missing" and at == last:
            value = None
        else:
            continue
        path.append(step)
    return path, value


def _leads_on(value: dict[str, Any] | list[Any], step: str | int) -> bool:
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


def _words(
    problem: ErrorDetails, param: str, value: Any, alternatives: Sequence[ErrorDetails]
) -> InvalidRequest:
    """One pydantic error in the API's words."""
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
        return bad_request.missing(param)
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
