"""Health: whether the server can answer, for everyone; details, for admins."""

from __future__ import annotations

import os
import platform
import sys
import threading
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from typing_extensions import TypedDict

from . import __version__
from .errors import ModelLoading
from .web.responses.response import Response, json_response
from .web.routing.routes import PathPrefixes, Route, endpoint

if TYPE_CHECKING:
    from .limits.served_models import ServedModels
    from .outbound.tunnel import Tunnel
    from .state.store import Store
    from .web.context import RequestContext

PACKAGES = ("flask", "waitress", "pydantic", "xllamacpp", "llguidance")


class Health(TypedDict):
    """The model is loaded and the server accepts requests."""

    status: Literal["ok", "degraded"]
    """`degraded`: the server answers, but cannot store anything."""


class ModelHealth(TypedDict):
    id: str
    context_length: int
    slots: int
    """How many choices can be generated at once."""
    sampler: str
    capabilities: list[str]


class QueueHealth(TypedDict):
    running: int
    """Choices that have a slot."""
    waiting: int
    """Requests in the queue."""
    limit: int


class ProcessHealth(TypedDict):
    pid: int
    threads: int
    memory_bytes: int | None
    """Resident memory, including the model's; null if the system does not report it."""


class TunnelHealth(TypedDict):
    state: Literal["opening", "up", "down", "closed"]
    url: str | None
    problem: str | None
    """Why it is down."""
    starts: int
    """How often cloudflared was started."""


class StoreHealth(TypedDict):
    where: Literal["sqlite", "postgresql", "memory", "off"]
    problem: str | None
    """Why nothing can be written; null: no known problem."""


class HealthDetails(TypedDict):
    """The state of the server, for operators."""

    status: Literal["ok", "degraded", "loading"]
    version: str
    uptime_seconds: float
    model: ModelHealth | None
    queue: QueueHealth
    tunnel: TunnelHealth | None
    """Null without `--public-api`."""
    store: StoreHealth
    process: ProcessHealth
    python: str
    platform: str
    packages: dict[str, str]


def health(context: RequestContext) -> Response:
    """200 once the server answers requests; 503 `model_loading` while the first model loads.

    It stays 200 after an unload if the next request loads the model again.
    """
    manager = context.services.model_manager
    if manager is None or not manager.loads_on_demand():
        context.services.models.loaded()  # raises ModelLoading
    answer: Health = {"status": _status(context.services.store)}
    return json_response(answer)


def health_details(context: RequestContext) -> Response:
    """Details of the server. 200 even while the model loads."""
    services = context.services
    model = _model(services.models)
    queue = services.models.queue()
    answer: HealthDetails = {
        "status": _status(services.store) if model else "loading",
        "version": __version__,
        "uptime_seconds": round(time.monotonic() - services.started, 1),
        "model": model,
        "queue": {
            "running": queue.running,
            "waiting": queue.requests_waiting,
            "limit": queue.limit,
        },
        "tunnel": _tunnel(services.tunnel),
        "store": {"where": services.store.kind, "problem": services.store.problem},
        "process": _process(),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "packages": {name: found for name in PACKAGES if (found := _version(name))},
    }
    return json_response(answer)


def _status(store: Store) -> Literal["ok", "degraded"]:
    return "ok" if store.problem is None else "degraded"


def _model(models: ServedModels) -> ModelHealth | None:
    """The loaded model; None if there is none."""
    try:
        info = models.loaded().info
    except ModelLoading:
        return None
    return {
        "id": info.model,
        "context_length": info.context_length,
        "slots": info.parallel,
        "sampler": info.sampler,
        "capabilities": list(info.capabilities),
    }


def _process() -> ProcessHealth:
    return {
        "pid": os.getpid(),
        "threads": threading.active_count(),
        "memory_bytes": _memory(),
    }


def _tunnel(tunnel: Tunnel | None) -> TunnelHealth | None:
    if tunnel is None:
        return None
    now = tunnel.state
    return {"state": now.state, "url": now.url, "problem": now.problem, "starts": now.starts}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _memory() -> int | None:
    """Resident memory of this process in bytes."""
    try:
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        pass  # not Linux
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


ROUTES = endpoint(
    "health",
    Route("GET", "/health", health, "Health check", PathPrefixes.ROOT, Health, scope=None),
    Route(
        *("GET", "/internal/health", health_details, "Health in detail", PathPrefixes.API),
        HealthDetails,
        scope="admin",
    ),
)
