"""An agent: what the operator makes of the model, a name with a system text, tools and parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...access.caller import Caller
from ...errors import InvalidRequest
from ...settings import Settings, SettingsError
from ..hooks.extension_hooks import Hooks
from ..sampling.policy import checked_values
from ..tools.plan import Offered, ToolChoice, plan_tools
from ..tools.request import offered_tools
from .definition import AgentDefinition
from .memory import MEMORY_TOOL

PREFIX = "agent"


@dataclass(frozen=True, slots=True)
class Agent:
    """One of them."""

    name: str
    definition: AgentDefinition = field(default_factory=AgentDefinition)
    sampling: Mapping[str, Any] = field(default_factory=dict)
    """Parameters that a request does not give, by the rows of the sampler table."""
    tools: tuple[Offered, ...] = ()
    """Offered besides those of a request."""

    @classmethod
    def of(cls, name: str, definition: AgentDefinition, settings: Settings) -> Agent:
        """Raises InvalidRequest, naming the field, for what cannot be."""
        try:
            sampling = checked_values(
                definition.sampling, settings.sampling_limits, "Invalid 'sampling'"
            )
        except SettingsError as error:
            raise InvalidRequest(f"{error}.", param="sampling", code="invalid_value") from None
        tools = tuple(offered_tools(definition.tools))
        own = (MEMORY_TOOL, *tools) if definition.memory else tools
        plan_tools(own, ToolChoice(), parallel=True)  # raises for what could not be called
        return cls(name, definition, sampling, tools)

    @property
    def id(self) -> str:
        """Its name among the models."""
        return f"{PREFIX}:{self.name}"

    @property
    def system(self) -> str:
        """Stands before the conversation; an empty text: nothing does."""
        return self.definition.system.strip()

    @property
    def only_for_chats(self) -> bool:
        """Whether it has what a plain completion has no place for."""
        return bool(self.system or self.tools or self.definition.memory)

    def is_open_to(self, caller: Caller) -> bool:
        return not self.definition.keys or caller.name in self.definition.keys

    def hooks_of(self, hooks: Hooks | None) -> Hooks | None:
        """Those of the host's extensions that act on its answers. Raises ExtensionFailed where one is not
        there: without it the agent would say what it is to keep."""
        wanted = self.definition.hooks
        if wanted is None:
            return hooks
        return (hooks or Hooks(tuple)).only(wanted) if wanted else None
