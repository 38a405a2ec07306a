"""Batches: files of requests that are answered when the server has time for them."""

from __future__ import annotations

import re
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field
from typing_extensions import NotRequired, TypedDict

from .files import ExpiresAfter
from .generation.chat.request import Metadata
from .schemas import bad_request
from .schemas.validation import RequestModel
from .state.pages import PageQuery
from .web.idempotent_request import stored_once
from .web.lists import list_of
from .web.responses.response import Response, json_response
from .web.routing.routes import PathPrefixes, Route, endpoint

if TYPE_CHECKING:
    from .state.idempotency import Claim
    from .state.stored_batch import Batch
    from .web.context import RequestContext

LineEndpoint = Literal[
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/responses",
    "/v1/messages",
    "/v1/embeddings",
]
"""Whose requests the lines may be."""
MAX_WINDOW_HOURS = 30 * 24
WINDOW = re.compile(r"^([1-9][0-9]{0,3})([hd])$")


class NewBatch(RequestModel):
    """A file of requests to answer."""

    input_file_id: str = Field(
        max_length=256,
        description="The file with a request on each line; its purpose is `batch`.",
    )
    endpoint: LineEndpoint = Field(description="What the requests in the file are for.")
    completion_window: str = Field(
        pattern=WINDOW.pattern,
        description="The time for it, `24h` or another number of hours (`h`) or days (`d`), 30 days at most. "
        "Requests that are not answered then get an error.",
    )
    metadata: Metadata | None = Field(None, description="Told again in the batch.")
    output_expires_after: ExpiresAfter | None = Field(
        None, description="When the output and the error file expire; by default never."
    )


class BatchesQuery(RequestModel):
    """Which part of the list to answer."""

    after: str | None = Field(None, description="The `id` that the page begins behind.")
    limit: int | None = Field(None, ge=1, le=100, description="Batches on the page. Default 20.")

    @property
    def page(self) -> PageQuery:
        return PageQuery(self.after, self.limit or 20, "desc")


class BatchError(TypedDict):
    """Why a batch failed."""

    code: str
    message: str
    param: str | None
    line: int | None


class BatchErrors(TypedDict):
    """At most 100 of them."""

    object: Literal["list"]
    data: list[BatchError]


class RequestCounts(TypedDict):
    """Lines of the file."""

    total: int
    completed: int
    failed: int


class InputTokensDetails(TypedDict):
    """Details of the prompts' tokens."""

    cached_tokens: int


class OutputTokensDetails(TypedDict):
    """Details of the answers' tokens."""

    reasoning_tokens: int


class BatchUsage(TypedDict):
    """The tokens of all lines so far."""

    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails
    total_tokens: int


class BatchObject(TypedDict):
    """A batch; `paused` is there while an operator has paused it."""

    id: str
    object: Literal["batch"]
    endpoint: str
    model: str | None
    errors: BatchErrors | None
    input_file_id: str
    completion_window: str
    status: str
    output_file_id: str | None
    error_file_id: str | None
    created_at: int
    in_progress_at: int | None
    expires_at: int | None
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    request_counts: RequestCounts
    usage: BatchUsage
    metadata: dict[str, str] | None
    paused: NotRequired[bool]


class BatchList(TypedDict):
    """A page of batches; the ids are empty texts on an empty page."""

    object: Literal["list"]
    data: list[BatchObject]
    first_id: str
    last_id: str
    has_more: bool


def create_batch(context: RequestContext, body: NewBatch) -> Response:
    """Answer the requests in a file, when there is nothing else to do. What is wrong with the file is in the
    batch's `errors`, soon after."""
    from .state.stored_batch import NewBatch as Stored
    from .web.batches.line_requests import written_caller

    batches, owner = context.store.batches, context.record.caller.owner
    after = body.output_expires_after
    new = Stored(
        body.endpoint,
        body.input_file_id,
        body.completion_window,
        int(time.time()) + _window_seconds(body.completion_window),
        written_caller(context.record.caller),
        body.metadata,
        None if after is None else after.seconds,
    )

    def create(claim: Claim | None) -> Batch:
        return batches.create(owner, new, claim=claim)

    response = stored_once(context, body, create, partial(batches.get, owner), shown)
    context.services.batches.wake()
    return response


def list_batches(context: RequestContext, query: BatchesQuery) -> Response:
    """The batches of the caller's key, the latest first."""
    page = context.store.batches.list(context.record.caller.owner, query.page)
    return json_response(list_of(page.map(shown)))


