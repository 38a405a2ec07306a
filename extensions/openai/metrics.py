"""Metrics: for Prometheus."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import NotFound
from .web.responses.response import Response
from .web.routing.routes import PathPrefixes, Route, endpoint

if TYPE_CHECKING:
    from .web.context import RequestContext


def metrics(context: RequestContext) -> Response:
    """Counters, histograms and gauges in Prometheus' text format (or OpenMetrics, if requested).

    docs/operations.md has the list. If the server has a key this endpoint needs it too, unless `--metrics
    open` is set; `--metrics off` removes the endpoint.
    """
    if context.services.settings.metrics == "off":
        raise NotFound("The operator has switched this endpoint off with the setting metrics.")
    body, content_type = context.services.metrics.exposition(context.environ.get("HTTP_ACCEPT", ""))
    return Response(body, content_type=content_type)


ROUTES = endpoint(
    "metrics",
    Route(
        *("GET", "/metrics", metrics, "Metrics", PathPrefixes.ROOT),
        media="text/plain",
        open_by=lambda settings: settings.metrics == "open",
    ),
)
