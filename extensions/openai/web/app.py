"""The Flask application: endpoints at their paths, and what Flask does before and after them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flask import Flask, g, request
from flask_cors import CORS
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound

from .. import (
    agents,
    batches,
    callers,
    chat,
    completions,
    conversations,
    decisions,
    embeddings,
    files,
    fim,
    health,
    home,
    images,
    infill,
    kobold,
    legacy_engines,
    load,
    memories,
    message,
    messages,
    metrics,
    model_management,
    models,
    moderations,
    named_keys,
    ollama,
    plots,
    recent_requests,
    request_queue,
    rerank,
    resident_models,
    responses,
    sessions,
    speech,
    stored_completions,
    streams,
    systemone,
    tokens,
    transcriptions,
    uploads,
    usage,
    users,
)
from ..access.allowed_hosts import origin_patterns
from ..access.proxies import TrustedProxies
from ..engines.protocol import Engine
from ..errors import APIError, WebSocketRefused
from ..generation.sampling.policy import read_policy
from ..limits.rate_limits import HEADERS
from ..limits.scheduler import Scheduler
from ..observability.capture import Capture, Redactor
from ..observability.logs import RequestLog
from ..outbound.tunnel import Tunnel
from ..settings import Settings, SettingsError
from ..state.store import Store
from ..system.data_folder import data_folder
from .batches.line_requests import LineRequests
from .batches.runner import BatchRunner
from .context import IGNORED_HEADER, STREAM_HEADER, RequestContext
from .documentation import api_pages
from .fast_path import FastPath
from .head_check import HeadCheck
from .pipeline import RequestPipeline
from .responses.error_response import error_response
from .responses.response import Response
from .routing.route_table import RouteTable
from .routing.routes import Route
from .routing.rule import MatchingRule
from .routing.served_endpoints import served_endpoints
from .routing.wrong_address import WrongAddresses, logged
from .services import Services

if TYPE_CHECKING:
    from ..observability.tracing import Tracing

log = logging.getLogger("openedai")

ENDPOINTS = (
    chat,
    completions,
    responses,
    conversations,
    messages,
    streams,
    fim,
    infill,
    embeddings,
    rerank,
    transcriptions,
    speech,
    images,
    moderations,
    decisions,
    systemone,
    models,
    stored_completions,
    plots,
    sessions,
    memories,
    message,
    files,
    uploads,
    batches,
    tokens,
    usage,
    users,
    agents,
    callers,
    load,
    named_keys,
    recent_requests,
    request_queue,
    model_management,
    resident_models,
    health,
    metrics,
    home,
    legacy_engines,
    ollama,
    kobold,
)
"""In the order of the OpenAPI document."""
ROUTES: tuple[Route, ...] = tuple(route for endpoint in ENDPOINTS for route in endpoint.ROUTES)
EXPOSED = [
    *("x-request-id", "request-id", "openai-processing-ms", "retry-after", "retry-after-ms"),
    *(IGNORED_HEADER, STREAM_HEADER, "x-openedai-answer-cache"),
    *HEADERS,
]
"""Response headers that pages of other origins may read."""


class _App(Flask):
    response_class = Response
    url_rule_class = MatchingRule

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """Skip Flask's check for coroutines: no view is one."""
        return func


def create_app(
    settings: Settings,
    engine: Engine,
    tunnel: Tunnel | None = None,
    routes: Sequence[Route] = ROUTES,
) -> Flask:
    """The API as a WSGI application. Needs no host: any engine will do. Raises SettingsError.

    The home page shows `tunnel`.
    """
    app = _App("openedai", static_folder=None)
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False
    routes = [replace(each, scope=None) if each.open_by(settings) else each for each in routes]
    services = _services(settings, engine, tunnel, routes)
    endpoints = served_endpoints(
        settings, {*(route.endpoint for route in routes), api_pages.ENDPOINT}
    )
    pipeline = RequestPipeline(services, endpoints)
    services.batches = BatchRunner(services, LineRequests(services, pipeline, routes))
    table, direct = RouteTable(app.url_map), dict[str, Route]()
    for route in routes:
        for address in route.addresses.value:
            rule = settings.api_prefix + address + route.path
            name = f"{route.handler.__name__} {rule}"
            table.add(name, route)
            app.add_url_rule(rule, name, _flask_view(pipeline, route), methods=[route.method])
            if FastPath.suits(route, rule):
                direct[rule] = route
    served = [route for route in routes if route.endpoint in endpoints]
    api_pages.add_pages(app, services, served, endpoints)
    addresses = WrongAddresses(served, settings.api_prefix)
    _flask_hooks(app, services, pipeline, table, addresses)
    app.wsgi_app = FastPath(app.wsgi_app, services, pipeline, direct)  # type: ignore[method-assign]
    if settings.debug:
        _capture(app, services)
    _allow_pages(app, settings)
    if settings.middleware:
        from .middleware import wrapped  # loaded where the operator has some

        app.wsgi_app = wrapped(app.wsgi_app, settings.middleware)  # type: ignore[assignment,method-assign]
    proxies = TrustedProxies(app.wsgi_app, settings)
    services.reloaders.append(proxies.configure)
    app.wsgi_app = proxies  # type: ignore[method-assign]
    app.extensions["openai"] = services
    app.extensions["openai_routes"] = table
    app.extensions["openai_head_check"] = HeadCheck(services, endpoints, table, proxies)
    return app


