"""ENGINES: the choices of `--loader`, one row each.

To add an engine, write a module with `make` and `check`, and add a row: the stand-alone host takes the name,
the help and whether to look for a file from it. This module imports no library, because the host reads it
before it knows which are needed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from .model_spec import ModelLoadError, ModelOutline, ModelSpec

if TYPE_CHECKING:
    from ..settings import Settings
    from .encoders import EncoderEngine
    from .protocol import Capability, Engine


class EngineModule(Protocol):
    """What an engine's module has."""

    def make(self, spec: ModelSpec, settings: Settings) -> Engine:
        """Load the model. Raises ModelLoadError."""

    def check(self, spec: ModelSpec) -> None:
        """Check the model without loading it. Raises ModelLoadError for what `make` would refuse."""

    def explain(self, spec: ModelSpec) -> Sequence[str]:
        """What `make` would choose, and why, in lines for the operator. Raises ModelLoadError."""

    def outline(self, spec: ModelSpec) -> ModelOutline:
        """What the model's files say of it. Raises ModelLoadError for what `make` would refuse."""


class EncoderModule(Protocol):
    """What a module has that loads models which only read: for embeddings or rerank."""

    def make_encoder(
        self, spec: ModelSpec, capability: Capability, settings: Settings, name: str
    ) -> EncoderEngine:
        """Load the model, which clients see under `name`. Raises ModelLoadError."""


@dataclass(frozen=True, slots=True)
class EngineRow:
    """A loader."""

    help: str
    """Its name and purpose, as `--help` lists it."""
    module: Callable[[], EngineModule] | None
    """Imports the module, and with it the libraries that only this engine needs; None: it loads nothing."""
    reads_files: bool
    """Whether `--model` names a model file, which must exist when the host starts."""
    encoders: Callable[[], EncoderModule] | None = None
    """Imports the module for embedding and rerank models; None: it loads none."""


def _llama_cpp() -> EngineModule:
    from .llamacpp import factory

    return factory


def _llama_cpp_encoders() -> EncoderModule:
    from .llamacpp import encoder_factory

    return encoder_factory


def _echo() -> EngineModule:
    from . import echo

    return echo


DEFAULT = "llama.cpp"
MOCK = "echo"
"""The loader of mock mode (`USE_MOCK_API`)."""
UPSTREAM = "upstream"
"""No model of the host's own: those of `upstreams` and of `--models` are served."""

ENGINES: Mapping[str, EngineRow] = {
    DEFAULT: EngineRow("llama.cpp", _llama_cpp, reads_files=True, encoders=_llama_cpp_encoders),
    MOCK: EngineRow("echo to answer without any model", _echo, reads_files=False),
    UPSTREAM: EngineRow(
        "upstream for the models of --upstreams and --models alone", None, reads_files=False
    ),
}


def make(spec: ModelSpec, settings: Settings) -> Engine:
    """Load the model with the spec's loader. Raises ModelLoadError."""
    return _module(spec).make(spec, settings)


def explain(spec: ModelSpec) -> Sequence[str]:
    """What `make` would choose for a model, and why. Raises ModelLoadError."""
    return _module(spec).explain(spec)


def outline(spec: ModelSpec) -> ModelOutline:
    """What a model's files say of it. Raises ModelLoadError."""
    return _module(spec).outline(spec)


def make_encoder(
    spec: ModelSpec, capability: Capability, settings: Settings, name: str
) -> EncoderEngine:
    """Load a model for embeddings or rerank with the spec's loader; clients see it under `name`. Raises
    ModelLoadError."""
    encoders = ENGINES[spec.loader].encoders
    if encoders is None:
        raise ModelLoadError(f"The loader {spec.loader} loads no models for {capability}")
    return encoders().make_encoder(spec, capability, settings, name)


def fault(spec: ModelSpec) -> str | None:
    """What is wrong with a model, checked without loading it; None: nothing."""
    try:
        _module(spec).check(spec)
    except ModelLoadError as error:
        return str(error)
    return None


def _module(spec: ModelSpec) -> EngineModule:
    module = ENGINES[spec.loader].module
    if module is None:
        raise ModelLoadError(f"--loader {spec.loader} loads no model")
    return module()
