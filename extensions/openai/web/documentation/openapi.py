"""The OpenAPI document, generated from the routes' types."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal

from pydantic import TypeAdapter

from ... import __version__
from ...errors import APIError, all_errors
from ...generation.sampling.table import OPENAI, ROWS
from ...schemas.validation import RequestModel
from ..context import STREAM_HEADER
from ..idempotent_request import MAX_KEY_LENGTH
from ..multipart import FORM
from ..routing.routes import MODEL, BodyFormat, PathPrefixes, Route

BODY_TYPES: Mapping[BodyFormat, str] = {
    "json": "application/json",
    "form": FORM,
    "bytes": "application/octet-stream",
}
IDEMPOTENCY_KEY: dict[str, Any] = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "A request that is sent again with its key gets the answer to the first one.",
    "schema": {"type": "string", "minLength": 1, "maxLength": MAX_KEY_LENGTH},
}
STREAM_ID: dict[str, Any] = {
    "name": STREAM_HEADER,
    "in": "header",
    "required": False,
    "description": "Names the stream, which may then be left and resumed (docs/streams.md).",
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9._:+=-]{1,128}$"},
}
REF = "#/components/schemas/{model}"
MARK = "Not OpenAI's"
"""In the description of a field that the reference does not have."""


@lru_cache(maxsize=8)
def document(
    routes: Sequence[Route],
    prefix: str = "",
    *,
    model: str = "MODEL",
    model_required: bool = True,
) -> dict[str, Any]:
    """The OpenAPI 3.1 document of these routes, with `model` in its examples. Do not modify it."""
    adapters: list[tuple[Any, Literal["validation", "serialization"], TypeAdapter[Any]]] = []
    for kind in _types(routes):
        mode: Literal["validation", "serialization"] = "validation"
        adapters.append((kind, mode, TypeAdapter(kind)))
    schemas, shared = TypeAdapter.json_schemas(adapters, ref_template=REF)
    reference = {kind: schema for (kind, _), schema in schemas.items()}
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        path = prefix + route.addresses.value[0] + re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", route.path)
        paths.setdefault(path, {})[route.method.lower()] = _operation(route, reference, model)
        if route.body is not None:
            names_model = route.addresses is PathPrefixes.MODEL
            _arrange(shared["$defs"][route.body.__name__], names_model and model_required)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "OpenedAI",
            "version": __version__,
            "description": "An OpenAI-compatible API for the model that is loaded here.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "tags": [
            {"name": name, "description": text}
            for name, text in dict(_tag(route) for route in routes).items()
        ],
        "paths": paths,
        "components": {
            "schemas": shared["$defs"],
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _types(routes: Sequence[Route]) -> list[Any]:
    types: list[Any] = []
    for route in routes:
        own = (route.body, route.answer, route.chunk, route.dialect.error_type)
        types += [kind for kind in own if kind is not None]
    return list(dict.fromkeys(types))


def _tag(route: Route) -> tuple[str, str]:
    """The endpoint's name and purpose, from its module's first line: `Chat: answer a ...`."""
    line = (sys.modules[route.handler.__module__].__doc__ or "").splitlines()[0]
    name, _, text = line.partition(": ")
    return name, text[:1].upper() + text[1:]


def _arrange(schema: dict[str, Any], model_required: bool) -> None:
    """Order the fields for a reader: required ones, OpenAI's, others, the native sampler's."""
    fields = schema.get("properties", {})
    for field in fields.values():
        field.pop("title", None)  # the name once more
        if field.get("default", 0) is None:
            del field["default"]  # as if it were not there
    required = schema.get("required", [])
    if model_required and "model" not in required:
        # Read from the body or from the query; null means that it is missing.
        required = ["model", *required]
        fields["model"] = {"type": "string", "description": fields["model"]["description"]}
    if required:
        schema["required"] = required

    def rank(name: str) -> int:
        if name in required:
            return 0
        if name in ROWS and ROWS[name].source != OPENAI:
            return 3
        return 2 if MARK in fields[name].get("description", "") else 1

    schema["properties"] = {
        name: fields[name]
        for name in (
            *required,
            *sorted((name for name in fields if name not in required), key=rank),
        )
    }


def _operation(route: Route, reference: dict[Any, Any], model: str) -> dict[str, Any]:
    content: dict[str, Any] = {route.media: {"schema": {"type": "string"}}}
    if route.answer is not None:
        content = {"application/json": {"schema": reference[route.answer]}}
    content.update((kind, {"schema": {"type": "string"}}) for kind in route.media_types)
    if route.chunk is not None:
        kind, _, _ = route.dialect.events.content_type.partition(";")
        content[kind] = {"schema": reference[route.chunk]}
    envelope = {"application/json": {"schema": reference[route.dialect.error_type]}}
    operation: dict[str, Any] = {
        "tags": [_tag(route)[0]],
        "operationId": route.handler.__name__,
        "summary": route.summary,
        "description": inspect.getdoc(route.handler) or "",
        "responses": {"200": {"description": "OK", "content": content}}
        | {
            str(status): {"description": description, "content": envelope}
            for status, description in _statuses(route).items()
        },
    }
    parameters: list[dict[str, Any]] = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "string"},
            # The document knows no id that a client has made.
            **({"example": model} if name == "id" else {}),
        }
        for name in re.findall(r"<(?:\w+:)?(\w+)>", route.path)
    ]
    if route.query is not None:
        parameters += _query(route.query)
    if route.once:
        parameters.append(IDEMPOTENCY_KEY)
    if route.generates and route.dialect.events.comments:
        parameters.append(STREAM_ID)
    if parameters:
        operation["parameters"] = parameters
    if route.has_body:
        operation["requestBody"] = {
            "required": not route.body_optional,
            "content": {BODY_TYPES[route.body_format]: _body(route, reference, model)},
        }
    if route.scope:
        operation["security"] = [{"key": []}, {}]
    return operation


def _body(route: Route, reference: dict[Any, Any], model: str) -> dict[str, Any]:
    if route.body is None:
        return {"schema": {"type": "string", "format": "binary"}}
    schema = {"schema": reference[route.body]}
    return (
        schema if route.example is None else schema | {"example": _with_model(route.example, model)}
    )


def _with_model(example: Any, model: str) -> Any:
    """A route's example, with the loaded model."""
    if isinstance(example, dict):
        return {name: _with_model(value, model) for name, value in example.items()}
    return model if example is MODEL else example


