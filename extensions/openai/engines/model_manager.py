"""How the server lists, loads and unloads the models of its host."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ..errors import InvalidRequest

LOAD_FAILED = "The model could not be loaded; the server's log says why."
FAILED = "The model could not be loaded, and none is loaded now; the server's log says why."


@dataclass(frozen=True, slots=True)
class Loaded:
    """What is in memory."""

    model: str | None
    """None: nothing is loaded."""
    loras: tuple[str, ...]
    loader: str
    """The host's name for what runs it."""


@dataclass(frozen=True, slots=True)
class Template:
    """The chat template to load a model with, in place of its own."""

    name: str | None = None
    """The name of one of the host's templates."""
    text: str | None = None
    """Jinja2."""


class ModelManager(Protocol):
    """A host's models. Thread-safe; changes wait for each other.

    During a change the engine takes no requests; running ones may finish, or end with an error.
    """

    def loaded(self) -> Loaded:
        """What is in memory."""

    def models(self) -> tuple[str, ...]:
        """The names that `load` takes."""

    def memory(self, name: str) -> int | None:
        """Bytes that a model takes at most when it is loaded, as its files say; None: not known."""

    def load(self, name: str, options: Mapping[str, Any], template: Template) -> None:
        """Serve this model from now on; `options` are the loader's own.

        Raises ModelNotFound, InvalidRequest for an unknown or ill-typed option, EngineFailed when it
        cannot be loaded; then nothing is loaded.
        """

    def unload(self) -> None:
        """Free the model, if one is loaded."""

    def reload_if_unloaded(self) -> None:
        """Called when a request wants an answer; the host may reload the model that was unloaded.

        Raises EngineFailed.
        """

    def loads_on_demand(self) -> bool:
        """Whether nothing is loaded and `reload_if_unloaded` will reload the model."""

    def loras(self) -> tuple[str, ...]:
        """The names that `apply_loras` takes."""

    def apply_loras(self, names: Sequence[str]) -> None:
        """Use exactly these adapters. Raises InvalidRequest, EngineFailed."""


def unknown_option(name: str) -> InvalidRequest:
    """The 400 for a loader's option that cannot be set."""
    return InvalidRequest(
        f"Unknown or protected option: 'args.{name[:64]}'.",
        param=f"args.{name[:64]}",
        code="unsupported_parameter",
    )
