"""The models that a host can load, where it lets us choose among them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from ..errors import InvalidRequest, ModelLoadFailed, ModelNotFound
from .protocol import Engine

if TYPE_CHECKING:
    from .swappable import SwappableEngine

log = logging.getLogger("openedai")

FAILED = "The model could not be loaded, and none is loaded now; the server's log says why."


@dataclass(frozen=True, slots=True)
class Loaded:
    """What is in memory now."""

    model: str | None
    """None: nothing is loaded."""
    loras: tuple[str, ...]
    loader: str
    """What runs it, in the host's words."""


@dataclass(frozen=True, slots=True)
class Template:
    """The chat template that a model is to be loaded with, in place of its own."""

    name: str | None = None
    """One of the host's."""
    text: str | None = None
    """Jinja2."""


class ModelManager(Protocol):
    """A host's folder of models. All methods may be called from any thread; changes wait for each other.

    While one is made the engine takes no requests; those under way may end, or get one error.
    """

    def loaded(self) -> Loaded:
        """What is in memory now."""

    def models(self) -> tuple[str, ...]:
        """The names that `load` takes."""

    def load(self, name: str, options: Mapping[str, Any], template: Template) -> None:
        """Serve this model from now on; `options` are the loader's own.

        Raises ModelNotFound, InvalidRequest for an option that is unknown or ill-typed, EngineFailed when it
        cannot be loaded; after that nothing is loaded.
        """

    def unload(self) -> None:
        """Free the model. Nothing happens when there is none."""

    def reload_if_unloaded(self) -> None:
        """A request wants an answer: a host may load the model again that was unloaded.

        Raises EngineFailed.
        """

    def loras(self) -> tuple[str, ...]:
        """The names that `apply_loras` takes."""

    def apply_loras(self, names: Sequence[str]) -> None:
        """Use these adapters and no others. Raises InvalidRequest, EngineFailed."""


class Spec(Protocol):
    """A model that a host has found, as far as it matters here."""

    @property
    def name(self) -> str: ...
    @property
    def loader(self) -> str: ...


S = TypeVar("S", bound=Spec)
S_co = TypeVar("S_co", bound=Spec, covariant=True)


class ModelCatalog(Protocol[S_co]):
    """The model files of our own host (`host.model_files.FolderShelf`)."""

    def names(self) -> tuple[str, ...]: ...
    def find(self, name: str) -> S_co: ...


class FolderLibrary(Generic[S]):
    """The GGUF files below `--model-dir`. The options of the command line hold for all of them."""

    def __init__(
        self,
        engine: SwappableEngine,
        shelf: ModelCatalog[S],
        make: Callable[[S], Engine],
        patience: float,
        *,
        fault: Callable[[S], str | None] = lambda spec: None,
    ) -> None:
        """`make` loads a model, or raises an exception whose text says why not. `patience` seconds are left
        to answers under way. `fault` says what is wrong with a model's files, without a path."""
        self._engine, self._shelf, self._make, self._patience = engine, shelf, make, patience
        self._fault = fault
        self._loader = ""
        self._loaded: S | None = None
        self._unloaded: S | None = None

    def begin(self, spec: S) -> None:
        """This one is loaded already."""
        self._loaded, self._loader = spec, spec.loader

    def loaded(self) -> Loaded:
        spec = self._loaded
        return Loaded(spec.name if spec else None, (), self._loader)

    def models(self) -> tuple[str, ...]:
        return self._shelf.names()

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
        # The model that is served must not go for one that cannot come.
        if (fault := self._checked(name)) is not None:
            log.error("the model %s is not loaded: %s", name, fault)
            raise ModelLoadFailed(f"The model is not loaded, and nothing has changed: {fault}")
        with self._engine.suspended(self._patience):
            self._serve(name, lambda: self._shelf.find(name))

    def _checked(self, name: str) -> str | None:
        try:
            return self._fault(self._shelf.find(name))
        except Exception as error:
            # It may name a path, which is for the log only.
            log.error("the model %s is not loaded: %s", name, error)
            return "the server's log says why."

    def unload(self) -> None:
        with self._engine.suspended(self._patience):
            self._unloaded, self._loaded = self._loaded or self._unloaded, None
            self._engine.clear()

    def reload_if_unloaded(self) -> None:
        if self._unloaded is None:
            return
        with self._engine.suspended(self._patience):
            spec = self._unloaded
            if spec is not None:  # else another request has loaded it
                self._serve(spec.name, lambda: spec)

    def _serve(self, name: str, find: Callable[[], S]) -> None:
        self._loaded = self._unloaded = None
        # The one before goes first: there may be no room for both.
        self._engine.clear()
        try:
            spec = find()
            engine = self._make(spec)
        except Exception as error:
            # It may name a path, which is for the log only.
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


def unknown_option(name: str) -> InvalidRequest:
    """A loader's option that cannot be set."""
    return InvalidRequest(
        f"Unknown or protected option: 'args.{name[:64]}'.",
        param=f"args.{name[:64]}",
        code="unsupported_parameter",
    )
