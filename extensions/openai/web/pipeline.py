"""What every request goes through, with Flask or past it: checks, key, limits, body; errors; the end.

`app.py` calls this from Flask's hooks and views, and from a short cut for the pages that models answer.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from flask import Response
from werkzeug.exceptions import HTTPException
from werkzeug.wsgi import get_host, get_input_stream

from ..access.allowed_hosts import check_source
from ..access.caller import Caller, Scope
from ..access.keys import sent_keys
from ..access.proxies import HOST_SENT
from ..errors import (
    APIError,
    BodyTooLarge,
    Forbidden,
    InternalError,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    UnsupportedMediaType,
)
from ..limits.active_requests import Job
from ..limits.rate_limits import Admission
from ..limits.token_estimate import expected_tokens
from ..observability.record import RequestRecord
from ..schemas.field_names import header_of
from ..schemas.validation import RequestModel, ignored_fields, parse, parse_query
from .response import Reply, json_reply
from .routes import Call, Route, ServedEndpoints, Services, new_request_id
from .streaming import ClientGone

log = logging.getLogger("openedai")

IGNORED_HEADER = "x-openedai-ignored"
"""Names what of a request is not known, or not to be had here, and was left out."""
REFUSAL = "openedai.refusal"
"""In a request's environment: the error that its head was judged with, before its body was read."""

SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")


@dataclass(slots=True)
class Exchange:
    """One request on its way, and what is known of it by now."""

    environ: dict[str, Any]
    """Of WSGI."""
    record: RequestRecord
    job: Job
    admission: Admission | None = None
    """Where the caller has limits."""
    entered: bool = False
    """Whether it counts as under way."""

    @classmethod
    def of(cls, environ: dict[str, Any]) -> Exchange:
        given = environ.get("HTTP_X_REQUEST_ID", "")
        record = RequestRecord(given if SANE_REQUEST_ID.fullmatch(given) else new_request_id())
        record.address = environ.get("REMOTE_ADDR") or ""
        return cls(environ, record, Job(record))


View = Callable[..., "Reply | Response"]
"""Answers one route: called with an Exchange, and by name with what its address and query hold."""


