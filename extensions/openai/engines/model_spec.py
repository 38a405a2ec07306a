"""Which model an engine loads, and the error when it cannot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, get_args

from .protocol import EngineInfo
from .tuning import Tuning

Task = Literal["auto", "text", "embeddings", "rerank"]
"""What a model is for; auto: what its file says."""
TASKS: tuple[Task, ...] = get_args(Task)


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
    @property
    def tuning(self) -> Tuning: ...
    @property
    def chat_template(self) -> str | None: ...
    @property
    def task(self) -> Task: ...
    @property
    def shares_memory(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class ModelOutline:
    """What a model's files say before it is loaded."""

    info: EngineInfo
    """As of an engine whose model is in another process."""
    bytes: int
    """Memory that it takes, at most."""


class ModelLoadError(Exception):
    """The model cannot be loaded; the message is one clear line for the operator, without a path."""
