"""The values the host hands to extensions. Frozen, so that threads may share them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol


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
    """Tokens; 0 means the model's own, up to 8192."""
    gpu_layers: int
    """Layers to put on the GPU; -1 means as many as fit."""
    threads: int
    """CPU threads; 0 lets the engine decide."""
    parallel: int
    """Requests that may run at the same time, at least 1."""
    loras: tuple[Lora, ...] = ()
    mmproj: Path | None = None
    """The encoder of pictures or sounds, a GGUF file; None for text only."""
    catalog: ModelCatalog | None = field(default=None, compare=False, repr=False)
    """What may be loaded instead; None with a loader that reads no files."""


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
