"""The values the host hands to extensions. Frozen, so that threads may share them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from extensions.openai.engines.model_spec import Task
from extensions.openai.engines.tuning import DEFAULT_TUNING, Tuning

if TYPE_CHECKING:
    from host.resident.plan import Plan


@dataclass(frozen=True, slots=True)
class Lora:
    """One LoRA adapter: an existing file and its strength (1.0 is as trained)."""

    path: Path
    scale: float


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """What to load, resolved: every path in it existed when the host started."""

    loader: str
    """A key of `extensions.openai.engines.registry.ENGINES`."""
    name: str
    """What clients see as the model's id."""
    path: Path | None
    """The GGUF file, or the first of its shards; None with a loader that reads none."""
    context_length: int
    """Tokens; 0 means the model's own, or what memory holds of it."""
    gpu_layers: int
    """Layers to put on the GPU; -1 means as many as fit."""
    threads: int
    """CPU threads; 0 lets the engine decide."""
    parallel: int
    """Requests that may run at the same time, at least 1."""
    loras: tuple[Lora, ...] = ()
    mmproj: Path | None = None
    """The encoder of pictures or sounds, a GGUF file; None for text only."""
    tuning: Tuning = DEFAULT_TUNING
    chat_template: str | None = field(default=None, repr=False)
    """The source of a chat template in place of the file's own."""
    task: Task = "auto"
    """What it is for."""
    shares_memory: bool = False
    """With models that requests load: its context does not grow with the memory."""
    catalog: ModelCatalog | None = field(default=None, compare=False, repr=False)
    """What may be loaded instead; None with a loader that reads no files."""
    beside: Callable[[str], ModelSpec] | None = field(default=None, compare=False, repr=False)
    """Find a further model, named as `--model` names one, and download it if need be. Raises HostError."""
    plan: Plan | None = field(default=None, compare=False, repr=False)
    """What may be loaded on request besides; None: nothing."""


class ModelCatalog(Protocol):
    """All models that the host could load. Thread-safe."""

    def names(self) -> tuple[str, ...]:
        """What `find` takes."""

    def find(self, name: str) -> ModelSpec:
        """The model of that name, with the options of the command line. Raises HostError."""


@dataclass(frozen=True, slots=True)
class FoundModel:
    """A model on the disk: its file (the first of its shards) and its public name."""

    path: Path
    name: str
    mmproj: Path | None = None
    """The projector that is known to belong to it."""
