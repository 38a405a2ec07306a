"""Load: how busy this server is, as figures to scale replicas on. Not OpenAI's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from typing_extensions import TypedDict

from .limits.model_load import loads_of
from .web.responses.response import Response, json_response
from .web.routing.routes import PathPrefixes, Route, endpoint

if TYPE_CHECKING:
    from .limits.active_requests import ActiveRequest
    from .limits.model_load import ModelLoad as FoundLoad
    from .web.context import RequestContext

BYTES_PER_TOKEN = 4
"""Of a request's body, roughly."""


class ModelLoad(TypedDict):
    """One model; `running` and `waiting` count choices."""

    model: str
    slots: int
    running: int
    waiting: int
    load: float
    """Choices that run or wait, for each slot: above 1, requests wait."""


class Load(TypedDict):
    """How busy the server is."""

    object: Literal["load"]
    load: float
    """That of the busiest model; 0 while none is loaded."""
    slots: int
    running: int
    waiting: int
    requests_waiting: int
    queue_limit: int
    tokens_waiting: int
    """Of the prompts in the queue; estimated from the sizes of their requests."""
    draining: bool
    """The server stops: it takes no more requests."""
    models: list[ModelLoad]


def show_load(context: RequestContext) -> Response:
    """How busy this server is. 200 even while the model loads. `openedai_load` is the same figure in
    `/metrics`."""
    services = context.services
    loads = loads_of(services.models)
    queue = services.models.queue()
    waiting = services.active_requests.matching(lambda request: request.record.admitted is None)
    answer: Load = {
        "object": "load",
        "load": max((each.load for each in loads), default=0.0),
        "slots": sum(each.slots for each in loads),
        "running": queue.running,
        "waiting": queue.waiting,
        "requests_waiting": queue.requests_waiting,
        "queue_limit": queue.limit,
        "tokens_waiting": sum(map(_tokens, waiting)),
        "draining": services.active_requests.is_draining,
        "models": [_shown(each) for each in loads],
    }
    return json_response(answer)


def _shown(found: FoundLoad) -> ModelLoad:
    return {
        "model": found.model,
        "slots": found.slots,
        "running": found.running,
        "waiting": found.waiting,
        "load": found.load,
    }


def _tokens(request: ActiveRequest) -> int:
    return -(-request.body_bytes // BYTES_PER_TOKEN)


ROUTES = endpoint(
    "load",
    Route(
        *("GET", "/internal/load", show_load, "Load", PathPrefixes.API, Load),
        open_by=lambda settings: settings.metrics == "open",
    ),
)
