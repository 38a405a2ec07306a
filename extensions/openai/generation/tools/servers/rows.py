"""The rows of tool servers in the operator's file.

rounds: 8
servers:
  files:
    command: [python, -m, my_mcp_server]
  search:
    url: https://mcp.example.com/mcp
    key_env: SEARCH_KEY
    tools: [find]
    keys: [alice]
  clock:
    extension: example_tools
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from ....access.caller import Caller
from ....settings import SettingsError

Label = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9-]{0,31}$")]
Variable = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
WHERE = "setting tool_servers"


@dataclass(frozen=True, slots=True)
class ToolServerRow:
    """One server: a program, an address, or an extension of the host."""

    label: str
    command: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Of the program, besides the few variables that all programs get."""
    url: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """With the key."""
    extension: str | None = None
    tools: tuple[str, ...] | None = None
    """The only ones that are offered; None: all."""
    keys: tuple[str, ...] | None = None
    """The named keys that may use it; None: all that may ask the model."""
    timeout: float = 30.0
    """Seconds, for a connection, a list of tools and each call."""
    max_output: int = 20_000
    """Characters of a result."""

    def is_open_to(self, caller: Caller) -> bool:
        return self.keys is None or caller.name in self.keys


@dataclass(frozen=True, slots=True)
class ToolServerFile:
    """What the file says."""

    rows: tuple[ToolServerRow, ...]
    rounds: int
    """How often an answer may call the model."""


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    command: list[str] | None = Field(None, min_length=1)
    pass_env: list[Variable] = Field(default_factory=list)
    url: str | None = Field(None, pattern=r"^https?://[\x21-\x7e]+$")
    key_env: Variable | None = None
    extension: str | None = Field(None, min_length=1)
    tools: list[str] | None = None
    keys: list[str] | None = None
    timeout: float = Field(30.0, gt=0, le=3600, strict=False)
    max_output: int = Field(20_000, ge=1, le=10_000_000)


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    servers: dict[Label, _Row]
    rounds: int = Field(8, ge=1, le=64)


def read_tool_servers(path: str) -> ToolServerFile:
    """What the file says. Raises SettingsError with one clear line."""
    import yaml

    try:
        found = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        file = _File.model_validate(found)
    except OSError as error:
        raise SettingsError(f"{WHERE}: the file cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"{WHERE}: the file is not YAML") from error
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(str(part) for part in problem["loc"])
        raise SettingsError(f"{WHERE}: {place or 'the file'}: {problem['msg']}") from None
    return ToolServerFile(
        tuple(_row(label, row) for label, row in file.servers.items()), file.rounds
    )


def _row(label: str, row: _Row) -> ToolServerRow:
    where = f"{WHERE}: servers.{label}"
    if sum(each is not None for each in (row.command, row.url, row.extension)) != 1:
        raise SettingsError(f"{where}: give one of command, url and extension")
    headers = {}
    if row.key_env is not None:
        headers["Authorization"] = f"Bearer {_variable(row.key_env, where)}"
    return ToolServerRow(
        label,
        tuple(row.command or ()),
        {name: _variable(name, where) for name in row.pass_env},
        row.url,
        headers,
        row.extension,
        None if row.tools is None else tuple(row.tools),
        None if row.keys is None else tuple(row.keys),
        row.timeout,
        row.max_output,
    )


def _variable(name: str, where: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise SettingsError(f"{where}: the environment variable {name} is not set")
    return value
