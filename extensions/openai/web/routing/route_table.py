"""Finds the route of a path, for code that runs without Flask."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from werkzeug.exceptions import HTTPException
from werkzeug.routing import RequestRedirect

from ..responses.dialects import OPENAI, Dialect
from .routes import Route

if TYPE_CHECKING:
    from werkzeug.routing import Map


class RouteTable:
    """The routes of one application by the names of their rules in Flask. Thread-safe once filled."""

    def __init__(self, rules: Map) -> None:
        self._routes: dict[str, Route] = {}
        self._dialects_by_header: dict[str, Dialect] = {}
        self._dialects_elsewhere: dict[str, Dialect] = {}
        self._adapter = rules.bind("localhost")

    def add(self, name: str, route: Route) -> None:
        self._routes[name] = route
        if route.dialect.client_header is not None:
            self._dialects_by_header[route.dialect.client_header] = route.dialect
        self._dialects_elsewhere |= dict.fromkeys(route.dialect.elsewhere, route.dialect)

    def named(self, name: str | None) -> Route | None:
        """None if the rule belongs to no route, as those of /docs."""
        return self._routes.get(name or "")

    def find(self, method: str, path: str) -> Route | None:
        """The route of a request; None if there is none."""
        try:
            name, _ = self._adapter.match(path, method)
        except (HTTPException, RequestRedirect):
            return None
        return self.named(name)

    def dialect_of(self, route: Route | None, environ: Mapping[str, Any]) -> Dialect:
        """The dialect of a request's address, or, where there is no such address or clients of several share
        it (models), that of the client."""
        own = route.dialect if route else self.dialect_at(environ.get("PATH_INFO", ""))
        if own is not OPENAI or (route is not None and route.chunk is not None):
            return own
        known = (each for name, each in self._dialects_by_header.items() if name in environ)
        return next(known, own)

    def dialect_at(self, path: str) -> Dialect:
        """The dialect of the route at a path, for any method, or of an API that has a path there; else
        OpenAI's."""
        for method in self._adapter.allowed_methods(path):
            if (route := self.find(method, path)) is not None:
                return route.dialect
        known = (each for part, each in self._dialects_elsewhere.items() if part in path)
        return next(known, OPENAI)
