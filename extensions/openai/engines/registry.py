"""ENGINES: the choices of `--loader`, one row each.

To add an engine, write a module with `make` and `check`, and add a row: the stand-alone host takes the name,
the help and whether to look for a file from it. This module imports no library, because the host reads it
before it knows which are needed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from .model_spec import ModelLoadError, ModelSpec

if TYPE_CHECKING:
    from ..settings import Settings
    from .protocol import Engine


class EngineModule(Protocol):
    """What an engine's module has."""

    def make(self, spec: ModelSpec, settings: Settings) -> Engine:
        """Load the model. Raises ModelLoadError."""

    def check(self, spec: ModelSpec) -> None:
        """Check the model without loading it. Raises ModelLoadError for what `make` would refuse."""


@dataclass(frozen=True, slots=True)
class EngineRow:
    """A loader."""

    help: str
    """Its name and purpose, as `--help` lists it."""
    module: Callable[[], EngineModule]
    """Imports the module, and with it the libraries that only this engine needs."""
    reads_files: bool
    """Whether `--model` names a model file, which must exist when the host starts."""


def _llama_cpp() -> EngineModule:
    from .llamacpp import factory

    return factory


def _echo() -> EngineModule:
    from . import echo

    return echo


DEFAULT = "llama.cpp"
MOCK = "echo"
"""The loader of mock mode (`USE_MOCK_API`)."""

ENGINES: Mapping[str, EngineRow] = {
    DEFAULT: EngineRow("llama.cpp", _llama_cpp, reads_files=True),
    MOCK: EngineRow("echo to answer without any model", _echo, reads_files=False),
}


def make(spec: ModelSpec, settings: Settings) -> Engine:
    """Load the model with the spec's loader. Raises ModelLoadError."""
    return ENGINES[spec.loader].module().make(spec, settings)


def fault(spec: ModelSpec) -> str | None:
    """What is wrong with a model, checked without loading it; None: nothing."""
    try:
        ENGINES[spec.loader].module().check(spec)
    except ModelLoadError as error:
        return str(error)
    return None
