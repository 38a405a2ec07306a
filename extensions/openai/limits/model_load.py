"""How busy each model is: the figure to scale replicas on."""

from __future__ import annotations

from dataclasses import dataclass

from .served_models import ServedModels


@dataclass(frozen=True, slots=True)
class ModelLoad:
    """One model; `running` and `waiting` count choices."""

    model: str
    slots: int
    running: int
    waiting: int

    @property
    def load(self) -> float:
        """Choices that run or wait, for each slot: above 1, requests wait."""
        return round((self.running + self.waiting) / self.slots, 3) if self.slots else 0.0


def loads_of(models: ServedModels) -> list[ModelLoad]:
    """Those of all models that can answer now."""
    found = []
    for served in models.available():
        state = served.scheduler.state()
        found.append(ModelLoad(served.name, served.info.parallel, state.running, state.waiting))
    return found
