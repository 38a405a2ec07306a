"""The Flask application: pages, their addresses, and the ways that requests take to them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flask import Flask, Response, g, request
from flask_cors import CORS
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from .. import (
    chat,
    completions,
    health,
    home,
    legacy_engines,
    metrics,
    model_management,
    models,
    request_queue,
    usage,
)
from ..access.allowed_hosts import origin_patterns
from ..access.proxies import TrustedProxies
from ..engines.protocol import Engine
from ..errors import APIError
from ..generation.sampling.policy import read_policy
from ..limits.scheduler import Scheduler
from ..observability.capture import Capture, Redactor
from ..observability.logs import log_request
from ..observability.record import Observer, RequestRecord
from ..outbound.tunnel import Tunnel
from ..settings import Settings, SettingsError
from ..state.store import Store
from ..system.data_folder import data_folder
from . import openapi
from .head_check import HeadCheck
from .pipeline import IGNORED_HEADER, Exchange, RequestPipeline, View
from .response import Reply, as_flask
from .routes import Lifecycle, Route, ServedEndpoints, Services

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

log = logging.getLogger("openedai")

PAGES = (
    home,
    health,
    metrics,
    models,
    legacy_engines,
    completions,
    chat,
    request_queue,
    model_management,
    usage,
)
ROUTES: tuple[Route, ...] = tuple(route for page in PAGES for route in page.ROUTES)

EXPOSED = [
    *("x-request-id", "openai-processing-ms", "retry-after", "retry-after-ms", IGNORED_HEADER),
    *(
        f"x-ratelimit-{what}-{kind}"
        for what in ("limit", "remaining", "reset")
        for kind in ("requests", "tokens")
    ),
]
"""What pages in browsers may read of an answer's headers."""


class _App(Flask):
    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """Flask looks at each function, each time, whether it is a coroutine; none is here."""
        return func


def create_app(
    settings: Settings,
    engine: Engine,
    lifecycle: Lifecycle | None = None,
    tunnel: Tunnel | None = None,
) -> Flask:
    """The API as a WSGI application. Needs no host: any engine will do. Raises SettingsError.

    `lifecycle` lets the server stop the application gracefully; the home page shows `tunnel`.
    """
    app = _App("openedai", static_folder=None)
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False
    scheduler = Scheduler(
        queue_limit=settings.queue_limit,
        queue_timeout=settings.queue_timeout,
        spare_seconds=settings.spare_seconds,
    )
    policy = read_policy(settings)
    store = Store(settings)
    store.prepare()
    services = Services(
        settings, engine, scheduler, policy, lifecycle or Lifecycle(), store, tunnel=tunnel
    )
    services.reloaders.append(store.configure)
    services.reloaders.append(scheduler.configure)
    app.extensions["openai"] = services
    services.observers.append(_request_log(services))
    endpoints = ServedEndpoints(settings, {*(route.endpoint for route in ROUTES), openapi.ENDPOINT})
    exchanges = RequestPipeline(services, endpoints)
    direct: dict[str, View] = {}
    named: dict[str, Route] = {}
    for route in ROUTES:
        if route.open_by(settings):
            route = replace(route, scope=None)
        view = exchanges.view(route)
        for address in route.addresses.value:
            rule = settings.api_prefix + address + route.path
            name = f"{route.handler.__name__} {rule}"
            named[name] = route
            app.add_url_rule(rule, name, _flask_view(view, route), methods=[route.method])
            if route.chunk is not None and "<" not in rule:
                direct[rule] = view
    served = [route for route in ROUTES if route.endpoint in endpoints]
    openapi.add_pages(app, served, settings.api_prefix, endpoints)
    _flask_hooks(app, exchanges)
    app.wsgi_app = _ShortCut(app.wsgi_app, exchanges, direct)  # type: ignore[method-assign]
    if settings.debug:
        _capture(app, services)
    CORS(
        app,
        origins="*" if "*" in settings.cors_origins else origin_patterns(settings.cors_origins),
        expose_headers=EXPOSED,
        max_age=600,
        always_send=False,
        # Asked for by browsers before a page of the internet may call this machine.
        allow_private_network=True,
    )
    # Programs send no Origin, and then there is nothing to say.
    tell_pages = app.after_request_funcs[None].pop()
    app.after_request(lambda answer: tell_pages(answer) if "origin" in request.headers else answer)
    proxies = TrustedProxies(app.wsgi_app, settings)
    services.reloaders.append(proxies.configure)
    app.wsgi_app = proxies  # type: ignore[method-assign]
    app.extensions["openai_head_check"] = HeadCheck(services, endpoints, app, named, proxies.adopt)
    return app


