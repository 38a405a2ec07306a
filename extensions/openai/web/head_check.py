"""Whether the body of a request is wanted, told from its head alone.

Without this a stranger could make the server take in bodies of megabytes before it looks at the key. What is
found here only decides whether the body is read; the answer is the application's in any case.
"""

from __future__ import annotations

import hmac
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..access.keys import has_keys, sent_keys
from ..errors import APIError
from .pipeline import check_body_type, check_scope
from .routing.route_table import RouteTable
from .routing.routes import Route
from .routing.served_endpoints import switched_off
from .services import Services

REMEMBERED = 1024  # keys that were right


@dataclass(frozen=True, slots=True)
class Judgement:
    """Whether a body is to be read; if not, with which error, where that is known."""

    wanted: bool
    refusal: APIError | None = None


WANTED = Judgement(True)
UNWANTED = Judgement(False)


class HeadCheck:
    """Judges heads. Thread-safe."""

    def __init__(
        self,
        services: Services,
        endpoints: frozenset[str],
        routes: RouteTable,
        adopt: Callable[[dict[str, Any]], None],
    ) -> None:
        """`adopt` puts what trusted proxies say into an environment."""
        self._services = services
        self._endpoints = endpoints
        self._routes = routes
        self._adopt = adopt
        self._right = _RightKeys()

    def judge_at_once(self, environ: dict[str, Any]) -> Judgement | None:
        """Without waiting for anything; None where that is not enough. For the server's own loop."""
        settings = self._services.settings
        if not has_keys(settings):
            return WANTED
        route = self._route(environ)
        if route is None or route.scope is None:
            return UNWANTED  # the answer is the same whatever comes
        keys = sent_keys(environ)
        if not any(keys.values()):
            return UNWANTED
        if route.scope != "admin" and (
            self._services.keys.is_shared(keys) or self._right.has(keys)
        ):
            return _by_type(route, environ)
        return None

    def judge(self, environ: dict[str, Any]) -> Judgement:
        """The same for what needs a look into files or a slow comparison; counts wrong keys."""
        self._adopt(environ)
        route = self._route(environ)
        if route is None or route.scope is None:
            return UNWANTED
        keys = sent_keys(environ)
        try:
            if route.endpoint not in self._endpoints:
                raise switched_off(route.endpoint)
            caller = self._services.keys.identify(keys, environ.get("REMOTE_ADDR") or "")
            check_scope(caller, route.scope)
        except APIError as error:
            return Judgement(False, error)
        self._right.add(keys)
        return _by_type(route, environ)

    def _route(self, environ: Mapping[str, Any]) -> Route | None:
        return self._routes.find(environ["REQUEST_METHOD"], environ.get("PATH_INFO", ""))


def _by_type(route: Route, environ: Mapping[str, Any]) -> Judgement:
    try:
        check_body_type(route, environ)
    except APIError:
        return UNWANTED
    return WANTED


class _RightKeys:
    """Digests of keys that were right. They only spare a body a wait: the application looks again."""

    def __init__(self) -> None:
        self._secret = secrets.token_bytes(32)
        self._known: OrderedDict[bytes, None] = OrderedDict()
        self._lock = threading.Lock()

    def has(self, keys: Mapping[str, str | None]) -> bool:
        return self._digest(keys) in self._known

    def add(self, keys: Mapping[str, str | None]) -> None:
        with self._lock:
            self._known[self._digest(keys)] = None
            while len(self._known) > REMEMBERED:
                self._known.popitem(last=False)

    def _digest(self, keys: Mapping[str, str | None]) -> bytes:
        said = "\n".join(f"{name}: {value}" for name, value in sorted(keys.items()))
        return hmac.digest(self._secret, said.encode("utf-8", "replace"), "sha256")
