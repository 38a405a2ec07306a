"""Converts a form, or query parameters, to a typed request."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, TypeVar

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from .validation import RequestModel, check

READ_BYTES = 256 << 10
Body = TypeVar("Body", bound=RequestModel)


@dataclass(frozen=True, slots=True)
class Upload:
    """A file in a form: the type of a field. Open, at its beginning, until the request has ended."""

    filename: str
    """From the client; it may be any text."""
    content_type: str
    file: BinaryIO
    size: int
    """Bytes."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.custom_error_schema(
            core_schema.is_instance_schema(cls),
            custom_error_type="wrong_type",
            custom_error_message="a file",
            serialization=core_schema.plain_serializer_function_ser_schema(cls.fingerprint),
        )

    def fingerprint(self) -> list[str]:
        """The same for files of the same name, type and content. It reads them, and leaves them at their
        beginning."""
        digest = hashlib.sha256()
        for part in self.parts():
            digest.update(part)
        return [self.filename, self.content_type, digest.hexdigest()]

    def parts(self) -> Iterator[bytes]:
        """Its content, which is never whole in memory; then it is at its beginning again."""
        self.file.seek(0)
        while part := self.file.read(READ_BYTES):
            yield part
        self.file.seek(0)

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"type": "string", "format": "binary"}


def parse_query(model: type[Body], given: Any) -> Body:
    """Validate query parameters (a werkzeug MultiDict); a list is `name=a&name=b`, `name[]=a&name[]=b`, or
    separated by commas, an object `name[key]=a`. Raises InvalidRequest, as `validation.parse`."""
    values: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        texts = [*given.getlist(name), *given.getlist(f"{name}[]")]
        if "dict[" in str(field.annotation):
            members = {found[1]: given[key] for key in given if (found := _member_of(name, key))}
            if members:
                values[name] = members
        elif texts:
            values[name] = _typed(str(field.annotation), texts, ",".join(texts).split(","))
    return check(model, values)


def _member_of(name: str, key: str) -> re.Match[str] | None:
    """Match a query parameter that is a member of an object; its name is the first group."""
    return re.fullmatch(rf"{name}\[(.+)\]", key, re.DOTALL)


def parse_form(
    model: type[Body], given: Iterable[tuple[str, str | Upload]], *, strict: bool = False
) -> Body:
    """Validate a form; a list is several parts with the same name, or with `name[]`, an object parts with
    `name[member]`.

    Raises InvalidRequest, as `validation.parse`.
    """
    parts: dict[str, list[str | Upload]] = {}
    members: dict[str, dict[str, str | Upload | int]] = {}
    fields = model.model_fields
    for name, value in given:
        found = _MEMBER.fullmatch(name)
        if found is not None and found[1] in fields:
            number = isinstance(value, str) and _READERS["int"][0].fullmatch(value)
            members.setdefault(found[1], {})[found[2]] = int(number[0]) if number else value
        else:
            parts.setdefault(name.removesuffix("[]"), []).append(value)
    values = {
        name: _typed(str(fields[name].annotation) if name in fields else "", each, each)
        for name, each in parts.items()
    }
    return check(model, values | members, strict=strict)


_MEMBER = re.compile(r"(\w+)\[(\w+)\]")
_NUMBER = re.compile(r"-?[0-9]{1,18}(\.[0-9]{1,18})?")
_READERS: Mapping[str, tuple[re.Pattern[str], Callable[[str], Any]]] = {
    "int": (re.compile(r"-?[0-9]{1,18}"), int),
    "float": (_NUMBER, float),
    "bool": (re.compile("true|false"), "true".__eq__),
}


def _typed(kind: str, given: Sequence[str | Upload], several: Sequence[str | Upload]) -> Any:
    """Convert the texts of a field with the annotation `kind`: all of `several` for a list, else the last
    one.

    Text that cannot be converted stays text, and is refused later.
    """
    if "list[" in kind:
        return list(several)
    value = given[-1]
    for name, (pattern, read) in _READERS.items():
        if name in kind and isinstance(value, str) and pattern.fullmatch(value):
            return read(value)
    return value
