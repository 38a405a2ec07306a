"""Figures as data: Plotly's JSON, of which only what draws is taken.

A page gives a figure to plotly.js, so nothing in one may be markup, act, or fetch anything from elsewhere.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar, Literal

import orjson
from pydantic import Field

from ..errors import InvalidRequest
from . import bad_request
from .validation import RequestModel, RequestPart

MEDIA_TYPE: Literal["application/vnd.plotly.v1+json"] = "application/vnd.plotly.v1+json"
MAX_BYTES = 1 << 20
MAX_TRACES = 100
MAX_PLOTS = 16
"""Of one message."""
TRACES = frozenset(
    {
        *("bar", "barpolar", "box", "candlestick", "carpet", "choropleth", "cone", "contour"),
        *("contourcarpet", "funnel", "funnelarea", "heatmap", "histogram", "histogram2d"),
        *("histogram2dcontour", "icicle", "image", "indicator", "isosurface", "mesh3d", "ohlc"),
        *("parcats", "parcoords", "pie", "sankey", "scatter", "scatter3d", "scattercarpet"),
        *("scattergeo", "scattergl", "scatterpolar", "scatterpolargl", "scattersmith"),
        *("scatterternary", "splom", "streamtube", "sunburst", "surface", "table", "treemap"),
        *("violin", "volume", "waterfall"),
    }
)
"""Plotly's, without those that draw on map tiles, which come from other servers."""
REFUSED = (
    (
        re.compile(rb"<(?!/?(?:b|i|em|s|u|sub|sup|br|extra)\s*/?>)[a-z/!?]", re.IGNORECASE),
        "it has markup; texts may have <b>, <i>, <em>, <s>, <u>, <sub>, <sup>, <br> and <extra>.",
    ),
    (
        re.compile(rb'(?:source|geojson)":"(?!data:image/)', re.IGNORECASE),
        "it refers to another place; a text in 'source' or 'geojson' must be a data: URL of a picture.",
    ),
    (
        re.compile(rb'"(?:updatemenus|sliders)":'),
        "it has controls ('updatemenus', 'sliders'), which act on the page.",
    ),
    (re.compile(rb"__proto__"), "it has '__proto__'."),
)
"""What is looked for in a figure as it is written, where quotes inside texts are escaped."""


class Figure(RequestPart):
    """A figure as Plotly's libraries write it (`fig.to_json()`). What is in traces and layout is theirs."""

    data: list[dict[str, Any]] = Field(
        min_length=1, max_length=MAX_TRACES, description="Traces; a `type` is one of Plotly's."
    )
    layout: dict[str, Any] | None = Field(None, description="Title, axes, legend, colours.")


class NewPlot(RequestModel):
    """Add a figure to a message."""

    always_strict: ClassVar[bool] = True
    """What is not kept is said: a figure without its frames would be another one."""
    figure: Figure = Field(description="Plotly's JSON, 1 MiB at most.")


def written(figure: Figure) -> bytes:
    """The figure as it is stored. Raises InvalidRequest."""
    for at, trace in enumerate(figure.data):
        kind = trace.get("type", "scatter")
        if not isinstance(kind, str) or kind not in TRACES:
            raise bad_request.not_one_of(f"figure.data[{at}].type", kind, sorted(TRACES))
    try:
        text = orjson.dumps({"data": figure.data, "layout": figure.layout or {}})
    except orjson.JSONEncodeError:  # an extension's
        raise _invalid("it has values that JSON cannot hold.") from None
    if len(text) > MAX_BYTES:
        raise _invalid(f"it has {len(text)} bytes, more than {MAX_BYTES}.")
    for pattern, why in REFUSED:
        if pattern.search(text):
            raise _invalid(why)
    return text


def _invalid(why: str) -> InvalidRequest:
    return InvalidRequest(f"Invalid 'figure': {why}", param="figure", code="invalid_value")
