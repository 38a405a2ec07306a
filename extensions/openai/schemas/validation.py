"""From the bytes of a body to a typed request, or to the one 400 that names what is wrong."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypeVar, Union, get_args, get_origin

import orjson
from annotated_types import MaxLen
from pydantic import AliasChoices, BaseModel, ConfigDict, GetCoreSchemaHandler, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from ..errors import InvalidRequest
from ..system.once import Once
from . import bad_request
from .field_names import meant_by
from .json_bounds import SMALL, check_bounds
from .problems import refusal


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

    Unknown fields stand in `model_extra` and nowhere else: shared code reads fields by their names, and on
    an endpoint that does not declare such a field it would get the client's JSON, which nothing checked.

    Of each list only the first wrong element is reported, and the rest is not looked at.
    """

    model_config = ConfigDict(strict=True, extra="allow", frozen=True, hide_input_in_errors=True)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        schema = handler(source)
        _fail_fast(schema)
        return schema

    if not TYPE_CHECKING:  # mypy would take every name for an attribute

        def __getattr__(self, name: str) -> Any:
            # All that pydantic finds here, as there are no private attributes, is an unknown field.
            return object.__getattribute__(self, name)

    @property
    def model_fields_set(self) -> set[str]:
        """The declared fields that the client gave."""
        given = self.__pydantic_fields_set__
        return given - self.model_extra.keys() if self.model_extra else given

    def __iter__(self) -> Iterator[tuple[str, Any]]:  # type: ignore[override]  # a Generator there
        """The declared fields and their values."""
        return iter(self.__dict__.items())


class RequestModel(RequestPart):
    """A request body. Types are strict, as JSON Schema means them."""

    refused: ClassVar[Mapping[str, tuple[Any, ...]]] = {}
    """Names that other servers know and that would change the answer, with the values that would not."""

    elsewhere: ClassVar[Mapping[str, str]] = {}
    """Names that belong to another endpoint, and which one that is."""

    @property
    def left_out(self) -> list[str]:
        """Places in it of what is known and has no effect here, for a response header."""
        return []

    @property
    def end_user(self) -> str | None:
        """The client's name of the user that asks: the users of one key take turns in the queue."""
        user: str | None = getattr(self, "user", None)
        return user

    always_strict: ClassVar[bool] = False
    """Unknown fields are always refused, as a misspelt one would do harm."""


log = logging.getLogger("openedai")
_logged = Once()

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
    if len(data) > SMALL:
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
        raise refusal(problems, value) from None
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
    """How many elements there are in arrays below these, and in arrays below those."""
    return sum(
        len(each) + _parts_in(each)
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
                # The engine's own nesting; a form's files are no JSON, and not nested.
                orjson.dumps([[[[value]]]], default=repr)
            except orjson.JSONEncodeError:
                raise InvalidRequest(
                    f"Invalid '{name[:64]}': it is nested too deeply.",
                    param=name[:64],
                    code="invalid_value",
                ) from None


def _check_unknown(body: RequestModel, strict: bool) -> None:
    """Refuse names that we know we do not serve; refuse or log each other unknown name."""
    others = _other_names(type(body))
    extra = body.model_extra or {}
    for name, value in extra.items():
        if name in others:  # of a field that was given under another of its names
            if value is not None and value != getattr(body, others[name]):
                raise bad_request.conflicting(name, others[name])
        elif name in body.refused:
            if value is not None and value not in body.refused[name]:
                raise bad_request.unsupported(name, "is not supported by this server yet.")
        elif name in body.elsewhere:
            if value is not None:
                raise bad_request.unsupported(name, f"belongs to {body.elsewhere[name]}.")
        elif strict:
            raise bad_request.unknown(name)
        elif meant := meant_by(
            name, _known_names(type(body)), body.model_fields_set | extra.keys()
        ):
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
    if _logged.first(name):
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
