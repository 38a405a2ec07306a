"""Usage: of keys and users. Reference: "Usage" (organization), and a shorter form.

A key can read its own usage, an admin key that of all keys. `api_key_id` is the key's name; `user_id` is the
`user` of the requests.
"""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

from pydantic import Field
from typing_extensions import NotRequired, TypedDict

from .access.caller import Limits
from .errors import Forbidden, InvalidRequest, NotFound
from .schemas import bad_request
from .schemas.validation import RequestModel
from .settings import KEY_LIMITS
from .state.usage import AMOUNTS, Filter, UsageRow
from .web.responses.response import Response, json_response
from .web.routing.routes import PathPrefixes, Route, endpoint

if TYPE_CHECKING:
    from .web.context import RequestContext

LATEST = 253_402_300_799  # the last second of the year 9999
Time = Annotated[int, Field(ge=0, le=LATEST)]
GroupBy = Literal["project_id", "user_id", "api_key_id", "model", "batch", "service_tier"]
COLUMNS = {"api_key_id": "key", "user_id": "user", "model": "model"}
WIDTHS = {"1m": 60, "1h": 3600, "1d": 86400}
BUCKETS = {"1m": (60, 1440), "1h": (24, 168), "1d": (7, 31)}
"""The number of buckets on a page: the default, and the maximum."""


class FilterQuery(RequestModel):
    """Which usage, and how to group it."""

    user_ids: list[str] | None = Field(None, description="Only of these users.")
    api_key_ids: list[str] | None = Field(
        None, description="Only of the keys with these names; other keys need the scope admin."
    )
    models: list[str] | None = Field(None, description="Only of these models.")
    group_by: list[GroupBy] | None = Field(
        None, description="Group by these. Projects, batches and tiers do not exist here: null."
    )


class BucketsQuery(FilterQuery):
    """The reference's parameters."""

    start_time: Time = Field(
        description="Unix seconds, inclusive; a bucket begins at or before it.",
        examples=[1767225600],
    )
    end_time: Time | None = Field(None, description="Unix seconds, exclusive. Default: now.")
    bucket_width: Literal["1m", "1h", "1d"] | None = Field(
        None, description="The length of a bucket, in UTC. Default `1d`."
    )
    batch: bool | None = Field(None, description="`true` returns nothing: there are no batches.")
    project_ids: list[str] | None = Field(None, description="Refused: there are no projects.")
    limit: int | None = Field(
        None,
        ge=1,
        le=1440,
        description="Buckets on a page: 7 days (31 at most), 24 hours (168), or 60 minutes (1440).",
    )
    page: str | None = Field(None, description="`next_page` of the previous page.")


class TotalsQuery(FilterQuery):
    """The time range."""

    start_time: Time | None = Field(
        None, description="Unix seconds, inclusive. Default: the beginning of the month (UTC)."
    )
    end_time: Time | None = Field(None, description="Unix seconds, exclusive. Default: now.")


class Result(TypedDict):
    """The sum of a group, or of everything."""

    object: str
    input_tokens: int
    input_cached_tokens: int
    input_uncached_tokens: int
    output_tokens: int
    input_audio_tokens: int
    output_audio_tokens: int
    num_model_requests: int
    project_id: None
    user_id: str | None
    api_key_id: str | None
    model: str | None
    batch: bool | None
    service_tier: None


class AmountResult(TypedDict):
    """The same where something else than tokens is counted: one of `seconds`, `characters` and `images`."""

    object: str
    seconds: NotRequired[int]
    characters: NotRequired[int]
    images: NotRequired[int]
    num_model_requests: int
    project_id: None
    user_id: str | None
    api_key_id: str | None
    model: str | None
    source: NotRequired[None]
    size: NotRequired[None]


class Bucket(TypedDict):
    """A time range; without results if nothing was used."""

    object: Literal["bucket"]
    start_time: int
    end_time: int
    results: list[Result] | list[AmountResult]


class UsagePage(TypedDict):
    """Buckets, oldest first."""

    object: Literal["page"]
    data: list[Bucket]
    has_more: bool
    next_page: str | None


