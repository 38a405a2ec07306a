"""Engines: the models under their older name, for clients from before 2023."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from typing_extensions import TypedDict

from . import models
from .web.responses.response import Response, json_response
from .web.routing.routes import PathPrefixes, Route, endpoint

if TYPE_CHECKING:
    from .web.context import RequestContext


class LegacyEngine(TypedDict):
    """A model, or an alias of one."""

    id: str
    object: Literal["engine"]
    created: None
    owner: str
    ready: bool


class LegacyEngineList(TypedDict):
    """All names that `GET /v1/models` lists."""

    object: Literal["list"]
    data: list[LegacyEngine]


def list_engines(context: RequestContext) -> Response:
    """The same names as `GET /v1/models`."""
    engines: LegacyEngineList = {
        "object": "list",
        "data": [_shape(model) for model in models.listed(context)],
    }
    return json_response(engines)


def retrieve_engine(context: RequestContext, id: str) -> Response:
    """One engine by its name. 404 `model_not_found` for a name that is not listed."""
    return json_response(_shape(models.found(context, id)))


def _shape(model: models.Model) -> LegacyEngine:
    return {
        "id": model["id"],
        "object": "engine",
        "created": None,
        "owner": model["owned_by"],
        "ready": model.get("loaded", True),
    }


ROUTES = endpoint(
    "legacy_engines",
    Route(
        "GET", "/engines", list_engines, "List engines", PathPrefixes.API, answer=LegacyEngineList
    ),
    Route(
        "GET",
        "/engines/<path:id>",
        retrieve_engine,
        "Retrieve an engine",
        PathPrefixes.API,
        answer=LegacyEngine,
    ),
)
