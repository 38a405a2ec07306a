"""From a request to what generates for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..generation.plan import Served
from ..schemas import bad_request

if TYPE_CHECKING:
    from .context import RequestContext


def serve(context: RequestContext, model: str | None, timeout: float | None) -> Served:
    """What a request is served with that asks for `model` (or whose path names one) and may take `timeout`
    seconds.

    Raises ModelNotFound, ModelLoading, InvalidRequest where a name is required and missing, or for a timeout
    that is longer than the operator allows.
    """
    services = context.services
    served = services.models.loaded()
    context.record.model = served.name  # also of a request that is refused
    services.models.check(context.model or model or None, served)
    most = services.settings.request_timeout
    if most and timeout is not None and timeout > most:
        raise bad_request.out_of_range("timeout", timeout, low=None, high=most)
    context.limit_time(timeout or most)
    return Served(
        served.engine,
        services.policy.with_fingerprint(served.info),
        services.policy,
        services.settings,
        served.scheduler,
        context,
        services.hooks,
    )
