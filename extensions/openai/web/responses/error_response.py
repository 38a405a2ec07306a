"""The response to a request that ended with an exception."""

from __future__ import annotations

import logging

from werkzeug.exceptions import HTTPException

from ...errors import (
    APIError,
    BodyTooLarge,
    InternalError,
    InvalidRequest,
)
from ...schemas.field_names import PLACE
from ..context import ClientGone, RequestContext
from .response import Response, json_response

log = logging.getLogger("openedai")


def error_response(context: RequestContext, error: Exception) -> Response:
    """The error in the envelope of the request's dialect.

    Any exception but APIError and werkzeug's is logged; the client learns only that the server failed.
    """
    record = context.record
    if isinstance(error, ClientGone):
        record.cancelled = True
        return Response(status=499)  # the client hung up
    if isinstance(error, HTTPException):
        error = _translated(context, error)
    if not isinstance(error, APIError):
        log.error("request %s failed", record.id, exc_info=error)
        error = failed()
    status = context.dialect.status(error)
    if status == 400:
        status = context.services.settings.validation_status
    record.error = error.code or error.type
    if error.param is not None and PLACE.fullmatch(error.param):
        record.param = error.param
    response = json_response(context.dialect.error(error, record.id), status)
    response.headers.update(error.headers)
    return response


def failed() -> InternalError:
    """The error that a client gets when the server itself failed."""
    return InternalError("The server failed while it worked on this request.")


def _translated(context: RequestContext, error: HTTPException) -> APIError:
    """Translate werkzeug's error into an APIError."""
    if error.code == 413:
        return BodyTooLarge(f"The body of the request is larger than {context.max_body >> 20} MiB.")
    if error.code is not None and error.code < 500:
        return InvalidRequest(error.description or error.name)
    log.error("request %s failed: %s", context.record.id, error.name)
    return failed()