class RequestPipeline:
    """The way of all requests of one application. Thread-safe."""

    def __init__(self, services: Services, endpoints: ServedEndpoints) -> None:
        self._services = services
        self._endpoints = endpoints
        self._longest_body = services.settings.max_body_mb << 20

    def begin(self, exchange: Exchange) -> None:
        """Where it comes from may ask, and the server takes requests. Raises APIError."""
        environ = exchange.environ
        host = environ.get("HTTP_HOST")
        if host is None and environ.get("SERVER_PROTOCOL") == "HTTP/1.1":
            raise InvalidRequest("The request has no Host header, as HTTP/1.1 demands.")
        # Both its own host and the one a proxy tells count: a page that reaches us from a trusted machine's
        # browser can tell a host, but not send one. Only HTTP before 1.1 may leave it out.
        for each in {host, environ.get(HOST_SENT, host)}:
            check_source(self._services.settings, each, environ.get("HTTP_ORIGIN"))
        self._services.lifecycle.enter()
        exchange.entered = True

    def view(self, route: Route) -> View:
        """How a route is answered: parse, then let the page do it."""
        services, name = self._services, route.name

        def view(
            exchange: Exchange, model: str | None = None, query: Any = None, **arguments: Any
        ) -> Reply | Response:
            record, environ = exchange.record, exchange.environ
            record.route = name
            self._endpoints.check(route.endpoint)
            if route.scope is not None:
                if (refusal := environ.get(REFUSAL)) is not None:
                    raise refusal
                record.caller = services.keys.identify(sent_keys(environ), record.address)
                check_scope(record.caller, route.scope)
            if record.caller.limits or record.caller.user_limits:
                exchange.admission = services.limiter.admission(record)
                exchange.job.leave = exchange.admission.leave
            admission = exchange.admission
            if admission is not None and not (admission.needs_user and route.body):
                admission.enter(None)
            if route.query is not None:
                arguments["query"] = parse_query(route.query, query)
            if route.body is not None:
                try:
                    body = self._body(route, environ)
                except APIError:
                    if admission is not None and admission.needs_user:
                        admission.enter(None)
                    raise
                record.user = getattr(body, "user", None)
                record.ignored = [*body.left_out, *ignored_fields(body)]
                arguments["body"] = body
                if admission is not None and admission.needs_user:
                    admission.enter(record.user)
            if admission is not None and route.scope == "write":
                admission.take(expected_tokens(body) if route.body is not None else 0)
            services.jobs.add(exchange.job)
            if route.chunk is not None and services.model_manager is not None:
                services.model_manager.reload_if_unloaded()
            return route.handler(self._call(exchange, model), **arguments)

        return view

    def refuse(self, exchange: Exchange, error: Exception) -> Reply:
        """The reply to a request that ended with an exception."""
        if isinstance(error, ClientGone):
            exchange.record.cancelled = True
            return Reply(status=499)  # the client has left
        if isinstance(error, HTTPException):
            error = self._translate(exchange, error)
        if not isinstance(error, APIError):
            log.error("request %s failed", exchange.record.id, exc_info=error)
            error = InternalError("The server failed while it worked on this request.")
        status = error.status
        if status == 400:
            status = self._services.settings.validation_status
        exchange.record.error = error.code or error.type
        reply = json_reply(error.envelope(), status)
        reply.headers.update(error.headers)
        return reply

    def finish(self, exchange: Exchange, reply: Reply | Response) -> None:
        """What every reply has, and what is to be done when it is sent."""
        services, record, job = self._services, exchange.record, exchange.job
        self._head(exchange, reply)
        reply.call_on_close(lambda: services.observe(record))
        reply.call_on_close(lambda: services.jobs.remove(job))
        if exchange.admission is not None:
            reply.call_on_close(exchange.admission.close)
        if exchange.entered:
            exchange.entered = False
            reply.call_on_close(services.lifecycle.leave)

    def _head(self, exchange: Exchange, reply: Reply | Response) -> None:
        record, admission, headers = exchange.record, exchange.admission, reply.headers
        record.status = reply.status_code
        headers["x-request-id"] = record.id
        headers["openai-processing-ms"] = record.milliseconds
        if record.ignored:
            headers[IGNORED_HEADER] = header_of(record.ignored)
        if admission is not None:
            if not record.streamed or record.error:
                # Before the client has its answer and asks again, which would be one too many at once.
                admission.close()
            headers.update(admission.headers)

    def _call(self, exchange: Exchange, model: str | None) -> Call:
        environ = exchange.environ

        def refuse(error: Exception) -> Reply:
            reply = self.refuse(exchange, error)
            self._head(exchange, reply)
            return reply

        host = environ.get("HTTP_HOST") or get_host(environ)
        root = f"{environ['wsgi.url_scheme']}://{host}{environ['SCRIPT_NAME'].rstrip('/')}"
        # Only waitress is known to send what is written before it asks for more.
        gone = environ.get("waitress.client_disconnected")
        return Call(
            self._services,
            root + self._services.settings.api_prefix,
            model,
            gone or _nobody_knows,
            exchange.job,
            refuse,
            pushed=gone is not None,
        )

    def _body(self, route: Route, environ: dict[str, Any]) -> RequestModel:
        data = self._json_bytes(environ)
        if route.body_optional and not data:
            data = b"{}"
        assert route.body is not None
        return parse(route.body, data, strict=self._services.settings.strict_parameters)

    def _json_bytes(self, environ: dict[str, Any]) -> bytes:
        """The body, which must be JSON by its type; a request that names no type is believed to be."""
        check_body_type(environ)
        data: bytes = get_input_stream(environ, max_content_length=self._longest_body).read()
        return data

    def _translate(self, exchange: Exchange, error: HTTPException) -> APIError:
        """Werkzeug's error as one of ours."""
        method = exchange.environ["REQUEST_METHOD"][:40]
        path = exchange.environ.get("PATH_INFO", "").encode("latin-1").decode("utf-8", "replace")
        if error.code == 404:
            return NotFound(f"Invalid URL ({method} {path[:200]}): this server has no such page.")
        if error.code == 405:
            return MethodNotAllowed(f"Not allowed to {method} on {path[:200]}.")
        if error.code == 413:
            most = self._longest_body >> 20
            return BodyTooLarge(f"The body of the request is larger than {most} MiB.")
        if error.code is not None and error.code < 500:
            return InvalidRequest(error.description or error.name)
        log.error("request %s failed: %s", exchange.record.id, error.name)
        return InternalError("The server failed while it worked on this request.")


def check_scope(caller: Caller, scope: Scope) -> None:
    """Raises Forbidden for a key that does not allow it."""
    if scope not in caller.scopes:
        raise Forbidden(
            f"This page needs a key with the scope '{scope}'.", code="insufficient_permissions"
        )


def check_body_type(environ: Mapping[str, Any]) -> None:
    """Raises UnsupportedMediaType for a body that is not plain JSON, as its headers say."""
    kind = environ.get("CONTENT_TYPE", "").partition(";")[0].strip().lower()
    if kind and kind != "application/json" and not kind.endswith("+json"):
        raise UnsupportedMediaType(
            "The body of the request must be JSON. Send the header Content-Type: application/json."
        )
    if environ.get("HTTP_CONTENT_ENCODING", "identity") != "identity":
        raise UnsupportedMediaType("The body of the request must not be compressed.")


def _nobody_knows() -> bool:
    """Whether the client has hung up, under a server that does not tell."""
    return False
