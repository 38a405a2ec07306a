"""Swagger UI and Redoc: the two pages that show the OpenAPI document.

The packages flask-openapi3-swagger and flask-openapi3-redoc bring their files, which this server serves
itself. The pages' Content-Security-Policy forbids requests to other sites.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flask import Flask, g, request, send_from_directory

from ...errors import ModelLoading
from ..responses.response import Response, json_response
from ..routing.served_endpoints import switched_off
from .openapi import document

if TYPE_CHECKING:
    import flask

    from ..context import RequestContext
    from ..routing.routes import Route
    from ..services import Services

ENDPOINT = "docs"
"""The endpoint's name in `--disabled-endpoints`."""
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; worker-src 'self' blob:"
)
NO_MODEL = "MODEL"
"""The model in examples while none is loaded."""

SWAGGER_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>OpenedAI: the API</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="BASE/favicon.ico" type="image/svg+xml">
<link rel="stylesheet" href="BASE/docs/assets/css/swagger-ui.css">
<script>
const dark = matchMedia("(prefers-color-scheme: dark)");
const follow = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
follow();
dark.addEventListener("change", follow);
</script></head>
<body style="margin:0"><div id="ui"></div>
<script src="BASE/docs/assets/js/swagger-ui-bundle.js"></script>
<script>
SwaggerUIBundle({url: "BASE/openapi.json", dom_id: "#ui", deepLinking: true, validatorUrl: null,
                 defaultModelsExpandDepth: 0, persistAuthorization: false});
</script>
</body></html>
"""

REDOC_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>OpenedAI: the API</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="BASE/favicon.ico" type="image/svg+xml">
<style>
@media (prefers-color-scheme: dark) {
  body { background: #16181d; color: #e6e8ee; }
  h5, h5 + *, h5 span { color: #aab0bd !important; }
  button, select { color: inherit; }
  svg polygon { fill: currentColor; }
  .react-tabs__tab--selected { background: #3a3f4b !important; color: #e6e8ee !important; }
}
</style></head>
<body style="margin:0"><div id="ui"></div>
<script src="BASE/redoc/assets/js/redoc.standalone.js"></script>
<script>
const DARK = {
  colors: {
    primary: {main: "#8ab4ff"}, text: {primary: "#e6e8ee", secondary: "#aab0bd"},
    border: {dark: "#3a3f4b", light: "#2c303a"}, gray: {50: "#1d2027", 100: "#252932"},
    success: {main: "#5fd38d"}, error: {main: "#ff8a80"}, warning: {main: "#ffd479", contrastText: "#16181d"},
  },
  schema: {nestedBackground: "#1d2027", typeNameColor: "#aab0bd", typeTitleColor: "#aab0bd",
           linesColor: "#3a3f4b"},
  sidebar: {backgroundColor: "#1d2027", textColor: "#e6e8ee"},
  rightPanel: {backgroundColor: "#1d2027", textColor: "#e6e8ee"},
  codeBlock: {backgroundColor: "#111318"},
  typography: {code: {backgroundColor: "#252932", color: "#ffb4a9"}, links: {color: "#8ab4ff"}},
};
const dark = matchMedia("(prefers-color-scheme: dark)").matches;
Redoc.init("BASE/openapi.json", dark ? {theme: DARK} : {}, document.getElementById("ui"));
</script>
</body></html>
"""


def add_pages(
    app: Flask, services: Services, routes: Sequence[Route], endpoints: frozenset[str]
) -> None:
    """Serve /openapi.json, /docs and /redoc below the prefix, if `endpoints` has them."""
    prefix = services.settings.api_prefix

    def served(view: Callable[..., flask.Response]) -> Callable[..., flask.Response]:
        def checked(**arguments: Any) -> flask.Response:
            if ENDPOINT not in endpoints:
                raise switched_off(ENDPOINT)
            return view(**arguments)

        return checked

    def openapi() -> Response:
        context: RequestContext = g.context
        written = document(
            tuple(routes),
            prefix,
            model=_model_name(services),
            model_required=services.settings.require_model,
        )
        root = request.script_root
        here = context.base_url.removesuffix(prefix)
        servers = [{"url": root or "/"}, {"url": here, "description": "The same, in full"}]
        return json_response(written | {"servers": servers})

    app.add_url_rule(f"{prefix}/openapi.json", "openapi", served(openapi))
    for name, page, package, folder in (
        ("docs", SWAGGER_PAGE, "flask_openapi3_swagger", "swagger"),
        ("redoc", REDOC_PAGE, "flask_openapi3_redoc", "redoc"),
    ):
        assets = _package_folder(package) / "templates" / folder
        app.add_url_rule(
            f"{prefix}/{name}",
            name,
            served(lambda page=page: _page(page, request.script_root + prefix)),
        )
        app.add_url_rule(
            f"{prefix}/{name}/assets/<path:file>",
            f"{name}-assets",
            served(lambda file, assets=assets: send_from_directory(assets, file)),
        )


def _page(page: str, base: str) -> Response:
    response = Response(page.replace("BASE", base))
    response.headers["Content-Security-Policy"] = POLICY
    return response


def _model_name(services: Services) -> str:
    try:
        return services.models.loaded().name
    except ModelLoading:
        return NO_MODEL


def _package_folder(package: str) -> Path:
    """The folder of a package, found without importing it."""
    spec = find_spec(package)
    assert spec is not None and spec.submodule_search_locations  # requirements.txt names it
    return Path(spec.submodule_search_locations[0])
