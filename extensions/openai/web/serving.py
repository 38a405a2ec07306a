"""From a call to what generates for it."""

from __future__ import annotations

from functools import partial

from ..generation.plan import Served
from ..limits.served_models import ServedModel
from ..schemas import bad_request
from .routes import Call
from .streaming import check_wanted


def serve(call: Call, model: ServedModel, timeout: float | None) -> Served:
    """What a request is served with that may take `timeout` seconds, by the model that it asks for.

    Raises InvalidRequest for a timeout that is longer than the operator allows.
    """
    services = call.services
    most = services.settings.request_timeout
    if most and timeout is not None and timeout > most:
        raise bad_request.out_of_range("timeout", timeout, low=None, high=most)
    call.job.limit(timeout or most)
    return Served(
        model.engine,
        services.policy.marked(model.info),
        services.policy,
        services.settings,
        model.scheduler,
        call.job,
        services.hooks_for,
        partial(check_wanted, call),
    )
