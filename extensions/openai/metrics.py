"""The page that Prometheus reads."""

from __future__ import annotations

from flask import Response, request

from .errors import NotFound
from .web.routes import Call, PathPrefixes, Route, endpoint


def metrics(call: Call) -> Response:
    """Counters, histograms and gauges in Prometheus' text format (or OpenMetrics, if that is asked for).

    docs/operations.md has the list. With a key on the server this page needs one too, unless `--metrics
    open` says otherwise; `--metrics off` takes it away.
    """
    if call.services.settings.metrics == "off":
        raise NotFound("The operator has switched this page off with the setting metrics.")
    body, content_type = call.services.metrics.page(request.headers.get("accept", ""))
    return Response(body, content_type=content_type)


ROUTES = endpoint(
    "metrics",
    Route(
        *("GET", "/metrics", metrics, "Metrics", PathPrefixes.ROOT),
        media="text/plain",
        open_by=lambda settings: settings.metrics == "open",
    ),
)
