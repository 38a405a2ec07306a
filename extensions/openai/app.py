"""The Flask application: pages, their addresses, and what every request goes through."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from flask import Flask, Response, g, request
from flask_cors import CORS
from werkzeug.exceptions import HTTPException
from werkzeug.exceptions import MethodNotAllowed as WerkzeugMethodNotAllowed

from . import (
    chat,
    completions,
    health,
    home,
    internal,
    internal_models,
    legacy_engines,
    models,
    monitoring,
    openapi,
    usage,
)
from .access.job import Job
from .access.keys import HEADERS as KEY_HEADERS
from .access.limits import Admission
from .access.network import check_source, origin_patterns
from .access.proxies import HOST_SENT, TrustedProxies
from .access.record import Observer, Record
from .access.scheduler import Scheduler
from .access.tunnel import Tunnel
from .data_folder import data_folder
from .engines.base import Engine
from .errors import (
    APIError,
    BodyTooLarge,
    Forbidden,
    InternalError,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    UnsupportedMediaType,
)
from .generation.estimate import expected_tokens
from .generation.policy import read_policy
from .operations.capture import Capture, Redactor
from .operations.logs import log_request
from .routing import Call, Lifecycle, Pages, Route, Services, new_request_id
from .settings import Settings, SettingsError
from .streaming import ClientGone, json_response
from .validation import RequestModel, parse, parse_query

log = logging.getLogger("openedai")

PAGES = (
    home,
    health,
    monitoring,
    models,
    legacy_engines,
    completions,
    chat,
    internal,
    internal_models,
    usage,
)
ROUTES: tuple[Route, ...] = tuple(route for page in PAGES for route in page.ROUTES)

EXPOSED = [
    *("x-request-id", "openai-processing-ms", "retry-after", "retry-after-ms"),
    *(
        f"x-ratelimit-{what}-{kind}"
        for what in ("limit", "remaining", "reset")
        for kind in ("requests", "tokens")
    ),
]
"""What pages in browsers may read of an answer's headers."""
SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")


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

    `lifecycle` lets whoever serves the application stop it gracefully; `tunnel` is told of on its pages.
    """
    app = _App("openedai", static_folder=None)
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body_mb << 20
    scheduler = Scheduler(
        queue_limit=settings.queue_limit,
        queue_timeout=settings.queue_timeout,
        spare_seconds=settings.spare_seconds,
    )
    policy = read_policy(settings)
    services = Services(
        settings, engine, scheduler, policy, lifecycle or Lifecycle(), tunnel=tunnel
    )
    services.reloaders.append(scheduler.configure)
    app.extensions["openai"] = services
    services.observers.append(_request_log(services))
    pages = Pages(settings, {*(route.page for route in ROUTES), openapi.PAGE})
    for route in ROUTES:
        if route.open_by(settings):
            route = replace(route, scope=None)
        for address in route.addresses.value:
            rule = settings.api_prefix + address + route.path
            view = _view(route, services, pages)
            app.add_url_rule(rule, f"{route.handler.__name__} {rule}", view, methods=[route.method])
    served = [route for route in ROUTES if route.page in pages]
    openapi.add_pages(app, served, settings.api_prefix, pages)
    _around_every_request(app, services)
    if settings.debug:
        _capture(app, services)
    _errors(app, services)
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
    return app


def _view(route: Route, services: Services, pages: Pages) -> Callable[..., Response]:
    """The Flask view of a route: parse, then let the page answer."""

    def view(model: str | None = None, **arguments: str) -> Response:
        record: Record = g.record
        record.route = _name(route)
        pages.check(route.page)
        if route.scope is not None:
            headers = request.headers
            record.caller = services.keys.identify(
                {name: headers.get(name) for name in KEY_HEADERS}, record.address
            )
            if route.scope not in record.caller.scopes:
                raise Forbidden(
                    f"This page needs a key with the scope '{route.scope}'.",
                    code="insufficient_permissions",
                )
        admission = _admission(services, record)
        if admission is not None and not (admission.needs_user and route.body):
            admission.enter(None)
        if route.query is not None:
            arguments["query"] = parse_query(route.query, request.args)  # type: ignore[assignment]
        if route.body is not None:
            try:
                body = _body(route, services.settings)
            except APIError:
                if admission is not None and admission.needs_user:
                    admission.enter(None)
                raise
            record.user = getattr(body, "user", None)
            arguments["body"] = body  # type: ignore[assignment]
            if admission is not None and admission.needs_user:
                admission.enter(record.user)
        if admission is not None and route.scope == "write":
            admission.take(expected_tokens(body) if route.body is not None else 0)
        job: Job = g.job
        services.jobs.add(job)
        environ = request.environ
        # `request.url_root` would be this, but written for people to read, which costs more than all of it.
        root = f"{environ['wsgi.url_scheme']}://{environ.get('HTTP_HOST') or request.host}"
        base_url = root + environ["SCRIPT_NAME"].rstrip("/") + services.settings.api_prefix
        # Only waitress is known to send what is written before it asks for more.
        gone = environ.get("waitress.client_disconnected")
        call = Call(services, base_url, model, gone or _nobody_knows, job, pushed=gone is not None)
        return route.handler(call, **arguments)

    return view


def _admission(services: Services, record: Record) -> Admission | None:
    """For a caller who has limits."""
    if not (record.caller.limits or record.caller.user_limits):
        return None
    admission = g.admission = services.limiter.admission(record)
    g.job.leave = admission.leave
    return admission


def _body(route: Route, settings: Settings) -> RequestModel:
    data = _json_bytes()
    if route.body_optional and not data:
        data = b"{}"
    assert route.body is not None
    return parse(route.body, data, strict=settings.strict_parameters)


def _nobody_knows() -> bool:
    """Whether the client has hung up, under a server that does not tell."""
    return False


def _json_bytes() -> bytes:
    """The body, which must be JSON by its type; a request that names no type is believed to be."""
    kind = request.mimetype
    if kind and kind != "application/json" and not kind.endswith("+json"):
        raise UnsupportedMediaType(
            "The body of the request must be JSON. Send the header Content-Type: application/json."
        )
    if request.headers.get("content-encoding", "identity") != "identity":
        raise UnsupportedMediaType("The body of the request must not be compressed.")
    return request.get_data(cache=False)


def _around_every_request(app: Flask, services: Services) -> None:
    def begin() -> None:
        headers = request.headers
        given = headers.get("x-request-id", "")
        record = Record(given if SANE_REQUEST_ID.fullmatch(given) else new_request_id())
        record.address = request.remote_addr or ""
        g.record, g.job = record, Job(record)
        for host in _hosts():
            check_source(services.settings, host, headers.get("origin"))
        services.lifecycle.enter()
        g.entered = True

    def end(response: Response) -> Response:
        record: Record = g.record
        record.status = response.status_code
        response.headers["x-request-id"] = record.id
        job: Job = g.job
        response.call_on_close(lambda: services.observe(record))
        response.call_on_close(lambda: services.jobs.remove(job))
        response.headers["openai-processing-ms"] = record.milliseconds
        admission: Admission | None = g.get("admission")
        if admission is not None:
            if not record.streamed or record.error:
                # Before the client has its answer and asks again, which would be one too many at once.
                admission.close()
            response.headers.update(admission.headers)
            response.call_on_close(admission.close)
        if g.pop("entered", False):
            response.call_on_close(services.lifecycle.leave)
        return response

    app.before_request(begin)
    app.after_request(end)


def _request_log(services: Services) -> Observer:
    """A line in the log for each request; pages that machines read every few seconds are for `--debug`."""
    quiet = {_name(route) for route in ROUTES if route.scope is None or route.path == "/metrics"}

    def observe(record: Record) -> None:
        # Documents and preflights have no route, and nothing to tell unless they fail.
        is_quiet = record.route in quiet or (not record.route and record.status < 400)
        told = services.settings.log_requests and not is_quiet
        log_request(record, logging.INFO if told else logging.DEBUG)

    return observe


def _capture(app: Flask, services: Services) -> None:
    """Write requests and answers down. Raises SettingsError where the folder cannot be had."""

    def redactor() -> Redactor:
        settings = services.settings
        keys = (settings.api_key, settings.admin_key, settings.password, settings.keys_secret)
        return Redactor(key.get_secret_value() for key in keys if key is not None)

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


def _name(route: Route) -> str:
    """As the reference writes it: `POST /v1/chat/completions`."""
    return f"{route.method} {route.addresses.value[0]}{route.path}"


def _hosts() -> set[str | None]:
    """The Host header, which only HTTP before 1.1 may leave out, and what a proxy tells instead.

    Both count: a page that reaches us from a trusted machine's browser can tell a host, but not send one.
    """
    host = request.headers.get("host")
    if host is None and request.environ.get("SERVER_PROTOCOL") == "HTTP/1.1":
        raise InvalidRequest("The request has no Host header, as HTTP/1.1 demands.")
    return {host, request.environ.get(HOST_SENT, host)}


def _errors(app: Flask, services: Services) -> None:
    def ours(error: APIError) -> Response:
        status = error.status
        if status == 400:
            status = services.settings.validation_status
        g.record.error = error.code or error.type
        response = json_response(error.envelope(), status)
        response.headers.update(error.headers)
        return response

    def werkzeugs(error: HTTPException) -> Response:
        if error.code is not None and error.code < 400:
            return error.get_response()  # type: ignore[return-value]
        response = ours(_translate(error))
        if isinstance(error, WerkzeugMethodNotAllowed) and error.valid_methods:
            response.headers["Allow"] = ", ".join(sorted(error.valid_methods))
        return response

    def gone(_: ClientGone) -> Response:
        g.record.cancelled = True
        return Response(status=499)  # nobody reads it

    def anything(error: Exception) -> Response:
        log.error("request %s failed", g.record.id, exc_info=error)
        return ours(InternalError("The server failed while it worked on this request."))

    app.register_error_handler(APIError, ours)
    app.register_error_handler(HTTPException, werkzeugs)
    app.register_error_handler(ClientGone, gone)
    app.register_error_handler(Exception, anything)


def _translate(error: HTTPException) -> APIError:
    """Werkzeug's error as one of ours."""
    address = f"{request.method[:40]} {request.path[:200]}"
    if error.code == 404:
        return NotFound(f"Invalid URL ({address}): this server has no such page.")
    if error.code == 405:
        return MethodNotAllowed(f"Not allowed to {request.method[:40]} on {request.path[:200]}.")
    if error.code == 413:
        limit = request.max_content_length or 0
        return BodyTooLarge(f"The body of the request is larger than {limit >> 20} MiB.")
    if error.code is not None and error.code < 500:
        return InvalidRequest(error.description or error.name)
    log.error("request %s failed: %s", g.record.id, error.name)
    return InternalError("The server failed while it worked on this request.")
