"""From a call to what generates for it."""

from __future__ import annotations

from functools import partial

from ..engines.protocol import EngineInfo
from ..generation.plan import Served
from ..schemas import bad_request
from .routes import Call
from .streaming import check_wanted


def serve(call: Call, info: EngineInfo, timeout: float | None) -> Served:
    """What a request is served with that may take `timeout` seconds. `info`: that of the model that it asks
    for.

    Raises InvalidRequest for a timeout that is longer than the operator allows.
    """
    services = call.services
    most = services.settings.request_timeout
    if most and timeout is not None and timeout > most:
        raise bad_request.out_of_range("timeout", timeout, low=None, high=most)
    call.job.limit(timeout or most)
    return Served(
        services.engine,
        services.policy.marked(info),
        services.policy,
        services.settings,
        services.scheduler,
        call.job,
        services.hooks_for,
        partial(check_wanted, call),
    )
