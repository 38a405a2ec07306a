"""Request queue: show and end running and waiting requests. Not OpenAI's; the names are the webui's."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field
from typing_extensions import TypedDict

from .schemas.validation import RequestModel
from .web.responses.response import Response, json_response
from .web.routing.routes import PathPrefixes, Route, endpoint

if TYPE_CHECKING:
    from .limits.active_requests import ActiveRequest
    from .web.context import RequestContext


class QueuedRequest(TypedDict):
    """An active request that generates."""

    id: str
    """Its `x-request-id`."""
    answer: str | None
    """The id of its answer, once it has one."""
    caller: str
    user: str | None
    state: Literal["waiting", "reading", "generating"]
    position: int | None
    """Its place in the queue, from 1; null: it is not waiting."""
    seconds: float
    """Since it arrived."""
    completion_tokens: int


class CallerQueue(TypedDict):
    """One caller's choices."""

    caller: str
    running: int
    waiting: int


class Queue(TypedDict):
    """The load of all models. `running` and `waiting` count choices, `requests_waiting` requests."""

    object: Literal["queue"]
    slots: int
    running: int
    waiting: int
    requests_waiting: int
    limit: int
    callers: list[CallerQueue]
    requests: list[QueuedRequest]


def show_queue(context: RequestContext) -> Response:
    """The load of all models, and the caller's own requests; with the scope admin, those of all callers."""
    models = context.services.models
    models.all()  # raises ModelLoading
    state = models.queue()
    answer: Queue = {
        "object": "queue",
        "slots": models.slots,
        "running": state.running,
        "waiting": state.waiting,
        "requests_waiting": state.requests_waiting,
        "limit": state.limit,
        "callers": [
            {"caller": name, "running": each.running, "waiting": each.waiting}
            for name, each in state.callers.items()
            if _may_see(context, name)
        ],
        "requests": [
            _shown(request)
            for request in context.services.active_requests.matching(
                lambda request: _may_see(context, request.record.caller.name)
            )
        ],
    }
    return json_response(answer)


class StopRequest(RequestModel):
    """Which requests to end."""

    always_strict: ClassVar[bool] = True  # a misspelt `id` would end all requests

    id: str | None = Field(
        None,
        min_length=1,
        max_length=256,
        description="The `x-request-id` of a request, or the id of its answer. Default: all of the caller's "
        "own requests; with the scope admin, those of all callers.",
    )


class Stopped(TypedDict):
    """The requests that end now; empty if there were none."""

    object: Literal["generation.stopped"]
    ids: list[str]


def stop_generation(context: RequestContext, body: StopRequest) -> Response:
    """End generations early: each answer is what was generated so far, with the `finish_reason` `stop`.
    Embeddings and rerank end with the error `request_stopped`."""
    requests = context.services.active_requests.matching(
        lambda request: (
            _may_see(context, request.record.caller.name)
            and (body.id is None or body.id in (request.record.id, request.record.answer))
        )
    )
    for request in requests:
        request.stopped = True
    answer: Stopped = {
        "object": "generation.stopped",
        "ids": [request.record.id for request in requests],
    }
    return json_response(answer)


def _may_see(context: RequestContext, caller: str) -> bool:
    return "admin" in context.record.caller.scopes or caller == context.record.caller.name


def _shown(request: ActiveRequest) -> QueuedRequest:
    record = request.record
    position = request.queue_position()
    state: Literal["waiting", "reading", "generating"] = "generating"
    if record.admitted is None:
        state = "waiting"
    elif record.first_token is None:
        state = "reading"
    return {
        "id": record.id,
        "answer": record.answer,
        "caller": record.caller.name,
        "user": record.user,
        "state": state,
        "position": None if position is None else position[0],
        "seconds": round(time.monotonic() - record.started, 3),
        "completion_tokens": record.completion_tokens,
    }


ROUTES = endpoint(
    "queue",
    Route("GET", "/internal/queue", show_queue, "Show the queue", PathPrefixes.API, Queue),
    Route(
        "POST",
        "/internal/stop-generation",
        stop_generation,
        "Stop generation",
        PathPrefixes.API,
        Stopped,
        body=StopRequest,
        example={"id": "chatcmpl-123"},
        body_optional=True,
        beside=True,
        scope="write",
    ),
)
