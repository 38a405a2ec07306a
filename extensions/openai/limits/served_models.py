"""The model of a request: found once by its name, and a snapshot from then on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from ..engines.protocol import Engine, EngineInfo
from ..errors import ModelNotFound
from ..schemas import bad_request
from ..settings import ANY_MODEL, Settings
from ..system.once import Once
from .scheduler import Scheduler

log = logging.getLogger("openedai")
MAX_LISTED = 20
"""Names that an error lists at most."""


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model as one request sees it."""

    name: str
    """Its name in answers, whatever name the request used."""
    engine: Engine
    """Its `info` stays the same while the model stays loaded."""
    info: EngineInfo
    scheduler: Scheduler
    """Grants the model's slots."""


class ServedModels:
    """The models that requests may use: today the loaded one. Thread-safe."""

    def __init__(self, engine: Engine, scheduler: Scheduler, settings: Settings) -> None:
        self._engine, self._scheduler, self._settings = engine, scheduler, settings
        self._snapshot: Callable[[], Engine] | None = getattr(engine, "snapshot", None)
        self._strangers = Once()

    def configure(self, settings: Settings) -> None:
        """Use these settings from now on."""
        self._settings = settings

    def loaded(self) -> ServedModel:
        """The loaded model. Raises ModelLoading."""
        engine = self._engine if self._snapshot is None else self._snapshot()
        info = engine.info
        return ServedModel(info.model, engine, info, self._scheduler)

    def names(self, served: ServedModel) -> tuple[str, ...]:
        """The model's own name, then its aliases."""
        aliases = [name for name in self._settings.model_aliases if name != ANY_MODEL]
        return tuple(dict.fromkeys((served.name, *aliases)))

    def find(self, name: str) -> ServedModel:
        """The model with this name. Raises ModelNotFound, ModelLoading."""
        served = self.loaded()
        if name not in self.names(served):
            raise self._not_found(name, served)
        return served

    def resolve(self, name: str | None) -> ServedModel:
        """The model that answers a request for this name; None: the request names none.

        Raises ModelNotFound, ModelLoading, and InvalidRequest if a required name is missing.
        """
        served = self.loaded()
        self.check(name, served)
        return served

    def check(self, name: str | None, served: ServedModel) -> None:
        """Raises the errors of `resolve` if the model may not be used under this name.

        By default one model answers to every name, as some clients have a fixed one. Names are checked if the
        operator wants that, or if clients see several models.
        """
        settings = self._settings
        if name is None:
            if settings.require_model:
                raise bad_request.missing("model")
        elif name in self.names(served) or ANY_MODEL in settings.model_aliases:
            pass
        elif settings.strict_models or settings.list_host_models:
            raise self._not_found(name, served)
        elif self._strangers.first(name[:64]):
            log.info(
                "a request asks for the model %.64r: %r answers (--strict-models refuses other names)",
                name,
                served.name,
            )

    def _not_found(self, name: str, served: ServedModel) -> ModelNotFound:
        return ModelNotFound(name[:200], nearest_first(name, self.names(served)))


def nearest_first(name: str, known: Sequence[str]) -> list[str]:
    """Some of the known names, first those that `name` may be a misspelling of."""
    by_lower = {each.lower(): each for each in known}
    wanted = name[:200].lower()
    near = [by_lower[each] for each in get_close_matches(wanted, by_lower, n=3, cutoff=0.7)]
    return list(dict.fromkeys((*near, *known)))[:MAX_LISTED]