class Total(TypedDict):
    """What one user of one key has used of one model, unless `group_by` says otherwise."""

    api_key_id: str | None
    user_id: str | None
    model: str | None
    num_model_requests: int
    input_tokens: int
    input_cached_tokens: int
    output_tokens: int
    total_tokens: int


if TYPE_CHECKING:
    OwnLimits = dict[str, int]
else:
    OwnLimits = TypedDict("OwnLimits", {limit.field: int for limit in KEY_LIMITS.values()})
    OwnLimits.__doc__ = "0: no limit."


class Totals(TypedDict):
    """Sums, and the limits of the request's key and of each of its users."""

    object: Literal["usage"]
    start_time: int
    end_time: int
    data: list[Total]
    limits: OwnLimits
    user_limits: OwnLimits


def completions_usage(context: RequestContext, query: BucketsQuery) -> Response:
    """Tokens and requests of completions and chat, in time buckets."""
    return _buckets(context, query, "completions")


def embeddings_usage(context: RequestContext, query: BucketsQuery) -> Response:
    """Tokens and requests of embeddings, in time buckets."""
    return _buckets(context, query, "embeddings")


def rerank_usage(context: RequestContext, query: BucketsQuery) -> Response:
    """Tokens and requests of rerank, in time buckets. Not OpenAI's."""
    return _buckets(context, query, "rerank")


def moderations_usage(context: RequestContext, query: BucketsQuery) -> Response:
    """Tokens and requests of moderations, in time buckets. The tokens are estimates."""
    return _buckets(context, query, "moderations")


def audio_transcriptions_usage(context: RequestContext, query: BucketsQuery) -> Response:
    """Seconds of sounds and requests of transcriptions and translations, in time buckets."""
    return _buckets(context, query, "audio_transcriptions")


def audio_speeches_usage(context: RequestContext, query: BucketsQuery) -> Response:
    """Characters and requests of speech, in time buckets."""
    return _buckets(context, query, "audio_speeches")


def images_usage(context: RequestContext, query: BucketsQuery) -> Response:
    """Pictures and requests, in time buckets."""
    return _buckets(context, query, "images")


def usage(context: RequestContext, query: TotalsQuery) -> Response:
    """Everything in the requested time, by default since the beginning of the month, and the key's limits."""
    now = int(time.time())
    month = datetime.fromtimestamp(now, timezone.utc).replace(
        day=1, hour=0, minute=0, second=0, microsecond=0
    )
    start = int(month.timestamp()) if query.start_time is None else query.start_time
    end = now + 1 if query.end_time is None else query.end_time
    chosen = _chosen(context, query)
    by = [COLUMNS[name] for name in query.group_by or COLUMNS if name in COLUMNS]
    found = context.services.usage_store.read(start, end, by=by, chosen=chosen)
    caller = context.record.caller
    answer: Totals = {
        "object": "usage",
        "start_time": start,
        "end_time": end,
        "data": [_total(used) for used in found],
        "limits": _limits(caller.limits),
        "user_limits": _limits(caller.user_limits),
    }
    return json_response(answer)


