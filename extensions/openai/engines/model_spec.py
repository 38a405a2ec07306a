"""Which model an engine is to load, and how it says that it cannot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol


class LoraFile(Protocol):
    """An adapter that a model is loaded with."""

    @property
    def path(self) -> Path: ...
    @property
    def scale(self) -> float: ...


class ModelSpec(Protocol):
    """The model that the stand-alone host has chosen (`host.spec.ModelSpec` explains the fields)."""

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
