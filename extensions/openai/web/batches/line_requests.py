"""A line of a batch as a request of its key: the same checks, limits, hooks and usage as one that came in."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from ...access.caller import Caller
from ...errors import (
    APIError,
    EngineFailed,
    QuotaExceeded,
    RequestTimedOut,
    ShuttingDown,
    UpstreamUnreachable,
)
from ..context import ClientGone, RequestContext
from ..pipeline import CALLER, RequestPipeline
from ..responses.error_response import error_response
from ..routing.routes import Route
from ..services import Services

if TYPE_CHECKING:
    from ...observability.record import RequestRecord

MIN_WAIT_S, MAX_WAIT_S = 0.5, 60.0
ENGINE_S = 5.0
"""Until a model may be there again whose process or server has ended, or memory be free."""
LATER = frozenset({429, 503})
"""Statuses with which a server says that it can answer later."""


class LineStopped(Exception):
    """The line is not wanted any more, or the server stops."""


class LineYielded(Exception):
    """Another request needed its slot: it has to be answered again."""


class LineNotYet(Exception):
    """The line can be answered later: its key is at a limit, the server is busy, or no model is there."""

    def __init__(self, seconds: float, failed: LineAnswer | None = None) -> None:
        """`failed`: the answer of an engine that failed, which the line gets if that does not end."""
        super().__init__(seconds)
        self.seconds, self.failed = min(MAX_WAIT_S, max(MIN_WAIT_S, seconds)), failed


@dataclass(frozen=True, slots=True)
class LineAnswer:
    """The response to a line."""

    status: int
    request_id: str
    body: bytes
    """JSON."""
    record: RequestRecord


class LineRequests:
    """Thread-safe."""

    def __init__(
        self, services: Services, pipeline: RequestPipeline, routes: Iterable[Route]
    ) -> None:
        self._services = services
        self._pipeline = pipeline
        self._routes = {each.name: each for each in routes if each.method == "POST"}

    def answer(
        self,
        caller: Caller,
        endpoint: str,
        body: Mapping[str, Any],
        stopped: Callable[[], bool],
        *,
        yields: bool = False,
    ) -> LineAnswer:
        """`stopped` says whether it is not wanted any more; then its work ends within a step of the model.
        `yields`: so it does when an interactive request waits for a slot.

        Raises LineStopped, LineYielded, LineNotYet."""
        services, route = self._services, self._routes[f"POST {endpoint}"]
        needed = threading.Event()
        environ = _environ(
            *(endpoint, orjson.dumps(body), caller), lambda: needed.is_set() or stopped()
        )
        context = RequestContext.of(services, environ, route.dialect)
        context.priority = "batch"
        context.give_back = needed.set if yields else None
        failure: Exception | None = None
        try:
            context.begin()
            response = self._pipeline.answer(context, route)
        except Exception as error:
            failure, response = error, error_response(context, error)
        self._pipeline.finish(context, response)
        with response:
            data = response.get_data()
        if isinstance(failure, (ClientGone, ShuttingDown)):
            raise LineYielded if needed.is_set() and not stopped() else LineStopped
        answer = LineAnswer(response.status_code, context.record.id, data, context.record)
        if (seconds := _seconds_until_later(failure, context)) is not None:
            is_failed = isinstance(failure, EngineFailed) and failure.status in LATER
            raise LineNotYet(seconds, answer if is_failed else None)
        return answer


def _seconds_until_later(failure: Exception | None, context: RequestContext) -> float | None:
    """When to try a line again that failed; None: it stays so."""
    if isinstance(failure, RequestTimedOut):  # perhaps while it waited for its slot
        has_waited = context.wants_slots and context.record.admitted is None
        return MIN_WAIT_S if has_waited else None
    if isinstance(failure, UpstreamUnreachable):
        return ENGINE_S
    if not isinstance(failure, APIError) or failure.status not in LATER:
        return None
    if isinstance(failure, QuotaExceeded):
        return None
    seconds: float | None = getattr(failure, "retry_after", ENGINE_S)
    return seconds


def _environ(path: str, data: bytes, caller: Caller, stopped: Callable[[], bool]) -> dict[str, Any]:
    return {
        "REQUEST_METHOD": "POST",
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "localhost",
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": str(len(data)),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(data),
        "waitress.client_disconnected": stopped,
        CALLER: caller,
    }


def caller_of(written: Any) -> Caller:
    """The key of a batch, as `written_caller` wrote it."""
    return Caller(
        written["name"],
        frozenset(written["scopes"]),
        written["weight"],
        "batch",
        written["limits"],
        written["user_limits"],
        written["identity"],
        written["stores"],
    )


def written_caller(caller: Caller) -> dict[str, Any]:
    """A key as it is stored with a batch: what it may, and nothing of the key itself."""
    return {
        "name": caller.name,
        "scopes": sorted(caller.scopes),
        "weight": caller.weight,
        "limits": dict(caller.limits),
        "user_limits": dict(caller.user_limits),
        "identity": caller.identity,
        "stores": caller.stores,
    }
