"""Which model an engine loads, and the error when it cannot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol


class LoraFile(Protocol):
    """A LoRA adapter to load with a model."""

    @property
    def path(self) -> Path: ...
    @property
    def scale(self) -> float: ...


class ModelSpec(Protocol):
    """The model chosen by the stand-alone host (`host.models.spec.ModelSpec` explains the fields)."""

    @property
    def loader(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def path(self) -> Path | None: ...
    @property
    def context_length(self) -> int: ...
    @property
    def gpu_layers(self) -> int: ...
    @property
    def threads(self) -> int: ...
    @property
    def parallel(self) -> int: ...
    @property
    def loras(self) -> Sequence[LoraFile]: ...
    @property
    def mmproj(self) -> Path | None: ...


class ModelLoadError(Exception):
    """The model cannot be loaded; the message is one clear line for the operator, without a path."""
