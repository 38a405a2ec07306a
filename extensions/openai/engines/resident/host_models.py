"""The models of a host that has one of them loaded at a time: requests take turns with it, by name."""

from __future__ import annotations

import logging
import threading

from ...errors import ModelInUse, ModelNotFound
from ..model_manager import ModelManager, Template
from ..protocol import Engine, EngineInfo
from .lease import Lease
from .model import Report, ResidentModel
from .residents import Residents, Rules
from .room import Room

log = logging.getLogger("openedai")

RULES = Rules(Room(models=1))


class HostModels:
    """All models of the host's folder. Thread-safe."""

    def __init__(self, manager: ModelManager, engine: Engine) -> None:
        """`manager` loads them, and `engine` answers for the one that is loaded."""
        self._manager, self._engine = manager, engine
        self._listing, self._leaving = threading.Lock(), threading.Event()
        self._residents = Residents((), self._start, RULES)

    @property
    def residents(self) -> Residents:
        """Those that are in the folder now."""
        with self._listing:
            names = self._manager.models()
            known = self._residents.names()
            for name in names:
                if name not in known:
                    self._residents.add(_model(name))
            for name in known:
                if name not in names and self._residents.status(name).state == "not_loaded":
                    self._residents.remove(name)
        return self._residents

    def lease(self, name: str | None) -> Lease | None:
        """The turn of a request that names a model, or means the one that is loaded. None: there is neither.
        The host's model is the one that it names once the lease is granted."""
        loaded = self._manager.loaded().model
        if name is not None and name != loaded and name in self._manager.models():
            wanted: str | None = name
        else:
            wanted = loaded or self._coming()
        if wanted is None:
            return None
        try:
            return self._residents.lease(wanted)
        except ModelNotFound:
            with self._listing:
                if wanted not in self._residents.names():
                    self._residents.add(_model(wanted))
            return self._residents.lease(wanted)

    def close(self) -> None:
        """Take no more turns. The host keeps its model."""
        self._leaving.set()
        self._residents.close()

    def _coming(self) -> str | None:
        """The model that is loaded next."""
        statuses = self._residents.statuses()
        return next((each.model.name for each in statuses if each.waiting), None)

    def _start(self, model: ResidentModel, report: Report) -> _HostModel:
        if self._manager.loaded().model != model.name:
            self._manager.load(model.name, {}, Template())
        return _HostModel(self._manager, self._engine, model.name, self._leaving)


class _HostModel:
    """One while the host has it loaded: a user may load another one in the host's own page."""

    def __init__(
        self, manager: ModelManager, engine: Engine, name: str, leaving: threading.Event
    ) -> None:
        """`leaving`: set when the server goes and the host stays."""
        self._manager, self._name, self._leaving = manager, name, leaving
        self.engine = engine

    def has_ended(self, within: float = 0.0) -> bool:
        """As in Child."""
        return self._manager.loaded().model != self._name

    def close(self) -> None:
        """As in Child."""
        if self._leaving.is_set() or self.has_ended():
            return
        try:
            self._manager.unload()
        except ModelInUse:  # then the next one cannot be loaded either, which its requests are told
            log.warning("%s stays loaded: the host's own page uses it", self._name)


def _model(name: str) -> ResidentModel:
    """One of which the host knows no more than its name, until it is loaded."""
    info = EngineInfo(
        model=name,
        created=0,
        owned_by="host",
        context_length=0,
        sampler="",
        fingerprint="",
        vocabulary_size=0,
        capabilities=(),
    )
    return ResidentModel(name, info, 0)
