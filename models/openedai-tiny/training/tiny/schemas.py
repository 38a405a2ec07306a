"""JSON schemas from short shapes: {"name": "string", "tags": ["array", "string"]}."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Shape = str | list[Any] | dict[str, Any]
"""A type's name or a format's; ["enum", ...], ["array", shape], ["maybe", shape]; or an object's
shape, in which a name that ends with "?" is optional."""

TYPES = frozenset({"string", "integer", "number", "boolean", "null"})


def schema(shape: Shape, *, closed: bool = True) -> dict[str, Any]:
    """The JSON schema of a shape; `closed`: objects hold no other keys."""
    if isinstance(shape, str):
        return {"type": shape} if shape in TYPES else {"type": "string", "format": shape}
    if isinstance(shape, dict):
        properties = {k.rstrip("?"): schema(v, closed=closed) for k, v in shape.items()}
        made: dict[str, Any] = {"type": "object", "properties": properties}
        if required := [key for key in shape if not key.endswith("?")]:
            made["required"] = required
        if closed:
            made["additionalProperties"] = False
        return made
    word, *rest = shape
    if word == "enum":
        return {"type": "string", "enum": rest}
    if word == "array":
        return {"type": "array", "items": schema(rest[0], closed=closed)}
    return {"anyOf": [schema(rest[0], closed=closed), {"type": "null"}]}


def titled(shape: dict[str, Any], name: str) -> dict[str, Any]:
    """The schema of an object in the way that typed models write it: every part has a title, and
    objects inside stand under $defs."""
    inner: dict[str, Any] = {}

    def part(each: Shape, title: str) -> dict[str, Any]:
        if isinstance(each, dict):
            name = title.replace(" ", "")
            inner[name] = whole(each, name)
            return {"$ref": f"#/$defs/{name}"}
        if isinstance(each, list) and each[0] == "array":
            return {"type": "array", "items": part(each[1], title.rstrip("s")), "title": title}
        if isinstance(each, list) and each[0] == "maybe":
            choices = [part(each[1], title), {"type": "null"}]
            return {"anyOf": choices, "default": None, "title": title}
        return {**schema(each), "title": title}

    def whole(each: dict[str, Any], title: str) -> dict[str, Any]:
        names = {key: key.rstrip("?") for key in each}
        properties = {names[k]: part(v, names[k].replace("_", " ").title()) for k, v in each.items()}
        made = {"type": "object", "properties": properties, "title": title}
        if required := [key for key in each if not key.endswith("?")]:
            made["required"] = required
        return made

    outer = whole(shape, name)
    return {"$defs": inner, **outer} if inner else outer


def keys(shape: Shape) -> Iterator[str]:
    """Every name of a field in a shape, the inner ones too."""
    if isinstance(shape, dict):
        for key, value in shape.items():
            yield key.rstrip("?")
            yield from keys(value)
    elif isinstance(shape, list) and shape[0] in ("array", "maybe"):
        yield from keys(shape[1])