def get_batch(context: RequestContext, batch_id: str) -> Response:
    """A batch: how far it is, and the ids of its files."""
    return json_response(shown(context.store.batches.get(context.record.caller.owner, batch_id)))


def cancel_batch(context: RequestContext, batch_id: str) -> Response:
    """Begin no more lines, and stop those under way. What is answered stays."""
    cancelled = context.store.batches.cancel(context.record.caller.owner, batch_id)
    context.services.batches.wake()
    return json_response(shown(cancelled))


def pause_batch(context: RequestContext, batch_id: str) -> Response:
    """Begin no more lines of a batch, of any key; those under way are answered to their end."""
    return _pause(context, batch_id, paused=True)


def resume_batch(context: RequestContext, batch_id: str) -> Response:
    """Go on with a batch that was paused."""
    return _pause(context, batch_id, paused=False)


def _pause(context: RequestContext, id: str, *, paused: bool) -> Response:
    batch = context.services.store.batches.pause(id, paused=paused)
    context.services.batches.wake()
    return json_response(shown(batch))


def shown(batch: Batch) -> BatchObject:
    """A batch as the reference shows it."""
    tokens, times = batch.tokens, batch.times
    errors: Any = {"object": "list", "data": list(batch.errors)} if batch.errors else None
    answer: BatchObject = {
        "id": batch.id,
        "object": "batch",
        "endpoint": batch.endpoint,
        "model": batch.model,
        "errors": errors,
        "input_file_id": batch.input_file,
        "completion_window": batch.window,
        "status": batch.status,
        "output_file_id": batch.output_file,
        "error_file_id": batch.error_file,
        "created_at": batch.created,
        "in_progress_at": times.get("in_progress"),
        "expires_at": batch.ends,
        "finalizing_at": times.get("finalizing"),
        "completed_at": times.get("completed"),
        "failed_at": times.get("failed"),
        "expired_at": times.get("expired"),
        "cancelling_at": times.get("cancelling"),
        "cancelled_at": times.get("cancelled"),
        "request_counts": {
            "total": batch.total,
            "completed": batch.completed,
            "failed": batch.failed,
        },
        "usage": {
            "input_tokens": tokens.prompt,
            "input_tokens_details": {"cached_tokens": tokens.cached},
            "output_tokens": tokens.completion,
            "output_tokens_details": {"reasoning_tokens": tokens.reasoning},
            "total_tokens": tokens.prompt + tokens.completion,
        },
        "metadata": None if batch.metadata is None else dict(batch.metadata),
    }
    if batch.paused:
        answer["paused"] = True
    return answer


def _window_seconds(window: str) -> int:
    """Raises InvalidRequest."""
    found = WINDOW.fullmatch(window)
    assert found is not None  # its pattern was checked
    hours = int(found[1]) * (24 if found[2] == "d" else 1)
    if hours > MAX_WINDOW_HOURS:
        raise bad_request.out_of_range("completion_window", hours, low=1, high=MAX_WINDOW_HOURS)
    return hours * 3600


ONE = "/batches/<batch_id>"
INTERNAL = "/internal/batches/<batch_id>"
ROUTES = endpoint(
    "batches",
    Route(
        *("POST", "/batches", create_batch, "Create a batch"),
        PathPrefixes.API,
        answer=BatchObject,
        body=NewBatch,
        once=True,
        scope="write",
        example={
            "input_file_id": "file-0123456789abcdef0123456789abcdef",
            "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
        },
    ),
    Route(
        *("GET", "/batches", list_batches, "List batches"),
        PathPrefixes.API,
        answer=BatchList,
        query=BatchesQuery,
    ),
    Route(*("GET", ONE, get_batch, "Get a batch"), PathPrefixes.API, answer=BatchObject),
    Route(
        *("POST", f"{ONE}/cancel", cancel_batch, "Cancel a batch"),
        PathPrefixes.API,
        answer=BatchObject,
        scope="write",
    ),
    Route(
        *("POST", f"{INTERNAL}/pause", pause_batch, "Pause a batch"),
        PathPrefixes.API,
        answer=BatchObject,
        scope="admin",
    ),
    Route(
        *("POST", f"{INTERNAL}/resume", resume_batch, "Resume a batch"),
        PathPrefixes.API,
        answer=BatchObject,
        scope="admin",
    ),
)
