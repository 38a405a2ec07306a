"""A file that is sent while it is made."""

from __future__ import annotations

import logging
from collections.abc import Generator
from itertools import chain

from ...errors import APIError, EngineFailed
from ..context import ClientGone, RequestContext
from .response import Response

log = logging.getLogger("openedai")


def respond_bytes(
    context: RequestContext, parts: Generator[bytes | None, None, None], content_type: str
) -> Response:
    """Send `parts` as they come; None among them means that nothing has happened yet.

    An error before the first part keeps its status; a later one breaks the connection, so that no client
    takes what it has for the whole. If the client hangs up, the work ends within one step.
    """
    context.record.streamed = True
    body = _wanted(context, parts)
    first = next(body, None)
    if first is None:
        raise EngineFailed("The model made an empty file.")
    response = Response(chain([first], body), content_type=content_type)
    response.headers["X-Accel-Buffering"] = "no"
    response.call_on_close(body.close)
    return response


def _wanted(
    context: RequestContext, parts: Generator[bytes | None, None, None]
) -> Generator[bytes, None, None]:
    record, begun = context.record, False
    try:
        for part in parts:
            context.check_wanted()
            if part:
                yield part
                begun = True
        context.allow_another()
    except GeneratorExit:
        record.cancelled = True
        raise
    except ClientGone:
        record.cancelled = True
        if not begun:
            raise
    except APIError as error:
        if begun:
            record.error = error.code or error.type
            log.warning("an answer failed while it was sent: %s", record.error)
        raise
    finally:
        parts.close()
