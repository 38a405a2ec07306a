"""The command line's flags, one for each setting."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from ..settings import FLAG_ALIASES, SECTIONS, Settings


def sections() -> dict[str, dict[str, FieldInfo]]:
    """The fields of each section, in order."""
    found: dict[str, dict[str, FieldInfo]] = {}
    for name, field in Settings.model_fields.items():
        if name in SECTIONS:
            section = found.setdefault(SECTIONS[name], {})
        section[name] = field
    return found


def shown_default(value: object) -> str | None:
    """A default, written as in the environment; None for an empty one."""
    if value is None or value in ("", (), {}):
        return None
    if isinstance(value, tuple):
        return ",".join(value)
    if isinstance(value, Mapping):
        return ",".join(f"{name}={each}" for name, each in value.items())
    return str(value).lower() if isinstance(value, bool) else str(value)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add a flag for each field, with the field's name; the result has only flags that were given."""
    for section, members in sections().items():
        group = parser.add_argument_group(section)
        for name, field in members.items():
            _add_flag(group, name, field)


def _add_flag(group: argparse._ArgumentGroup, name: str, field: FieldInfo) -> None:
    flags = ("--" + name.replace("_", "-"), *FLAG_ALIASES.get(name, ()))
    text = (field.description or "").replace("%", "%%")
    default = shown_default(field.default)
    if default is not None and "Default" not in text:
        text += f" (default: {default})"
    if field.annotation is bool:
        group.add_argument(
            *flags, action=argparse.BooleanOptionalAction, default=argparse.SUPPRESS, help=text
        )
        return
    choices = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
    # Values are checked together with those of the environment, for the same messages.
    metavar = f"{{{','.join(map(str, choices))}}}" if choices else name.rpartition("_")[2].upper()
    group.add_argument(*flags, metavar=metavar, default=argparse.SUPPRESS, help=text)
