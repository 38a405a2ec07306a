"""What a request is answered by: looked up once by the model's name, and passed on as it was then."""

from __future__ import annotations

from dataclasses import dataclass

from ..engines.protocol import Engine, EngineInfo, snapshot_of
from ..errors import ModelNotFound
from ..schemas import bad_request
from ..settings import Settings
from .scheduler import Scheduler


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model as one request sees it."""

    name: str
    """What answers call it, whatever the request did."""
    engine: Engine
    """Tells the same `info` as long as the model stays loaded, and is not asked for it again."""
    info: EngineInfo
    scheduler: Scheduler
    """Gives the model's slots."""


class ServedModels:
    """The models that requests may choose from: today the one that is loaded. Thread-safe."""

    def __init__(self, engine: Engine, scheduler: Scheduler, settings: Settings) -> None:
        self._engine, self._scheduler, self._settings = engine, scheduler, settings

    def configure(self, settings: Settings) -> None:
        """Go by these settings from now on."""
        self._settings = settings

    def loaded(self) -> ServedModel:
        """What is loaded now. Raises ModelLoading."""
        engine = snapshot_of(self._engine)
        info = engine.info
        return ServedModel(info.model, engine, info, self._scheduler)

    def resolve(self, name: str | None) -> ServedModel:
        """The model that answers to a name; None: the request has none.

        Raises ModelNotFound, InvalidRequest where a name is required and missing, ModelLoading.
        """
        served = self.loaded()
        self.check(name, served)
        return served

    def check(self, name: str | None, served: ServedModel) -> None:
        """Raises what `resolve` does where the model does not answer to this name."""
        if name is None:
            if self._settings.require_model:
                raise bad_request.missing("model")
            return
        aliases = self._settings.model_aliases
        if name != served.name and name not in aliases and "*" not in aliases:
            raise ModelNotFound(name[:200])
