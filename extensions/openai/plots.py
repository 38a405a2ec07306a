"""Plots: figures that belong to a message of a stored chat, as data that a page draws. The server's own."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import orjson
from typing_extensions import TypedDict

from .schemas.figures import MEDIA_TYPE, NewPlot, written
from .stored_completions import ONE, PartOfList
from .web.idempotent_request import stored_once
from .web.lists import list_of, page_of
from .web.responses.response import Response, json_response
from .web.routing.routes import PathPrefixes, Route, endpoint

if TYPE_CHECKING:
    from .state.plots import Plot, Plots
    from .web.context import RequestContext


class PlotObject(TypedDict):
    """A figure; `mime_type` says that it is Plotly's JSON."""

    id: str
    object: Literal["chat.completion.message.plot"]
    created: int
    mime_type: Literal["application/vnd.plotly.v1+json"]
    figure: Any


class PlotList(TypedDict):
    """A page of the figures of one message; the ids are empty texts on an empty page."""

    object: Literal["list"]
    data: list[PlotObject]
    first_id: str
    last_id: str
    has_more: bool


class DeletedPlots(TypedDict):
    """The message, whose id this is, has no figures."""

    object: Literal["chat.completion.message.plots.deleted"]
    id: str
    deleted: bool


def list_plots(
    context: RequestContext, query: PartOfList, completion_id: str, message_id: str
) -> Response:
    """The figures of a message, in the order in which they were added."""
    found = _stored(context).list(_owner(context), completion_id, message_id)
    return json_response(list_of(page_of([_shown(plot) for plot in found], query.page)))


def create_plot(
    context: RequestContext, body: NewPlot, completion_id: str, message_id: str
) -> Response:
    """Add a figure to a message. It is deleted with the chat."""
    stored, figure = context.store.plots, written(body.figure)
    message = (_owner(context), completion_id, message_id)
    return stored_once(
        context,
        body,
        lambda claim: stored.add(*message, figure, claim=claim),
        partial(stored.get, *message),
        _shown,
        path_id=f"{completion_id}/{message_id}",
    )


def delete_plots(context: RequestContext, completion_id: str, message_id: str) -> Response:
    """Delete all figures of a message. One that has none is answered in the same way."""
    _stored(context).delete(_owner(context), completion_id, message_id)
    answer: DeletedPlots = {
        "object": "chat.completion.message.plots.deleted",
        "id": message_id,
        "deleted": True,
    }
    return json_response(answer)


def _stored(context: RequestContext) -> Plots:
    return context.services.store.plots


def _owner(context: RequestContext) -> str:
    return context.record.caller.owner


def _shown(plot: Plot) -> PlotObject:
    return {
        "id": plot.id,
        "object": "chat.completion.message.plot",
        "created": plot.created,
        "mime_type": MEDIA_TYPE,
        "figure": orjson.Fragment(plot.figure),
    }


OF_MESSAGE = f"{ONE}/messages/<message_id>/plots"
BARS = {
    "data": [{"type": "bar", "x": ["Rome", "Paris"], "y": [2.8, 2.1]}],
    "layout": {"title": {"text": "Millions of people"}},
}
ROUTES = endpoint(
    "plots",
    Route(
        *("GET", OF_MESSAGE, list_plots, "List the plots of a message"),
        PathPrefixes.API,
        answer=PlotList,
        query=PartOfList,
    ),
    Route(
        *("POST", OF_MESSAGE, create_plot, "Add a plot to a message"),
        PathPrefixes.API,
        answer=PlotObject,
        body=NewPlot,
        once=True,
        scope="write",
        example={"figure": BARS},
    ),
    Route(
        *("DELETE", OF_MESSAGE, delete_plots, "Delete the plots of a message"),
        PathPrefixes.API,
        answer=DeletedPlots,
        scope="write",
    ),
)
