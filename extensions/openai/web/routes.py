"""What a page declares of its routes, and what a route's handler is given."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TYPE_CHECKING, Any, Literal

from flask import Response

from ..access.caller import Scope
from ..access.keys import Keys
from ..engines.model_manager import ModelManager
from ..engines.protocol import Engine
from ..errors import NotFound, ShuttingDown
from ..generation.hooks.extensions import Hooks
from ..generation.sampling.policy import Policy, read_policy
from ..limits.active_requests import ActiveRequests, Job
from ..limits.rate_limits import Limiter
from ..limits.scheduler import Scheduler
from ..limits.served_models import ServedModels
from ..observability.metrics import Metrics
from ..observability.record import Observer, RequestRecord
from ..outbound.tunnel import Tunnel
from ..schemas.validation import RequestModel
from ..settings import Settings, SettingsError
from ..state.usage import UsageStore
from ..system.data_folder import data_folder
from .response import Reply

if TYPE_CHECKING:
    from ..state.store import Store


class PathPrefixes(Enum):
    """Below which paths a route is found; `<model>` in one stands for a model's name."""

    ROOT = ("",)
    API = ("/v1", "", "/openai", "/openai/v1")
    MODEL = ("/v1", "", "/openai/v1", "/v1/engines/<path:model>", "/engines/<path:model>",
             "/openai/deployments/<path:model>")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Route:
    """One row of the API reference. All paths of it are documented under the first address."""

    method: Literal["GET", "POST"]
    path: str
    handler: Callable[..., Reply | Response]
    """Called with the Call, then `body` if there is one, then the path's own arguments by name."""
    summary: str
    addresses: PathPrefixes
    answer: Any = None
    """The type of the JSON answer; None for a page that is no JSON."""
    body: type[RequestModel] | None = None
    query: type[RequestModel] | None = None
    """The parameters behind the `?`; the handler gets them as `query`."""
    body_optional: bool = False
    """Whether a request without a body is one with an empty object."""
    chunk: Any = None
    """The type of an event's data where the route can stream."""
    scope: Scope | None = "read"
    """What the caller's key must allow; None for a page that needs no key."""
    open_by: Callable[[Settings], bool] = lambda settings: False
    """Whether settings open it, so that it needs no key after all."""
    media: str = "text/html"
    """The type of an answer that is no JSON."""
    endpoint: str = ""
    """Its public name, for `--endpoints` and `--disabled-endpoints`; several routes may share one."""

    @property
    def name(self) -> str:
        """As the reference writes it: `POST /v1/chat/completions`."""
        return f"{self.method} {self.addresses.value[0]}{self.path}"


def endpoint(name: str, *routes: Route) -> tuple[Route, ...]:
    """The routes of an endpoint, under its public name."""
    return tuple(replace(route, endpoint=name) for route in routes)


class ServedEndpoints:
    """Which endpoints are served, by their public names; `docs` are the document and its two readers."""

    def __init__(self, settings: Settings, known: Collection[str]) -> None:
        """Raises SettingsError for a name that is not known."""
        for setting in ("endpoints", "disabled_endpoints"):
            unknown = set(getattr(settings, setting)) - set(known)
            if unknown:
                raise SettingsError(
                    f"setting {setting}: there is no endpoint {', '.join(sorted(unknown))}; "
                    f"there are {', '.join(sorted(known))}"
                )
        self._on = set(settings.endpoints or known) - set(settings.disabled_endpoints)

    def __contains__(self, name: str) -> bool:
        return name in self._on

    def check(self, name: str) -> None:
        """Raises NotFound for an endpoint that is off."""
        if name not in self._on:
            raise NotFound(
                f"The endpoint '{name}' is switched off on this server (its settings --endpoints and "
                "--disabled-endpoints say so).",
                code="endpoint_disabled",
            )


