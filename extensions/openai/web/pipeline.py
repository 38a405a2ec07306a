"""What every request goes through, with Flask or without: checks, key, limits, body, handler, the end.

`app.py` calls this from Flask's hooks and views, `fast_path.py` for requests that generate.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, BinaryIO, cast

from werkzeug.exceptions import HTTPException
from werkzeug.wsgi import get_input_stream

from ..access.allowed_hosts import check_source
from ..access.caller import Caller, Scope
from ..access.keys import sent_keys
from ..access.proxies import HOST_SENT
from ..access.proxy_users import USER, proxy_user
from ..errors import APIError, Forbidden, InvalidRequest, UnsupportedMediaType
from ..limits.rate_limits import Admission, short_user
from ..schemas.field_names import reported
from ..schemas.forms import parse_query
from ..schemas.validation import RequestModel, ignored_fields, parse
from .context import RequestContext
from .multipart import FORM, read_form
from .responses.response import Response
from .routing.routes import Route
from .routing.served_endpoints import switched_off
from .services import Services

REFUSAL = "openedai.refusal"
"""Key of the WSGI environment: the error of the check of the head, from before the body was read."""
STREAM_ID = "HTTP_X_OPENEDAI_STREAM_ID"
CALLER = "openedai.caller"
"""Key of the WSGI environment: the caller of a request that the server makes for it, as of a batch's line."""


class RequestPipeline:
    """Handles the requests of one application. Thread-safe."""

    def __init__(self, services: Services, endpoints: frozenset[str]) -> None:
        """`endpoints`: the names of those that are enabled."""
        self._services = services
        self._endpoints = endpoints

    def begin(self, context: RequestContext) -> None:
        """Check the request's host and origin, and register it as active. Raises APIError."""
        environ = context.environ
        host = environ.get("HTTP_HOST")
        if host is None and environ.get("SERVER_PROTOCOL") == "HTTP/1.1":
            raise InvalidRequest("The request has no Host header, as HTTP/1.1 demands.")
        # Its own host counts as well as the one that a proxy reports: a page in a browser on a trusted
        # machine can set X-Forwarded-Host, but not Host. Only HTTP before 1.1 may leave Host out.
        for each in {host, environ.get(HOST_SENT, host)}:
            check_source(self._services.settings, each, environ.get("HTTP_ORIGIN"))
        context.begin()

    def answer(
        self,
        context: RequestContext,
        route: Route,
        query: Any = None,
        *,
        model: str | None = None,
        **arguments: Any,
    ) -> Response:
        """Identify the caller, apply its limits, parse the body, then call the handler.

        `query`: a werkzeug MultiDict; `model` and `arguments`: parameters of the path. Raises APIError, and
        werkzeug's HTTPException.
        """
        services, record = self._services, context.record
        record.route, record.usage = route.name, route.usage
        context.model = model
        if route.endpoint not in self._endpoints:
            raise switched_off(route.endpoint)
        if route.scope is not None:
            self._identify(context, route.scope)
        if record.caller.is_limited:
            context.admission = services.limiter.admission(record)
        if route.generates and STREAM_ID in context.environ:
            from .resumable_stream import resumable  # few ask for it

            context.resumable = resumable(context, context.environ[STREAM_ID])
        admission = context.admission
        counts_user = admission is not None and admission.needs_user and route.has_body
        if admission is not None and not counts_user:
            admission.count_request(None, beside=route.beside)
        if route.query is not None:
            arguments["query"] = parse_query(route.query, query)
        if route.has_body:
            counting = admission if counts_user else None
            arguments["body"] = self._body(context, route, counting)
        if admission is not None and route.scope == "write":
            body = arguments.get("body")
            admission.take(body if isinstance(body, RequestModel) else None)
        if route.generates and services.model_manager is not None:
            services.model_manager.reload_if_unloaded()
        if services.answer_cache is not None and route.cached:
            from .answer_cache import cached  # loaded where the operator wants it

            make = partial(route.handler, context, **arguments)
            return cached(services.answer_cache, context, route, arguments.get("body"), make)
        return route.handler(context, **arguments)

    def finish(self, context: RequestContext, response: Response) -> None:
        """Complete the head, and end the request once the response is sent, unless it goes on."""
        context.complete_head(response)
        if not context.goes_on:
            response.call_on_close(context.end)

    def _identify(self, context: RequestContext, scope: Scope) -> None:
        """Identify the caller. Raises Unauthorized, Forbidden."""
        environ, record = context.environ, context.record
        if (refusal := environ.get(REFUSAL)) is not None:
            raise refusal
        keys, known = self._services.keys, environ.get(CALLER)
        if known is None:
            user = proxy_user(self._services.settings, environ) if USER in environ else None
            record.caller = keys.identify(sent_keys(environ), record.address, user)
        else:
            record.caller = keys.identify_again(known)
        check_scope(record.caller, scope)

    def _body(
        self, context: RequestContext, route: Route, counting: Admission | None
    ) -> RequestModel | BinaryIO:
        """The body; `counting` counts the request for the user that it names, even if it is invalid."""
        try:
            body = _read_body(context, route)
        except (APIError, HTTPException):
            if counting is not None:
                counting.count_request(None, beside=route.beside)
            raise
        record = context.record
        if isinstance(body, RequestModel):
            # Records stay for a while, whatever the size of a body was.
            record.user = body.end_user and short_user(body.end_user)
            ignored = [*body.left_out, *ignored_fields(body)]
            record.ignored = reported(ignored) if ignored else ignored
        if counting is not None:
            counting.count_request(record.user, beside=route.beside)
        return body


def check_scope(caller: Caller, scope: Scope) -> None:
    """Raises Forbidden for a key without this scope."""
    if scope not in caller.scopes:
        raise Forbidden(
            f"This endpoint needs a key with the scope '{scope}'.", code="insufficient_permissions"
        )


def check_body_type(route: Route, environ: Mapping[str, Any]) -> None:
    """Raises UnsupportedMediaType if the headers announce a body that the route does not take."""
    if not route.has_body:
        return
    kind = environ.get("CONTENT_TYPE", "").partition(";")[0].strip().lower()
    if route.body_format == "form":
        if kind != FORM:
            raise UnsupportedMediaType(f"The body of the request must be a form: {FORM}.")
    elif route.body_format == "json" and not (
        # Without a Content-Type it is taken for JSON.
        kind in ("", "application/json") or kind.endswith("+json")
    ):
        raise UnsupportedMediaType(
            "The body of the request must be JSON. Send the header Content-Type: application/json."
        )
    if environ.get("HTTP_CONTENT_ENCODING", "identity") != "identity":
        raise UnsupportedMediaType("The body of the request must not be compressed.")


def _read_body(context: RequestContext, route: Route) -> RequestModel | BinaryIO:
    """The fields of the body, or the body itself if the route takes bytes.

    Raises APIError, and werkzeug's RequestEntityTooLarge for one that is too long.
    """
    environ, settings = context.environ, context.services.settings
    check_body_type(route, environ)
    # A form is a little longer than the file in it.
    most = settings.max_file_mb + 1 if route.takes_files else settings.max_body_mb
    context.max_body = most << 20
    stream = cast(BinaryIO, get_input_stream(environ, max_content_length=context.max_body))
    if route.body is None:
        return stream
    if route.body_format == "form":
        return read_form(context, route.body, stream)
    data = stream.read()
    if route.body_optional and not data:
        data = b"{}"
    return parse(route.body, data, strict=settings.strict_parameters)
