"""Health: whether the server can answer, for load balancers and scripts. Open, without a key."""

from __future__ import annotations

from typing import Literal

from flask import Response
from typing_extensions import TypedDict

from .routing import Addresses, Call, Route
from .streaming import json_response


class Health(TypedDict):
    """The model is loaded and requests are taken."""

    status: Literal["ok"]


def health(call: Call) -> Response:
    """200 once the model is loaded; before that 503 `model_loading`."""
    call.services.engine.info  # noqa: B018  raises ModelLoading
    answer: Health = {"status": "ok"}
    return json_response(answer)


ROUTES = (Route("GET", "/health", health, "Health check", Addresses.ROOT, Health, scope=None),)
