"""What a host's folder of models is to the server: which there are, and how another one is loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ..errors import InvalidRequest

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

    def loads_on_demand(self) -> bool:
        """Whether nothing is loaded now, and `reload_if_unloaded` will load what was unloaded."""

    def loras(self) -> tuple[str, ...]:
        """The names that `apply_loras` takes."""

    def apply_loras(self, names: Sequence[str]) -> None:
        """Use these adapters and no others. Raises InvalidRequest, EngineFailed."""


def unknown_option(name: str) -> InvalidRequest:
    """A loader's option that cannot be set."""
    return InvalidRequest(
        f"Unknown or protected option: 'args.{name[:64]}'.",
        param=f"args.{name[:64]}",
        code="unsupported_parameter",
    )