def _services(
    settings: Settings,
    engine: Engine,
    tunnel: Tunnel | None,
    routes: Iterable[Route],
) -> Services:
    """What all requests share. Raises SettingsError."""
    scheduler = Scheduler.of(settings)
    policy, store = read_policy(settings), Store(settings)
    store.prepare()
    services = Services(settings, engine, scheduler, policy, store, tunnel=tunnel)
    # Endpoints that machines poll are logged with `--debug` only.
    quiet = {route.name for route in routes if route.scope is None or route.path == "/metrics"}
    request_log = RequestLog(settings, frozenset(quiet))
    services.observers.append(request_log)
    services.reloaders += [store.configure, request_log.configure]
    if settings.otel_endpoint:
        services.tracing = _tracing(settings.otel_endpoint)
        services.observers.append(services.tracing.observe)
    if settings.answer_cache:
        from .kept_answers import KeptAnswers  # loaded where the operator wants it

        cache = services.answer_cache = KeptAnswers(settings.answer_cache << 20)
        services.reloaders.append(lambda settings: cache.clear())
    return services


def _tracing(endpoint: str) -> Tracing:
    """Raises SettingsError without the packages."""
    try:
        from ..observability.tracing import Tracing  # loaded where the operator wants it

        return Tracing.to(endpoint)
    except ImportError as error:
        raise SettingsError(
            "setting otel_endpoint: traces need packages: pip install 'openedai[otel]'"
        ) from error


def _allow_pages(app: Flask, settings: Settings) -> None:
    """Let pages of allowed origins read responses (CORS)."""
    CORS(
        app,
        origins="*" if "*" in settings.cors_origins else origin_patterns(settings.cors_origins),
        expose_headers=EXPOSED,
        max_age=600,
        always_send=False,
        # Browsers ask before they let a page of the internet call this machine.
        allow_private_network=True,
    )
    # Programs other than browsers send no Origin.
    tell_pages = app.after_request_funcs[None].pop()
    app.after_request(lambda answer: tell_pages(answer) if "origin" in request.headers else answer)


def _flask_view(pipeline: RequestPipeline, route: Route) -> Callable[..., Response]:
    def answer(**arguments: str) -> Response:
        query = request.args if route.query is not None else None
        return pipeline.answer(g.context, route, query, **arguments)

    return answer


def _flask_hooks(
    app: Flask,
    services: Services,
    pipeline: RequestPipeline,
    table: RouteTable,
    addresses: WrongAddresses,
) -> None:
    def begin() -> None:
        route = table.named(request.endpoint)
        dialect = table.dialect_of(route, request.environ)
        g.context = RequestContext.of(services, request.environ, dialect)
        pipeline.begin(g.context)
        # The server drops `Upgrade`; each client of WebSockets sends this, too (RFC 6455, 4.1).
        if request.method == "GET" and "sec-websocket-key" in request.headers:
            raise WebSocketRefused

    def finish(response: Response) -> Response:
        # A server would send a file itself and close it without calling `end`.
        response.direct_passthrough = False
        pipeline.finish(g.context, response)
        return response

    def refuse(error: Exception) -> Response:
        return error_response(g.context, error)

    def refuse_werkzeugs(error: HTTPException) -> Response:
        if error.code is not None and error.code < 400:
            return error.get_response()  # type: ignore[return-value]
        if not isinstance(error, (NotFound, MethodNotAllowed)):
            return refuse(error)
        method, path = request.method, request.path
        g.context.record.path = logged(method, path)
        if isinstance(error, NotFound):
            return refuse(addresses.not_found(method, path))
        return refuse(addresses.wrong_method(method, path, error.valid_methods or ()))

    app.before_request(begin)
    app.after_request(finish)
    app.register_error_handler(HTTPException, refuse_werkzeugs)
    app.register_error_handler(Exception, refuse)


def _capture(app: Flask, services: Services) -> None:
    """Capture requests and responses. Raises SettingsError if the folder cannot be used."""

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
        services.capture = Capture(app.wsgi_app, folder, redactor)
        app.wsgi_app = services.capture  # type: ignore[method-assign]
    except OSError as error:
        raise SettingsError(
            f"setting debug_folder: cannot make {folder}: {error.strerror}"
        ) from error
    log.warning("--debug: requests and answers are written to %s, with prompts", folder)


def _model_names(services: Services) -> list[str]:
    try:
        return services.models.loaded().name.split("/")
    except APIError:  # there is no model
        return []