class _ShortCut:
    """A WSGI application in front of Flask: what models are asked for goes straight to its page.

    Flask finds pages, keeps contexts and calls hooks for all kinds of applications; for these requests that
    would be a quarter of all that Python does. What is done for every request (`pipeline.py`) is done here as
    well. Requests of browsers' pages, which have to do with CORS, take the way through Flask.
    """

    def __init__(
        self, app: WSGIApplication, exchanges: RequestPipeline, views: Mapping[str, View]
    ) -> None:
        """`views` by the path of a POST request."""
        self._app = app
        self._exchanges = exchanges
        self._views = views

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        view = self._views.get(environ.get("PATH_INFO", ""))
        if view is None or environ["REQUEST_METHOD"] != "POST" or "HTTP_ORIGIN" in environ:
            return self._app(environ, start_response)
        exchange = Exchange.of(environ)
        reply: Reply | Response
        try:
            self._exchanges.begin(exchange)
            reply = view(exchange)
        except Exception as error:
            reply = self._exchanges.refuse(exchange, error)
        self._exchanges.finish(exchange, reply)
        return reply(environ, start_response)


def _flask_view(view: View, route: Route) -> Callable[..., Response]:
    def answer(**arguments: str) -> Response:
        query = request.args if route.query is not None else None
        reply = view(g.exchange, query=query, **arguments)
        return as_flask(reply) if isinstance(reply, Reply) else reply

    return answer


def _flask_hooks(app: Flask, exchanges: RequestPipeline) -> None:
    def begin() -> None:
        g.exchange = Exchange.of(request.environ)
        exchanges.begin(g.exchange)

    def finish(response: Response) -> Response:
        exchanges.finish(g.exchange, response)
        return response

    def refuse(error: Exception) -> Response:
        return as_flask(exchanges.refuse(g.exchange, error))

    def refuse_werkzeugs(error: HTTPException) -> Response:
        if error.code is not None and error.code < 400:
            return error.get_response()  # type: ignore[return-value]
        response = refuse(error)
        if isinstance(error, MethodNotAllowed) and error.valid_methods:
            response.headers["Allow"] = ", ".join(sorted(error.valid_methods))
        return response

    app.before_request(begin)
    app.after_request(finish)
    app.register_error_handler(HTTPException, refuse_werkzeugs)
    app.register_error_handler(Exception, refuse)


def _request_log(services: Services) -> Observer:
    """A line in the log for each request; pages that machines read every few seconds are for `--debug`."""
    quiet = {route.name for route in ROUTES if route.scope is None or route.path == "/metrics"}

    def observe(record: RequestRecord) -> None:
        # Documents and preflights have no route, and nothing to tell unless they fail.
        is_quiet = record.route in quiet or (not record.route and record.status < 400)
        told = services.settings.log_requests and not is_quiet
        log_request(record, logging.INFO if told else logging.DEBUG)

    return observe


def _capture(app: Flask, services: Services) -> None:
    """Write requests and answers down. Raises SettingsError where the folder cannot be had."""

    segments = {part for rule in app.url_map.iter_rules() for part in rule.rule.split("/")}

    def redactor() -> Redactor:
        settings = services.settings
        keys = (settings.api_key, settings.admin_key, settings.password, settings.keys_secret)
        secrets = [key.get_secret_value() for key in keys if key is not None]
        return Redactor(secrets, {*segments, *settings.model_aliases, *_model_names(services)})

    settings = services.settings
    chosen = settings.debug_folder
    folder = Path(chosen).expanduser() if chosen else data_folder(settings) / "debug"
    try:
        app.wsgi_app = Capture(app.wsgi_app, folder, redactor)  # type: ignore[method-assign]
    except OSError as error:
        raise SettingsError(
            f"setting debug_folder: cannot make {folder}: {error.strerror}"
        ) from error
    log.warning("--debug: requests and answers are written to %s, with prompts", folder)


def _model_names(services: Services) -> list[str]:
    try:
        return services.engine.info.model.split("/")
    except APIError:  # there is no model
        return []
