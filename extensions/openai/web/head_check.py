"""Decides from a request's head whether to read its body.

Without this, clients without a key could make the server receive megabytes before it checks the key. The
decision is only about the body; the application always makes the response.
"""

from __future__ import annotations

import hmac
import secrets
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..access.keys import has_keys, sent_keys
from ..access.proxies import TrustedProxies
from ..access.proxy_users import proxy_user
from ..errors import APIError
from .pipeline import check_body_type, check_scope
from .routing.route_table import RouteTable
from .routing.routes import Route
from .routing.served_endpoints import switched_off
from .services import Services

MAX_CACHED_KEYS = 1024


@dataclass(frozen=True, slots=True)
class BodyDecision:
    """Whether to read a body; if not, the error, if already known."""

    wanted: bool
    refusal: APIError | None = None


WANTED = BodyDecision(True)
UNWANTED = BodyDecision(False)


class HeadCheck:
    """Checks heads. Thread-safe."""

    def __init__(
        self,
        services: Services,
        endpoints: frozenset[str],
        routes: RouteTable,
        proxies: TrustedProxies,
    ) -> None:
        self._services = services
        self._endpoints = endpoints
        self._routes = routes
        self._proxies = proxies
        self._valid = _ValidKeys()

    def decide_fast(self, environ: dict[str, Any]) -> BodyDecision | None:
        """Decide without blocking, for the server's loop; None if that is not possible."""
        settings = self._services.settings
        if not has_keys(settings):
            return WANTED
        route = self._route(environ)
        if route is None or route.scope is None:
            return UNWANTED  # the response does not depend on the body
        header = self._proxies.users.header
        if header is not None and header in environ:
            return None
        keys = sent_keys(environ)
        if not any(keys.values()):
            return UNWANTED
        if route.scope != "admin" and (
            self._services.keys.is_shared(keys) or self._valid.has(keys)
        ):
            return _by_type(route, environ)
        return None

    def decide(self, environ: dict[str, Any]) -> BodyDecision:
        """Decide with file access or slow comparisons; counts wrong keys."""
        self._proxies.adopt(environ)
        route = self._route(environ)
        if route is None or route.scope is None:
            return UNWANTED
        keys = sent_keys(environ)
        try:
            if route.endpoint not in self._endpoints:
                raise switched_off(route.endpoint)
            user = proxy_user(self._services.settings, environ)
            address = environ.get("REMOTE_ADDR") or ""
            check_scope(self._services.keys.identify(keys, address, user), route.scope)
        except APIError as error:
            return BodyDecision(False, error)
        if user is None:
            self._valid.add(keys)
        return _by_type(route, environ)

    def takes_files(self, method: str, path: str) -> bool:
        """Whether a body for this address may be long, and is to be on disk while it arrives."""
        route = self._routes.find(method, path)
        return route is not None and route.takes_files and self._services.store.keeps

    def _route(self, environ: Mapping[str, Any]) -> Route | None:
        return self._routes.find(environ["REQUEST_METHOD"], environ.get("PATH_INFO", ""))


def _by_type(route: Route, environ: Mapping[str, Any]) -> BodyDecision:
    try:
        check_body_type(route, environ)
    except APIError:
        return UNWANTED
    return WANTED


class _ValidKeys:
    """Digests of recently valid keys. They only speed up this check: the application checks again."""

    def __init__(self) -> None:
        self._secret = secrets.token_bytes(32)
        self._known: OrderedDict[bytes, None] = OrderedDict()
        self._lock = threading.Lock()

    def has(self, keys: Mapping[str, str | None]) -> bool:
        return self._digest(keys) in self._known

    def add(self, keys: Mapping[str, str | None]) -> None:
        with self._lock:
            self._known[self._digest(keys)] = None
            while len(self._known) > MAX_CACHED_KEYS:
                self._known.popitem(last=False)

    def _digest(self, keys: Mapping[str, str | None]) -> bytes:
        text = "\n".join(f"{name}: {value}" for name, value in sorted(keys.items()))
        return hmac.digest(self._secret, text.encode("utf-8", "replace"), "sha256")
