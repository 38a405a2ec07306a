"""Which route a path leads to, for those who have to know it without Flask."""

from __future__ import annotations

from typing import TYPE_CHECKING

from werkzeug.exceptions import HTTPException
from werkzeug.routing import RequestRedirect

from ..responses.dialects import OPENAI, Dialect
from .routes import Route

if TYPE_CHECKING:
    from werkzeug.routing import Map


class RouteTable:
    """The routes of one application by the names of their rules in Flask. Thread-safe once it is filled."""

    def __init__(self, rules: Map) -> None:
        self._routes: dict[str, Route] = {}
        self._adapter = rules.bind("localhost")

    def add(self, name: str, route: Route) -> None:
        self._routes[name] = route

    def named(self, name: str | None) -> Route | None:
        """None for a rule that is no route's: documents, and paths that there are not."""
        return self._routes.get(name or "")

    def find(self, method: str, path: str) -> Route | None:
        """What would answer a request; None where no route would."""
        try:
            name, _ = self._adapter.match(path, method)
        except (HTTPException, RequestRedirect):
            return None
        return self.named(name)

    def dialect_at(self, path: str) -> Dialect:
        """That of the route at a path, whatever the method; OpenAI's where there is none."""
        for method in self._adapter.allowed_methods(path):
            if (route := self.find(method, path)) is not None:
                return route.dialect
        return OPENAI
