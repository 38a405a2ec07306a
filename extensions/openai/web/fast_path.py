"""A shortcut past Flask for requests that generate."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from .context import RequestContext
from .pipeline import RequestPipeline
from .responses.error_response import error_response
from .routing.routes import Route
from .services import Services

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


class FastPath:
    """A WSGI application in front of Flask.

    Flask's routing, contexts and hooks take a quarter of the Python time of such a request. The pipeline is
    the same here as behind Flask. Requests of pages in browsers go through Flask, which handles CORS.
    """

    def __init__(
        self,
        app: WSGIApplication,
        services: Services,
        pipeline: RequestPipeline,
        routes: Mapping[str, Route],
    ) -> None:
        """`routes` by the path of a POST request."""
        self._app = app
        self._services = services
        self._pipeline = pipeline
        self._routes = routes

    @staticmethod
    def suits(route: Route, rule: str) -> bool:
        """Whether a route may skip Flask: it generates, and its path has no parameters."""
        is_fixed = "<" not in rule and route.query is None
        return route.generates and is_fixed

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        route = self._routes.get(environ.get("PATH_INFO", ""))
        if route is None or environ["REQUEST_METHOD"] != "POST" or "HTTP_ORIGIN" in environ:
            return self._app(environ, start_response)
        context = RequestContext.of(self._services, environ, route.dialect)
        try:
            self._pipeline.begin(context)
            response = self._pipeline.answer(context, route)
        except Exception as error:
            response = error_response(context, error)
        self._pipeline.finish(context, response)
        return response(environ, start_response)
