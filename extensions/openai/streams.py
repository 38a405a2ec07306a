"""Streams: come back to a stream that was left, or stop it. The server's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field
from typing_extensions import TypedDict

from .schemas.validation import RequestModel
from .web.responses.response import Response, json_response
from .web.resumable_stream import ResumableStream, delete, find, last_event
from .web.routing.routes import PathPrefixes, Route, endpoint

if TYPE_CHECKING:
    from .web.context import RequestContext


class StreamObject(TypedDict):
    """A stream that can be resumed."""

    id: str
    """As the header of its request names it."""
    object: Literal["stream"]
    status: Literal["in_progress", "ended"]
    request: str
    """The `x-request-id` of its request."""
    answer: str | None
    """The id of its answer, once it has one."""
    first_event: int
    """The number of the oldest event that is kept."""
    next_event: int
    """The number of the event that comes next."""


class StreamList(TypedDict):
    """All streams of the caller, the latest first."""

    object: Literal["list"]
    data: list[StreamObject]


class DeletedStream(TypedDict):
    """The stream has ended, and cannot be resumed any more."""

    id: str
    object: Literal["stream.deleted"]
    deleted: bool


class ResumeQuery(RequestModel):
    """Where to go on."""

    starting_after: int | None = Field(
        None,
        ge=0,
        le=2**53,
        description="The number of the last event that the client has, in place of the header "
        "`Last-Event-ID`. Default: from the first event on.",
    )


def list_streams(context: RequestContext) -> Response:
    """The caller's streams that can be resumed: those under way, and those that ended a short time ago."""
    streams = context.services.streams.of(context.record.caller.owner)
    listed: StreamList = {
        "object": "list",
        "data": [_shown(id, stream) for id, stream in streams.items()],
    }
    return json_response(listed)


def resume_stream(context: RequestContext, query: ResumeQuery, stream_id: str) -> Response:
    """The events behind the one that the header `Last-Event-ID` names, those that are kept and those that
    come. 404 for a stream that there is not, or that is another key's."""
    stream, after = find(context, stream_id), query.starting_after
    if after is None:
        after = last_event(context)
    return stream.follow(context, -1 if after is None else after)


def delete_stream(context: RequestContext, stream_id: str) -> Response:
    """Stop a stream: its answer is what was generated so far, with the `finish_reason` `stop`. Its events are
    forgotten."""
    delete(context, stream_id)
    answer: DeletedStream = {"id": stream_id, "object": "stream.deleted", "deleted": True}
    return json_response(answer)


def _shown(id: str, stream: ResumableStream) -> StreamObject:
    first, following = stream.numbers
    request, answer = stream.ids
    return {
        "id": id,
        "object": "stream",
        "status": "ended" if stream.is_over else "in_progress",
        "request": request,
        "answer": answer,
        "first_event": first,
        "next_event": following,
    }


ONE = "/streams/<stream_id>"
ROUTES = endpoint(
    "streams",
    Route("GET", "/streams", list_streams, "List streams", PathPrefixes.API, answer=StreamList),
    Route(
        *("GET", ONE, resume_stream, "Resume a stream", PathPrefixes.API),
        query=ResumeQuery,
        beside=True,
        media="text/event-stream",
    ),
    Route(
        *("DELETE", ONE, delete_stream, "Stop a stream", PathPrefixes.API),
        answer=DeletedStream,
        beside=True,
        scope="write",
    ),
)
