"""The models of the stand-alone host: the GGUF files below one folder."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

from ..errors import InvalidRequest, ModelLoadFailed, ModelNotFound
from .model_manager import FAILED, Loaded, Template, unknown_option
from .protocol import Engine
from .swappable import SwappableEngine

log = logging.getLogger("openedai")


class Spec(Protocol):
    """A model found by the host; only what is needed here."""

    @property
    def name(self) -> str: ...
    @property
    def loader(self) -> str: ...


S = TypeVar("S", bound=Spec)
S_co = TypeVar("S_co", bound=Spec, covariant=True)


class ModelCatalog(Protocol[S_co]):
    """The model files of the stand-alone host (`host.models.model_files.FolderCatalog`)."""

    def names(self) -> tuple[str, ...]: ...
    def find(self, name: str) -> S_co: ...


class FolderModelManager(Generic[S]):
    """The GGUF files below `--model-dir`. The command line's options apply to all of them."""

    def __init__(
        self,
        engine: SwappableEngine,
        catalog: ModelCatalog[S],
        make: Callable[[S], Engine],
        drain_timeout: float,
        *,
        fault: Callable[[S], str | None] = lambda spec: None,
        memory: Callable[[S], int | None] = lambda spec: None,
    ) -> None:
        """`make` loads a model or raises an exception with the reason. Running answers get `drain_timeout`
        seconds to end. `fault` says what is wrong with a model's files, without a path, and `memory` how
        many bytes they take when they are loaded."""
        self._engine, self._catalog, self._make, self._drain_timeout = (
            engine,
            catalog,
            make,
            drain_timeout,
        )
        self._fault, self._memory = fault, memory
        self._loader = ""
        self._loaded: S | None = None
        self._unloaded: S | None = None

    def begin(self, spec: S) -> None:
        """Register the model that is already loaded."""
        self._loaded, self._loader = spec, spec.loader

    def loaded(self) -> Loaded:
        spec = self._loaded
        return Loaded(spec.name if spec else None, (), self._loader)

    def models(self) -> tuple[str, ...]:
        return self._catalog.names()

    def memory(self, name: str) -> int | None:
        try:
            return self._memory(self._catalog.find(name))
        except Exception as error:  # what its load would say, which is not what is wanted here
            log.debug("the files of the model %s cannot be read: %s", name, error)
            return None

    def load(self, name: str, options: Mapping[str, Any], template: Template) -> None:
        if options:
            first = next(iter(options))
            raise unknown_option(first)
        if template != Template():
            raise InvalidRequest(
                "This server takes chat templates from model files only.",
                param="instruction_template" if template.name else "instruction_template_str",
                code="unsupported_parameter",
            )
        if name not in self.models():
            raise ModelNotFound(name[:200])
        # Keep the served model unless the new one can be loaded.
        if (fault := self._checked(name)) is not None:
            log.error("the model %s is not loaded: %s", name, fault)
            raise ModelLoadFailed(f"The model is not loaded, and nothing has changed: {fault}")
        with self._engine.suspended(self._drain_timeout):
            self._serve(name, lambda: self._catalog.find(name))

    def _checked(self, name: str) -> str | None:
        try:
            return self._fault(self._catalog.find(name))
        except Exception as error:
            # The message may contain a path, which is for the log only.
            log.error("the model %s is not loaded: %s", name, error)
            return "the server's log says why."

    def unload(self) -> None:
        with self._engine.suspended(self._drain_timeout):
            self._unloaded, self._loaded = self._loaded or self._unloaded, None
            self._engine.clear()

    def loads_on_demand(self) -> bool:
        return self._unloaded is not None

    def reload_if_unloaded(self) -> None:
        if self._unloaded is None:
            return
        with self._engine.suspended(self._drain_timeout):
            spec = self._unloaded
            if spec is not None:  # else another request loaded it
                self._serve(spec.name, lambda: spec)

    def _serve(self, name: str, find: Callable[[], S]) -> None:
        self._loaded = self._unloaded = None
        # Free the old model first: there may not be enough memory for both.
        self._engine.clear()
        try:
            spec = find()
            engine = self._make(spec)
        except Exception as error:
            # The message may contain a path, which is for the log only.
            log.error("the model %s could not be loaded: %s", name, error)
            raise ModelLoadFailed(FAILED) from error
        self._engine.set(engine)
        self.begin(spec)

    def loras(self) -> tuple[str, ...]:
        return ()

    def apply_loras(self, names: Sequence[str]) -> None:
        if names:
            raise InvalidRequest(
                "LoRAs of this server are chosen with --lora when it starts.",
                param="lora_names",
                code="unsupported_parameter",
            )
