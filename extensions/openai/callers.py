"""Caller: whose key a request has, and what it may do. The server's own; the console shows what it allows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from typing_extensions import TypedDict

from .access.caller import Scope
from .access.keys import has_keys
from .access.proxy_users import USER
from .web.responses.response import Response, json_response
from .web.routing.routes import PathPrefixes, Route, endpoint

if TYPE_CHECKING:
    from .web.context import RequestContext

ORDER: tuple[Scope, ...] = ("read", "write", "admin")


class CallerObject(TypedDict):
    """The holder of the request's key."""

    object: Literal["caller"]
    name: str
    """The name of its key; `user:NAME`: whom a trusted proxy has logged in; `local`: without a key, from this
    machine."""
    scopes: list[Scope]
    stores: bool
    """Whether what it asks to be stored is stored."""
    key_needed: bool
    """Whether requests without a key are refused."""


def get_caller(context: RequestContext) -> Response:
    """Whose key the request has, and what it may do."""
    caller, services = context.record.caller, context.services
    answer: CallerObject = {
        "object": "caller",
        "name": caller.name,
        "scopes": [scope for scope in ORDER if scope in caller.scopes],
        "stores": caller.stores and services.store.keeps,
        "key_needed": has_keys(services.settings) and USER not in context.environ,
    }
    return json_response(answer)


ROUTES = endpoint(
    "callers",
    Route(
        *("GET", "/internal/caller", get_caller, "Show the caller", PathPrefixes.API),
        answer=CallerObject,
    ),
)
