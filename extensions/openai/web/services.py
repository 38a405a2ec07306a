"""Objects that all requests share."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ..access.keys import Keys
from ..engines.model_manager import ModelManager
from ..engines.protocol import Engine
from ..generation.agents import Agents, read_agents
from ..generation.hooks.extension_hooks import Hooks
from ..generation.sampling.policy import Policy, read_policy
from ..limits.active_requests import ActiveRequests
from ..limits.background import BackgroundAnswers
from ..limits.rate_limits import Limiter
from ..limits.scheduler import Scheduler
from ..limits.served_models import ServedModels
from ..observability.metrics import Metrics
from ..observability.record import Observer
from ..outbound.tunnel import Tunnel
from ..settings import Settings
from ..state.store import Store
from ..state.usage import UsageStore
from ..system.data_folder import data_folder


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
    agents: Agents | None = field(init=False)
    """None: the operator has none."""
    keys: Keys = field(init=False)
    usage_store: UsageStore = field(init=False)
    limiter: Limiter = field(init=False)
    active_requests: ActiveRequests = field(default_factory=ActiveRequests)
    background: BackgroundAnswers[Any] = field(init=False)
    hooks: Hooks | None = None
    """Of the host's other extensions; None: there are none. Set before the first request."""
    model_manager: ModelManager | None = None
    """Loads other models; None: clients cannot choose. Set before the first request."""
    metrics: Metrics = field(init=False)
    started: float = field(default_factory=time.monotonic)
    observers: list[Observer] = field(default_factory=list)
    """Called for each request that has ended; filled before the first one."""
    tunnel: Tunnel | None = None
    reloaders: list[Callable[[Settings], None]] = field(default_factory=list)
    """Called with new settings that are in force; must not raise. Filled before the first request."""

    def __post_init__(self) -> None:
        self.models = ServedModels(self.engine, self.scheduler, self.settings)
        self.reloaders.append(self.models.configure)
        self.agents = read_agents(self.settings)
        self.background = BackgroundAnswers(lambda ids: self.store.responses.renew(ids))
        self.keys = Keys(self.settings)
        self.reloaders.append(self.keys.configure)
        self.usage_store = UsageStore(data_folder(self.settings), days=self.settings.usage_days)
        self.observers.append(self.usage_store.observe)
        self.limiter = Limiter(self.settings, self.usage_store.spent)
        self.metrics = Metrics(self.models, self.scheduler, self.store, self.tunnel)
        self.observers.append(self.metrics.observe)

    def reload(self, settings: Settings) -> None:
        """Use these settings from the next request on. Raises SettingsError, and changes nothing, if their
        policy or agents are invalid."""
        policy, agents = read_policy(settings), read_agents(settings)
        self.policy, self.agents = policy, agents
        self.settings = settings
        for follow in self.reloaders:
            follow(settings)
