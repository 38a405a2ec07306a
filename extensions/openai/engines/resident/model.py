"""A model that can be resident, and what runs it while it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

from ..protocol import Engine, EngineInfo

State = Literal["not_loaded", "loading", "loaded", "unloading"]
"""As in Residence."""


@dataclass(frozen=True, slots=True)
class ResidentModel:
    """What is known before it is loaded, from its file's header and from the operator."""

    name: str
    info: EngineInfo
    bytes: int
    """What it takes when it is loaded."""
    aliases: tuple[str, ...] = ()
    root: str | None = None
    """The model that it is with an adapter; None: it is a model itself."""
    pinned: bool = False
    """Loaded at the start, and never unloaded to make room."""
    idle_s: float = 0.0
    """Seconds after its last answer ended, when it is unloaded; 0: never."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """The options that it is loaded with, as the command line calls them."""


class Child(Protocol):
    """What runs a loaded model. Thread-safe."""

    @property
    def engine(self) -> Engine: ...

    def has_ended(self, within: float = 0.0) -> bool:
        """Whether it is gone, or will be in so many seconds."""

    def close(self) -> None:
        """End it; returns when its memory is free. Safe to call twice."""


Report = Callable[[float], None]
"""Called with how much of a model's files is read, from 0 to 1."""
Start = Callable[[ResidentModel, Report], Child]
"""Load a model; returns when it can answer. Raises ModelLoadError with the reason."""


Look = Callable[[ResidentModel], ResidentModel]
"""Look at a model's files again. Raises ModelLoadError."""


@dataclass(frozen=True, slots=True)
class Loads:
    """How often a model was loaded, and what that took."""

    count: int = 0
    failures: int = 0
    seconds: float = 0.0
    """All that succeeded, together."""
    last_s: float = 0.0
    """The last one; 0: there was none."""

    def with_one(self, seconds: float) -> Loads:
        return replace(self, count=self.count + 1, seconds=self.seconds + seconds, last_s=seconds)

    def with_failure(self) -> Loads:
        return replace(self, failures=self.failures + 1)


NO_LOADS = Loads()


@dataclass(frozen=True, slots=True)
class Status:
    """A model as it is now."""

    model: ResidentModel
    state: State
    pinned: bool
    running: int
    """Answers under way."""
    waiting: int
    """Requests that wait for it to be loaded."""
    loads: Loads
    progress: float | None
    """As in Residence."""
