"""The OpenAPI document, made of the routes' types, and the two pages that show it.

Swagger UI and Redoc come with the packages flask-openapi3-swagger and flask-openapi3-redoc; only their
files are used, and they are served from here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import flask
from flask import Flask, request, send_from_directory
from pydantic import TypeAdapter

from .. import __version__
from ..errors import APIError, ErrorEnvelope, all_errors
from ..schemas.validation import RequestModel
from .response import Response, json_response
from .routes import Route
from .served_endpoints import switched_off

ENDPOINT = "docs"
"""The name under which all of this is switched off."""
REF = "#/components/schemas/{model}"

SWAGGER_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>OpenedAI: the API</title>
<link rel="icon" href="BASE/docs/assets/images/swagger.svg">
<link rel="stylesheet" href="BASE/docs/assets/css/swagger-ui.css"></head>
<body style="margin:0"><div id="ui"></div>
<script src="BASE/docs/assets/js/swagger-ui-bundle.js"></script>
<script>SwaggerUIBundle({url: "BASE/openapi.json", dom_id: "#ui", deepLinking: true});</script>
</body></html>
"""

REDOC_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>OpenedAI: the API</title>
<link rel="icon" href="BASE/redoc/assets/images/redoc.svg">
<meta name="viewport" content="width=device-width, initial-scale=1"></head>
<body style="margin:0"><div id="ui"></div>
<script src="BASE/redoc/assets/js/redoc.standalone.js"></script>
<script>Redoc.init("BASE/openapi.json", {}, document.getElementById("ui"));</script>
</body></html>
"""


def add_pages(app: Flask, routes: Sequence[Route], prefix: str, endpoints: frozenset[str]) -> None:
    """Serve /openapi.json, /docs and /redoc below the prefix, where `endpoints` has them."""

    def served(view: Callable[..., flask.Response]) -> Callable[..., flask.Response]:
        def checked(**arguments: Any) -> flask.Response:
            if ENDPOINT not in endpoints:
                raise switched_off(ENDPOINT)
            return view(**arguments)

        return checked

    @cache
    def written() -> dict[str, Any]:
        return document(routes, prefix)

    app.add_url_rule(f"{prefix}/openapi.json", "openapi", served(lambda: json_response(written())))
    for name, page, package, folder in (
        ("docs", SWAGGER_PAGE, "flask_openapi3_swagger", "swagger"),
        ("redoc", REDOC_PAGE, "flask_openapi3_redoc", "redoc"),
    ):
        assets = _package_folder(package) / "templates" / folder
        app.add_url_rule(
            f"{prefix}/{name}",
            name,
            served(lambda page=page: Response(page.replace("BASE", request.script_root + prefix))),
        )
        app.add_url_rule(
            f"{prefix}/{name}/assets/<path:file>",
            f"{name}-assets",
            served(lambda file, assets=assets: send_from_directory(assets, file)),
        )


def document(routes: Sequence[Route], prefix: str = "") -> dict[str, Any]:
    """The OpenAPI 3.1 document of these routes."""
    adapters: list[tuple[Any, Literal["validation", "serialization"], TypeAdapter[Any]]] = []
    for kind in _types(routes):
        mode: Literal["validation", "serialization"] = "validation"
        adapters.append((kind, mode, TypeAdapter(kind)))
    schemas, shared = TypeAdapter.json_schemas(adapters, ref_template=REF)
    reference = {kind: schema for (kind, _), schema in schemas.items()}
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        path = prefix + route.addresses.value[0] + re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", route.path)
        paths.setdefault(path, {})[route.method.lower()] = _operation(route, reference)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "OpenedAI",
            "version": __version__,
            "description": "An OpenAI-compatible API for the model that is loaded here.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "paths": paths,
        "components": {
            "schemas": shared["$defs"],
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _types(routes: Sequence[Route]) -> list[Any]:
    types: list[Any] = [ErrorEnvelope]
    for route in routes:
        types += [kind for kind in (route.body, route.answer, route.chunk) if kind is not None]
    return list(dict.fromkeys(types))


def _operation(route: Route, reference: dict[Any, Any]) -> dict[str, Any]:
    content: dict[str, Any] = {route.media: {"schema": {"type": "string"}}}
    if route.answer is not None:
        content = {"application/json": {"schema": reference[route.answer]}}
    if route.chunk is not None:
        content["text/event-stream"] = {"schema": reference[route.chunk]}
    envelope = {"application/json": {"schema": reference[ErrorEnvelope]}}
    operation: dict[str, Any] = {
        "operationId": route.handler.__name__,
        "summary": route.summary,
        "description": route.handler.__doc__ or "",
        "responses": {"200": {"description": "OK", "content": content}}
        | {
            str(status): {"description": description, "content": envelope}
            for status, description in _statuses(route).items()
        },
    }
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"<(?:\w+:)?(\w+)>", route.path)
    ]
    if route.query is not None:
        parameters += _query(route.query)
    if parameters:
        operation["parameters"] = parameters
    if route.body is not None:
        operation["requestBody"] = {
            "required": not route.body_optional,
            "content": {"application/json": {"schema": reference[route.body]}},
        }
    if route.scope:
        operation["security"] = [{"key": []}, {}]
    return operation


def _query(model: type[RequestModel]) -> list[dict[str, Any]]:
    """The parameters behind the `?`."""
    schema = model.model_json_schema()
    required, parameters = schema.get("required", ()), []
    for name, field in schema["properties"].items():
        # A parameter that is not there has no value; none of them can be null.
        kind = next(each for each in field.get("anyOf", [field]) if each.get("type") != "null")
        parameters.append(
            {
                "name": name,
                "in": "query",
                "required": name in required,
                "description": field.get("description", ""),
                "schema": {k: v for k, v in kind.items() if k not in ("title", "description")},
            }
        )
    return parameters


def _statuses(route: Route) -> dict[int, str]:
    """The failures a route can have, by status, each in the words of its first error class."""
    possible = {400, 403, 500, 503}
    if route.scope:
        possible |= {401, 429}
    if route.query is not None:
        possible.add(400)
    if route.body is not None:
        possible |= {413, 415}
    if route.chunk is not None:
        possible.add(408)
    if route.body is not None or "<" in route.path:
        possible.add(404)
    found: dict[int, str] = {}
    for error in all_errors():
        if error.status in possible:
            found.setdefault(error.status, _first_line(error))
    return dict(sorted(found.items()))


def _first_line(error: type[APIError]) -> str:
    return (error.__doc__ or "").strip().splitlines()[0]


def _package_folder(package: str) -> Path:
    """Where a package lies, without importing it: its Python code is not needed."""
    spec = find_spec(package)
    assert spec is not None and spec.submodule_search_locations  # it is in requirements.txt
    return Path(spec.submodule_search_locations[0])