def _query(model: type[RequestModel]) -> list[dict[str, Any]]:
    """The query parameters."""
    schema = model.model_json_schema()
    required, parameters = schema.get("required", ()), []
    for name, field in schema["properties"].items():
        # A missing parameter has no value; none can be null.
        kind = next(each for each in field.get("anyOf", [field]) if each.get("type") != "null")
        parameter = {
            "name": name,
            "in": "query",
            "required": name in required,
            "description": field.get("description", ""),
            "schema": {
                k: v for k, v in kind.items() if k not in ("title", "description", "examples")
            },
        }
        if kind.get("type") == "object":  # as `name[key]=value`
            parameter |= {"style": "deepObject", "explode": True}
        if "examples" in field:
            parameter["example"] = field["examples"][0]
        parameters.append(parameter)
    return parameters


def _statuses(route: Route) -> dict[int, str]:
    """The failures of a route by status, each described by its first error class."""
    possible = {400, 403, 500, 503}
    if route.scope:
        possible |= {401, 429}
    if route.query is not None:
        possible |= {400, 404}
    if route.has_body:
        possible |= {413, 415}
    if route.generates:
        possible |= {408, 409}
    if route.has_body and route.usage not in (None, "completions"):
        possible |= {408, 409, 501}
    if route.has_body or "<" in route.path:
        possible.add(404)
    if route.once:
        possible |= {409, 422}
    found: dict[int, str] = {}
    for error in all_errors():
        if error.status in possible:
            found.setdefault(error.status, _first_line(error))
    found.update(route.dialect.statuses)
    return dict(sorted(found.items()))


def _first_line(error: type[APIError]) -> str:
    return (error.__doc__ or "").strip().splitlines()[0]
