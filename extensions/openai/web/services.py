"""Objects that all requests share."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from ..access.keys import Keys
from ..engines.model_manager import ModelManager
from ..engines.protocol import Engine
from ..generation.agents.choosing import Agents
from ..generation.agents.file import read_agents
from ..generation.hooks.extension_hooks import Hooks
from ..generation.sampling.policy import Policy, read_policy
from ..limits.active_requests import ActiveRequests
from ..limits.background import BackgroundAnswers
from ..limits.kept_streams import KeptStreams
from ..limits.rate_limits import Limiter
from ..limits.scheduler import Scheduler
from ..limits.served_models import ServedModels
from ..observability.metrics import Metrics
from ..observability.record import Observer, RecentRecords
from ..outbound.tunnel import Tunnel
from ..settings import Settings
from ..state.keyring import keyring_file
from ..state.store import Store
from ..state.usage import UsageStore
from ..system.data_folder import data_folder

if TYPE_CHECKING:
    from ..engines.resident.host_models import HostModels
    from ..engines.resident.library import ModelLibrary
    from ..engines.resident.model import Status
    from ..engines.resident.residents import Residents
    from ..engines.upstreams_file import UpstreamModels
    from ..generation.media.transcripts import Transcripts
    from ..generation.tools.servers.tool_servers import ToolServers
    from ..observability.capture import Capture
    from ..observability.tracing import Tracing
    from .kept_answers import KeptAnswers


class BatchWork(Protocol):
    """What runs the batches in the store."""

    def start(self) -> None:
        """The server runs: go on with what is in the store, and look for more from now on."""

    def wake(self) -> None:
        """A batch was made, or changed."""

    def stop(self, seconds: float) -> None:
        """The server ends; lines under way have so long to stop."""


@dataclass(slots=True)
class Services:
    """The services of one application. Settings and policy change only as a whole, by `reload`."""

    settings: Settings
    engine: Engine
    scheduler: Scheduler
    models: ServedModels = field(init=False)
    """Looked up once per request."""
    policy: Policy
    store: Store
    agents: Agents = field(init=False)
    keys: Keys = field(init=False)
    usage_store: UsageStore = field(init=False)
    limiter: Limiter = field(init=False)
    active_requests: ActiveRequests = field(default_factory=ActiveRequests)
    background: BackgroundAnswers[Any] = field(init=False)
    streams: KeptStreams[Any] = field(default_factory=KeptStreams)
    """Those that can be resumed."""
    batches: BatchWork = field(init=False)
    """Set before the first request."""
    hooks: Hooks | None = None
    """Of the host's other extensions; None: there are none. Set before the first request."""
    model_manager: ModelManager | None = None
    """Loads other models; None: clients cannot choose. Set before the first request."""
    residents: Residents | None = None
    """Models that requests load beside the default one; None: there are none."""
    host_models: HostModels | None = None
    """Models that requests load in place of the default one, in turns; None: there are none."""
    library: ModelLibrary | None = None
    """Downloads and deletes models that requests load. Set before the first request."""
    upstreams: UpstreamModels | None = None
    """The models of --upstreams; None: there are none. Set before the first request."""
    _transcripts: Transcripts | None = None
    metrics: Metrics = field(init=False)
    started: float = field(default_factory=time.monotonic)
    recent: RecentRecords = field(default_factory=RecentRecords)
    observers: list[Observer] = field(default_factory=list)
    """Called for each request that has ended; filled before the first one."""
    capture: Capture | None = None
    """What --debug writes; None: it is off. Set before the first request."""
    tool_servers: ToolServers | None = field(init=False, default=None)
    """Whose tools this server calls; None: there are none."""
    tunnel: Tunnel | None = None
    tracing: Tracing | None = None
    """Sends traces to a collector; None: without `--otel-endpoint`. Set before the first request."""
    answer_cache: KeptAnswers | None = None
    """Answers to give again; None: without `--answer-cache`. Set before the first request."""
    reloaders: list[Callable[[Settings], None]] = field(default_factory=list)
    """Called with new settings that are in force; must not raise. Filled before the first request."""

    def __post_init__(self) -> None:
        self.models = ServedModels(self.engine, self.scheduler, self.settings)
        self.reloaders.append(self.models.configure)
        self.agents = Agents(read_agents(self.settings), self.store, self.settings)
        keyring_file(self.settings).check()
        if self.settings.tool_servers is not None:
            from ..generation.tools.servers.tool_servers import ToolServers  # few have them

            self.tool_servers = ToolServers.of(self.settings.tool_servers, lambda: self.hooks)
        self.background = BackgroundAnswers(lambda ids: self.store.responses.renew(ids))
        self.keys = Keys(self.settings)
        self.reloaders.append(self.keys.configure)
        self.usage_store = UsageStore(data_folder(self.settings), days=self.settings.usage_days)
        self.observers.append(self.usage_store.observe)
        self.limiter = Limiter(self.settings, self.usage_store.spent)
        self.metrics = Metrics(self.models, self.store, self._loads, self.tunnel)
        self.observers += [self.metrics.observe, self.recent.observe]

    def _loads(self) -> list[Status]:
        residents = self.loaded_on_request
        return [] if residents is None else residents.statuses()

    @property
    def loaded_on_request(self) -> Residents | None:
        """The models that requests load; None: there are none."""
        return self.residents if self.host_models is None else self.host_models.residents

    @property
    def transcripts(self) -> Transcripts:
        """Of sounds in messages."""
        if self._transcripts is None:
            from ..generation.media.transcripts import Transcripts

            self._transcripts = Transcripts()
        return self._transcripts

    def reload(self, settings: Settings) -> None:
        """Use these settings from the next request on. Raises SettingsError, and changes nothing, if their
        policy or agents are invalid."""
        policy, agents = read_policy(settings), read_agents(settings)
        self.policy, self.agents = policy, Agents(agents, self.store, settings)
        self.settings = settings
        for follow in self.reloaders:
            follow(settings)