class Lifecycle:
    """Whether the server is stopping, and how many requests are under way. Thread-safe."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._active = 0
        self._draining = False
        self._ending = threading.Event()

    def enter(self) -> None:
        """A request begins. Raises ShuttingDown once the server takes no more."""
        with self._condition:
            if self._draining:
                raise ShuttingDown("The server is shutting down.")
            self._active += 1

    def leave(self) -> None:
        with self._condition:
            self._active -= 1
            self._condition.notify_all()

    def check(self) -> None:
        """Raises ShuttingDown when answers under way must end now."""
        if self._ending.is_set():
            raise ShuttingDown("The server is shutting down; this answer is not complete.")

    def drain(self, patience: float, ending: float) -> bool:
        """Take no more requests; give those under way `patience` seconds, then tell them to end and
        wait `ending` seconds. True if all have ended."""
        with self._condition:
            self._draining = True
            if self._condition.wait_for(lambda: self._active == 0, patience):
                return True
            self._ending.set()
            return self._condition.wait_for(lambda: self._active == 0, ending)


def new_request_id() -> str:
    """For a request whose client gave none."""
    return "req_" + secrets.token_hex(16)


@dataclass(slots=True)
class Services:
    """What all requests share. Settings and policy change only as a whole, by `reload`."""

    settings: Settings
    engine: Engine
    scheduler: Scheduler
    models: ServedModels = field(init=False)
    """Who answers: looked up once per request."""
    policy: Policy
    lifecycle: Lifecycle
    store: Store
    keys: Keys = field(init=False)
    usage_store: UsageStore = field(init=False)
    limiter: Limiter = field(init=False)
    jobs: ActiveRequests = field(default_factory=ActiveRequests)
    hooks: Hooks | None = None
    """Of the host's other extensions; None where it has none. Set before the first request."""
    model_manager: ModelManager | None = None
    """What the host can load instead; None where it lets no caller choose. Set before the first request."""
    metrics: Metrics = field(init=False)
    started: float = field(default_factory=time.monotonic)
    observers: list[Observer] = field(default_factory=list)
    """Who wants to know of each request that has ended; filled before the first one."""
    tunnel: Tunnel | None = None
    reloaders: list[Callable[[Settings], None]] = field(default_factory=list)
    """Told of new settings that are in force; must not raise. Filled before the first request."""

    def __post_init__(self) -> None:
        self.models = ServedModels(self.engine, self.scheduler, self.settings)
        self.reloaders.append(self.models.configure)
        self.keys = Keys(self.settings)
        self.reloaders.append(self.keys.configure)
        self.usage_store = UsageStore(data_folder(self.settings), days=self.settings.usage_days)
        self.observers.append(self.usage_store.observe)
        self.limiter = Limiter(self.settings, self.usage_store.spent)
        self.metrics = Metrics(self.models, self.scheduler, self.tunnel)
        self.observers.append(self.metrics.observe)

    def reload(self, settings: Settings) -> None:
        """These settings from the next request on. Raises SettingsError and changes nothing where the
        policy in them is wrong."""
        self.policy = read_policy(settings)
        self.settings = settings
        for follow in self.reloaders:
            follow(settings)

    def hooks_for(self, wanted: bool | None) -> Hooks | None:
        """What to apply to a request that says so in its field `hooks`; None: nothing."""
        if self.hooks is None or not self.settings.hooks or wanted is False:
            return None
        hooks = replace(self.hooks, live=self.settings.output_hooks == "live")
        return hooks if hooks.any else None

    def observe(self, record: RequestRecord) -> None:
        """Tell all observers that a request has ended."""
        record.ended = time.monotonic()
        for observer in self.observers:
            observer(record)


@dataclass(frozen=True, slots=True)
class Call:
    """One request, apart from its body."""

    services: Services
    base_url: str
    """How the client reached us, up to and with the API prefix, without a last slash."""
    model: str | None = None
    """The model's name where the address holds one."""
    client_gone: Callable[[], bool] = lambda: False
    """Whether the client has hung up; may be asked at any time, from any thread."""
    job: Job = field(default_factory=Job)
    refuse: Callable[[Exception], Reply] = lambda error: Reply(status=500)
    """The reply to a request that fails when its handler has returned."""
    pushed: bool = False
    """Whether what is written goes out at once, rather than when more is asked for."""

    @property
    def record(self) -> RequestRecord:
        """What the request comes to."""
        return self.job.record
