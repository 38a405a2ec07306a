"""Converts a body's bytes to a typed request, or raises one 400 that names the problem."""

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
from .field_names import closest_name
from .json_bounds import UNCHECKED_BYTES, check_bounds
from .problems import refusal


def _fail_fast(schema: Any) -> None:
    """Make all lists in a pydantic schema stop at their first invalid element."""
    stack = [schema]
    while stack:
        node = stack.pop()
        if isinstance(node, dict):
            if node.get("type") == "list":
                node["fail_fast"] = True
            stack += node.values()
        elif isinstance(node, (list, tuple)):
            stack += node


class RequestPart(BaseModel):
    """Base of a request body and its parts: strict types, unknown fields are accepted.

    Unknown fields are in `model_extra` only: shared code reads fields by name, and on an endpoint that does
    not declare such a field it would otherwise get the client's unchecked JSON.

    Of each list only the first invalid element is reported, and the rest is not checked.
    """

    model_config = ConfigDict(strict=True, extra="allow", frozen=True, hide_input_in_errors=True)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        schema = handler(source)
        _fail_fast(schema)
        return schema

    if not TYPE_CHECKING:  # mypy would take every name for an attribute

        def __getattr__(self, name: str) -> Any:
            # There are no private attributes, so pydantic would find only unknown fields here.
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
    """Fields of other servers that would change the answer, with the values that would not."""

    elsewhere: ClassVar[Mapping[str, str]] = {}
    """Fields of other endpoints, with the endpoint's name."""

    checked_later: ClassVar[frozenset[str]] = frozenset()
    """Further known fields, which another model checks when the body is used."""

    @property
    def left_out(self) -> list[str]:
        """The paths of known values without effect here, for a response header."""
        return []

    @property
    def end_user(self) -> str | None:
        """The client's name for the end user: the users of one key take turns in the queue."""
        user: str | None = getattr(self, "user", None)
        return user

    always_strict: ClassVar[bool] = False
    """Whether to always refuse unknown fields, because a misspelt one would do harm."""


log = logging.getLogger("openedai")
_logged = Once()

Body = TypeVar("Body", bound=RequestModel)


MAX_FIELDS = 1000
"""At the top level of a body; the API has about 200."""
MAX_PARTS = 16_384
"""Elements of nested arrays in one field, such as the parts and calls of messages."""


@dataclass(frozen=True, slots=True)
class Unsupported:
    """Marks a field that is not supported: only values without effect are accepted."""

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
    """Validate a JSON body; `strict` refuses unknown fields.

    Raises InvalidRequest, with the first problem's `param` and `code`.
    """
    if len(data) > UNCHECKED_BYTES:
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
    """The same for a parsed body."""
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
    """Refuse fields with too many elements, before the elements are checked."""
    if len(body) > MAX_FIELDS:
        raise InvalidRequest(
            f"The body of the request has more than {MAX_FIELDS} fields.", code="too_many_values"
        )
    for name, limits in _max_lengths(model).items():
        value = body.get(name)
        limit = limits.get(type(value))
        if limit is not None and len(value) > limit:  # type: ignore[arg-type]  # a list or an object
            kind = "array" if isinstance(value, list) else "object"
            raise bad_request.wrong_length(name, kind, len(value), high=limit)  # type: ignore[arg-type]
        if isinstance(value, list) and _count_parts(value) > MAX_PARTS:
            raise InvalidRequest(
                f"Invalid '{name}': the elements have more than {MAX_PARTS} parts together.",
                param=name,
                code="too_many_values",
            )


def _count_parts(elements: Sequence[Any]) -> int:
    """The number of elements in all arrays nested in these."""
    return sum(
        len(each) + _count_parts(each)
        for element in elements
        if isinstance(element, dict)
        for each in element.values()
        if isinstance(each, list)
    )


@cache
def _max_lengths(model: type[RequestModel]) -> Mapping[str, Mapping[type, int]]:
    """The maximum lengths of lists and objects, by all names of the fields that have one."""
    found: dict[str, Mapping[type, int]] = {}
    for name, field in model.model_fields.items():
        bounds: dict[type, int | None] = {}
        _bounds_in(field.annotation, _max_length(field.metadata), bounds)
        known = {kind: limit for kind, limit in bounds.items() if limit is not None}
        if known:
            found |= dict.fromkeys((name, *_aliases(field)), known)
    return found


def _bounds_in(annotation: Any, limit: int | None, bounds: dict[type, int | None]) -> None:
    """Add the maximum length of each kind of container that a type allows; None: unlimited.

    `limit` comes from the metadata around the type."""
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *metadata = get_args(annotation)
        _bounds_in(inner, _max_length(metadata) or limit, bounds)
    elif origin in (Union, UnionType):
        for each in get_args(annotation):
            _bounds_in(each, limit, bounds)
    elif origin in (list, dict):
        before = bounds.get(origin, 0)
        bounds[origin] = None if limit is None or before is None else max(limit, before)


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
    """Refuse values nested too deeply to be serialized again for an engine."""
    for name, value in body.items():
        if isinstance(value, (dict, list)):
            try:
                # With the engine's own nesting; a form's files are not JSON, and not nested.
                orjson.dumps([[[[value]]]], default=repr)
            except orjson.JSONEncodeError:
                raise InvalidRequest(
                    f"Invalid '{name[:64]}': it is nested too deeply.",
                    param=name[:64],
                    code="invalid_value",
                ) from None


def _check_unknown(body: RequestModel, strict: bool) -> None:
    """Refuse fields that are not supported; refuse or log each other unknown field."""
    others = _other_names(type(body))
    extra = body.model_extra or {}
    for name, value in extra.items():
        if name in others:  # another name of a field that was also given
            if value is not None and value != getattr(body, others[name]):
                raise bad_request.conflicting(name, others[name])
        elif name in body.checked_later:
            pass
        elif name in body.refused:
            if value is not None and value not in body.refused[name]:
                raise bad_request.unsupported(name, "is not supported by this server yet.")
        elif name in body.elsewhere:
            if value is not None:
                raise bad_request.unsupported(name, f"belongs to {body.elsewhere[name]}.")
        elif strict:
            raise bad_request.unknown(name)
        elif meant := closest_name(
            name, _known_names(type(body)), body.model_fields_set | extra.keys()
        ):
            raise bad_request.misspelt(name, meant)
        else:
            _log_once("a request has an unknown field, which has no effect: %.64r", name)
    for place in body.left_out:
        _log_once("a request has a value that this server ignores: %.64r", place)
    if strict:
        for name in type(body).model_fields:
            _refuse_unknown(getattr(body, name), name)


def ignored_fields(body: RequestModel) -> list[str]:
    """The names of a request's unknown fields, also those inside other fields."""
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
    own = model.model_fields.keys() | model.checked_later
    return frozenset({*own, *_other_names(model), *model.refused})


def all_names(model: type[RequestModel]) -> frozenset[str]:
    """The names of all fields that a body may have."""
    return _known_names(model) | model.elsewhere.keys()


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
    """Refuse unknown fields inside a field."""
    if isinstance(value, BaseModel):
        for name, extra in (value.model_extra or {}).items():
            if extra not in (None, [], {}):  # which answers sent back as history may have
                raise bad_request.unknown(f"{param}.{name}")
        for name, field in type(value).model_fields.items():
            _refuse_unknown(getattr(value, name), f"{param}.{field.alias or name}")
    elif isinstance(value, (list, tuple)):
        for at, each in enumerate(value):
            _refuse_unknown(each, f"{param}[{at}]")