def _buckets(context: RequestContext, query: BucketsQuery, kind: str) -> Response:
    width_name = query.bucket_width or "1d"
    width, (default, maximum) = WIDTHS[width_name], BUCKETS[width_name]
    limit = query.limit or default
    if limit > maximum:
        raise bad_request.out_of_range("limit", limit, low=1, high=maximum)
    if query.project_ids:
        raise bad_request.unsupported(
            "project_ids", "is not supported: there are no projects here."
        )
    end = int(time.time()) + 1 if query.end_time is None else query.end_time
    if end <= query.start_time:
        raise InvalidRequest(
            "'end_time' must be later than 'start_time'.", param="end_time", code="invalid_value"
        )
    first = query.start_time // width * width
    if query.page is not None:
        first = _position(query.page) // width * width
    last = min(first + limit * width, -(-end // width) * width)
    by = [COLUMNS[name] for name in query.group_by or () if name in COLUMNS]
    results: dict[int, list[Any]] = {}
    chosen = _chosen(context, query)
    if not query.batch:
        found = context.services.usage_store.read(
            *(max(first, query.start_time), min(last, end)),
            width=width,
            by=by,
            kind=kind,
            chosen=chosen,
        )
        for used in found:
            results.setdefault(used.start, []).append(_result(used, kind, query))
    buckets: list[Bucket] = [
        {
            "object": "bucket",
            "start_time": start,
            "end_time": start + width,
            "results": results.get(start, []),
        }
        for start in range(first, last, width)
    ]
    more = last < end
    answer: UsagePage = {
        "object": "page",
        "data": buckets,
        "has_more": more,
        "next_page": _cursor(last) if more else None,
    }
    return json_response(answer)


def _chosen(context: RequestContext, query: FilterQuery) -> Filter:
    """The requested filter, limited to what the caller may see. Raises Forbidden, and NotFound if no usage is
    kept."""
    if not context.services.usage_store.keeps:
        raise NotFound("No usage is kept: the operator has set usage_days to 0.")
    caller, keys = context.record.caller, query.api_key_ids or []
    if "admin" not in caller.scopes:
        if any(key != caller.name for key in keys):
            raise Forbidden(
                "The usage of other keys needs a key with the scope 'admin'.",
                code="insufficient_permissions",
            )
        keys = [caller.name]
    return Filter(keys, query.user_ids or (), query.models or ())


def _result(used: UsageRow, kind: str, query: BucketsQuery) -> Result | AmountResult:
    if kind in AMOUNTS:
        amount: dict[str, Any] = {
            "object": f"organization.usage.{kind}.result",
            AMOUNTS[kind]: used.amount,
            "num_model_requests": used.requests,
            "project_id": None,
            "user_id": used.user or None,
            "api_key_id": used.key,
            "model": used.model,
        }
        return cast(AmountResult, amount)
    return {
        "object": f"organization.usage.{kind}.result",
        "input_tokens": used.input_tokens,
        "input_cached_tokens": used.cached_tokens,
        "input_uncached_tokens": used.input_tokens - used.cached_tokens,
        "output_tokens": used.output_tokens,
        "input_audio_tokens": 0,
        "output_audio_tokens": 0,
        "num_model_requests": used.requests,
        "project_id": None,
        "user_id": used.user or None,
        "api_key_id": used.key,
        "model": used.model,
        "batch": False if "batch" in (query.group_by or ()) else None,
        "service_tier": None,
    }


def _total(used: UsageRow) -> Total:
    return {
        "api_key_id": used.key,
        "user_id": used.user or None,
        "model": used.model,
        "num_model_requests": used.requests,
        "input_tokens": used.input_tokens,
        "input_cached_tokens": used.cached_tokens,
        "output_tokens": used.output_tokens,
        "total_tokens": used.input_tokens + used.output_tokens,
    }


def _limits(limits: Limits) -> OwnLimits:
    return {limit.field: limits.get(name, 0) for name, limit in KEY_LIMITS.items()}


def _cursor(position: int) -> str:
    return "page_" + base64.urlsafe_b64encode(str(position).encode()).decode()


def _position(cursor: str) -> int:
    try:
        position = int(base64.urlsafe_b64decode(cursor.removeprefix("page_")))
        if 0 <= position <= LATEST:
            return position
    except (ValueError, binascii.Error):
        pass  # refused below
    raise InvalidRequest(
        "Invalid 'page': not a cursor of this server.", param="page", code="invalid_value"
    )


def _routes() -> Iterator[Route]:
    pages: list[tuple[str, Any, str]] = [
        ("completions", completions_usage, "Usage of completions"),
        ("embeddings", embeddings_usage, "Usage of embeddings"),
        ("rerank", rerank_usage, "Usage of rerank"),
        ("moderations", moderations_usage, "Usage of moderations"),
        ("audio_transcriptions", audio_transcriptions_usage, "Usage of transcriptions"),
        ("audio_speeches", audio_speeches_usage, "Usage of speech"),
        ("images", images_usage, "Usage of images"),
    ]
    for kind, handler, summary in pages:
        path = f"/organization/usage/{kind}"
        yield Route("GET", path, handler, summary, PathPrefixes.API, UsagePage, query=BucketsQuery)
    yield Route("GET", "/usage", usage, "Total usage", PathPrefixes.API, Totals, query=TotalsQuery)


ROUTES = endpoint("usage", *_routes())
