"""The operator's file of agents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from ...errors import InvalidRequest
from ...schemas.validation import check
from ...settings import Settings, SettingsError
from .agent import PREFIX, Agent
from .definition import AgentDefinition, Name

HEADER = "x-openedai-agent-id"
HeaderName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9-]{1,64}$", to_lower=True)]


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    agents: dict[Name, dict[str, Any]]
    prefixes: list[Name] = Field(default_factory=list)
    headers: list[HeaderName] = Field(default_factory=list)


@dataclass(frozen=True, slots=True)
class AgentFile:
    """What the file says, and what holds without one."""

    agents: Mapping[str, Agent] = field(default_factory=dict)
    prefixes: tuple[str, ...] = (PREFIX,)
    """Before the colon of a model's name."""
    headers: tuple[str, ...] = (HEADER,)
    """In small letters."""


def read_agents(settings: Settings) -> AgentFile:
    """What the setting's file says. Raises SettingsError with one clear line."""
    if settings.agents is None:
        return AgentFile()
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
    agents = {}
    for name, entry in file.agents.items():
        try:
            agents[name] = Agent.of(name, check(AgentDefinition, entry), settings)
        except InvalidRequest as error:
            raise SettingsError(f"{where}: agents.{name}: {error.message}") from None
    return AgentFile(agents, (PREFIX, *file.prefixes), (HEADER, *file.headers))
