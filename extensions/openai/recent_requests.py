"""Recent requests: what was asked lately, without content. The server's own; the console shows it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Literal

import orjson
from pydantic import Field
from typing_extensions import TypedDict

from .errors import NotSupported, StoredObjectNotFound
from .observability.record import RECENT
from .schemas.validation import RequestModel
from .web.responses.response import Response, json_response
from .web.routing.routes import PathPrefixes, Route, endpoint

if TYPE_CHECKING:
    from .observability.record import RequestRecord
    from .web.context import RequestContext

DEFAULT = 100


class RecentQuery(RequestModel):
    """Which of them to answer."""

    after: int | None = Field(
        None, ge=0, description="Only those that ended after the one with this `number`."
    )
    limit: int | None = Field(
        None, ge=1, le=RECENT, description=f"The latest, at most so many. Default {DEFAULT}."
    )


class RecentRequest(TypedDict):
    """A request that has ended."""

    number: int
    """Counts those that ended since the server started."""
    id: str
    """Its `x-request-id`."""
    ended_at: float
    """Unix seconds."""
    route: str
    """As the reference has it; for a wrong address what was asked for."""
    status: int
    error: str | None
    """The code or type of the error that ended it."""
    model: str | None
    caller: str
    user: str | None
    streamed: bool
    cancelled: bool
    """The client left before the answer was complete."""
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    first_token_ms: int | None
    duration_ms: int
    tokens_per_second: float | None


class RecentRequests(TypedDict):
    """The latest first."""

    object: Literal["list"]
    data: list[RecentRequest]
    restarted: bool
    """Whether `after` is of an earlier start of the server."""
    with_content: bool
    """Whether `GET /v1/internal/requests/{id}` has what was said in them for this caller."""


class Exchange(TypedDict):
    """A request and its answer, without secrets."""

    time: str
    seconds: float
    request: dict[str, Any]
    """`method`, `path`, `query`, `headers`, `body`."""
    answer: dict[str, Any]
    """`status`, `headers`, `body`: JSON as it is, a stream as text, of anything long the beginning."""


def list_recent_requests(context: RequestContext, query: RecentQuery) -> Response:
    """Requests of the caller's key that have ended; with the scope admin, those of all callers. In memory are
    the latest 1,000 that are no GET, or failed."""
    recent, caller = context.services.recent, context.record.caller
    after = query.after or 0
    restarted = after > recent.ended
    found = [
        (number, record)
        for number, record in recent.since(0 if restarted else after)
        if "admin" in caller.scopes or record.caller.name == caller.name
    ]
    shown = found[: query.limit or DEFAULT]
    answer: RecentRequests = {
        "object": "list",
        "data": [_shown(number, record) for number, record in shown],
        "restarted": restarted,
        "with_content": context.services.capture is not None and "admin" in caller.scopes,
    }
    return json_response(answer)


def get_recent_request(context: RequestContext, request_id: str) -> Response:
    """What was said in a request, which a server keeps that runs with --debug. `request_id` is its
    `x-request-id`; the latest of those that share it. Of this start of the server, and of the latest 500."""
    capture = context.services.capture
    if capture is None:
        raise NotSupported("This server keeps no content: it was started without --debug.")
    found = capture.read(request_id)
    if found is None:
        raise StoredObjectNotFound(request_id)
    return json_response(orjson.loads(found))


def _shown(number: int, record: RequestRecord) -> RecentRequest:
    ended = record.ended or record.started
    first, gap = record.first_token, record.token_gap
    return {
        "number": number,
        "id": record.id,
        "ended_at": round(time.time() - (time.monotonic() - ended), 3),
        "route": record.route or record.path,
        "status": record.status,
        "error": record.error,
        "model": record.model,
        "caller": record.caller.name,
        "user": record.user,
        "streamed": record.streamed,
        "cancelled": record.cancelled,
        "prompt_tokens": record.prompt_tokens,
        "cached_tokens": record.cached_tokens,
        "completion_tokens": record.completion_tokens,
        "first_token_ms": None if first is None else round((first - record.started) * 1000),
        "duration_ms": round((ended - record.started) * 1000),
        "tokens_per_second": round(1 / gap, 1) if gap else None,
    }


ROUTES = endpoint(
    "recent_requests",
    Route(
        *("GET", "/internal/requests/<request_id>", get_recent_request, "Get a recent request"),
        PathPrefixes.API,
        answer=Exchange,
        scope="admin",
    ),
    Route(
        *("GET", "/internal/requests", list_recent_requests, "List recent requests"),
        PathPrefixes.API,
        answer=RecentRequests,
        query=RecentQuery,
    ),
)
