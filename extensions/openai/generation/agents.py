"""Agents: what the operator makes of the model, a name with a system text and parameters of its own.

Requests choose one as their model, `agent:NAME`, or by a header. The operator's file says which there are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from ..access.caller import Caller
from ..errors import ModelNotFound
from ..limits.served_models import nearest_first
from ..settings import Settings, SettingsError
from .sampling.policy import checked_values

PREFIX = "agent"
HEADER = "x-openedai-agent-id"
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
HeaderName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9-]{1,64}$", to_lower=True)]


@dataclass(frozen=True, slots=True)
class Agent:
    """One of them."""

    name: str
    description: str = ""
    system: str = ""
    """Stands before the conversation; an empty text: nothing does."""
    model: str | None = None
    """The name that its requests ask for; None: what is loaded answers, whatever it is called."""
    sampling: Mapping[str, Any] = field(default_factory=dict)
    """Parameters that a request does not give, by the rows of the sampler table."""
    max_tokens: int = 0
    """Tokens of an answer whose request gives no limit; 0: as the operator's settings say."""
    keys: frozenset[str] = frozenset()
    """The names of the keys that may use it; an empty set: all."""

    @property
    def id(self) -> str:
        """Its name among the models."""
        return f"{PREFIX}:{self.name}"

    def is_open_to(self, caller: Caller) -> bool:
        return not self.keys or caller.name in self.keys


@dataclass(frozen=True, slots=True)
class Agents:
    """All of them, and how requests choose one."""

    agents: Mapping[str, Agent] = field(default_factory=dict)
    prefixes: tuple[str, ...] = (PREFIX,)
    """Before the colon of a model's name."""
    headers: tuple[str, ...] = (HEADER,)
    """In small letters."""

    def open_to(self, caller: Caller) -> tuple[Agent, ...]:
        """Those that the caller may use, in the file's order."""
        return tuple(agent for agent in self.agents.values() if agent.is_open_to(caller))

    def chosen(self, model: str | None, header: str | None, caller: Caller) -> Agent | None:
        """The agent that a request for this model, or with this header, is for; None for none. The model's
        name goes before the header.

        Raises ModelNotFound for one that is not there, or not for the caller.
        """
        prefix, colon, name = (model or "").partition(":")
        if colon and prefix in self.prefixes:
            return self._find(name, str(model), caller)
        return None if header is None else self._find(header, header, caller)

    def _find(self, name: str, asked: str, caller: Caller) -> Agent:
        agent = self.agents.get(name)
        if agent is None or not agent.is_open_to(caller):
            known = [each.id for each in self.open_to(caller)]
            raise ModelNotFound(asked[:200], nearest_first(f"{PREFIX}:{name}", known))
        return agent


class _Entry(BaseModel):
    """An agent in the file."""

    model_config = ConfigDict(extra="forbid", strict=True)

    description: str = ""
    system: str = ""
    model: str | None = None
    sampling: dict[str, Any] = Field(default_factory=dict)
    max_tokens: int = Field(0, ge=0, le=32000)
    keys: list[str] = Field(default_factory=list)


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    agents: dict[Name, _Entry]
    prefixes: list[Name] = Field(default_factory=list)
    headers: list[HeaderName] = Field(default_factory=list)


def read_agents(settings: Settings) -> Agents | None:
    """What the setting's file says; None where there is no such file. Raises SettingsError with one clear
    line."""
    if settings.agents is None:
        return None
    import yaml

    where = "setting agents"
    try:
        found = yaml.safe_load(Path(settings.agents).read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{where}: the file cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"{where}: the file is not YAML") from error
    try:
        file = _File.model_validate(found)
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(str(part) for part in problem["loc"])
        raise SettingsError(f"{where}: {place or 'the file'}: {problem['msg']}") from None
    agents = {
        name: Agent(
            name,
            entry.description,
            entry.system.strip(),
            entry.model,
            checked_values(entry.sampling, settings.sampling_limits, f"{where}: {name}"),
            entry.max_tokens,
            frozenset(entry.keys),
        )
        for name, entry in file.agents.items()
    }
    return Agents(agents, (PREFIX, *file.prefixes), (HEADER, *file.headers))
