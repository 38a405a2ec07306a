"""The rows of other servers in the operator's file of upstreams.

upstreams:
  gpu:
    address: http://10.0.0.5:8000/v1
    key_env: GPU_KEY
    kind: vllm
    models: {big: Qwen/Qwen3-32B}
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from ...settings import SettingsError
from ..protocol import Capability
from ..remote.address import Address, parse_address
from ..remote.http_client import Timeouts

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
HeaderName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9-]{1,64}$")]
HeaderValue = Annotated[str, StringConstraints(pattern=r"^[\x20-\x7e]*$", max_length=4096)]
Kind = Literal["openai", "openedai", "llama-server", "vllm", "sglang"]
DEFAULT_PATH = "/v1"
DEFAULT_CONCURRENT = 16


@dataclass(frozen=True, slots=True)
class UpstreamModel:
    """A model of an upstream."""

    name: str
    """For clients of this server."""
    there: str
    """What the upstream calls it."""
    aliases: tuple[str, ...] = ()
    context_length: int | None = None
    """None: what the upstream says."""
    capabilities: tuple[Capability, ...] | None = None
    """None: what the upstream says, or those of its kind."""


@dataclass(frozen=True, slots=True)
class Upstream:
    """One server."""

    name: str
    address: Address
    models: tuple[UpstreamModel, ...] = ()
    """Empty: all that it lists at the start."""
    kind: Kind | None = None
    """None: what its list of models shows."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """With the key."""
    concurrent: int = DEFAULT_CONCURRENT
    """Requests at once, for each model."""
    timeouts: Timeouts = field(default_factory=Timeouts)
    fields: Mapping[str, Any] = field(default_factory=dict)
    """What each request to it says besides."""
    ca_file: str | None = None
    weight: int = 1
    """Its share of the requests for a model that several servers have."""
    draining: bool = False
    """Whether it gets no more requests; those that it has go on."""
    health: str | None = None
    """The path, from the root of the server, where it says how it is; None: that of its kind."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    model: str | None = None
    aliases: list[str] = Field(default_factory=list)
    context_length: int | None = Field(None, ge=1)
    capabilities: list[str] | None = None


class TimeoutsEntry(BaseModel):
    """Timeouts in a file."""

    model_config = ConfigDict(extra="forbid")

    connect: float = Field(Timeouts().connect, gt=0, le=600)
    first: float = Field(Timeouts().first, gt=0, le=86400)
    silence: float = Field(Timeouts().silence, gt=0, le=86400)

    @property
    def value(self) -> Timeouts:
        return Timeouts(self.connect, self.first, self.silence)


class UpstreamEntry(BaseModel):
    """An upstream in the file."""

    model_config = ConfigDict(extra="forbid", strict=True)

    address: str
    key_env: str | None = None
    kind: Kind | None = None
    models: dict[str, str | _Model | None] | list[str] = Field(default_factory=list)
    headers: dict[HeaderName, HeaderValue] = Field(default_factory=dict)
    concurrent: int = Field(DEFAULT_CONCURRENT, ge=1, le=4096)
    timeouts: TimeoutsEntry = TimeoutsEntry()
    fields: dict[str, Any] = Field(default_factory=dict)
    ca_file: str | None = None
    weight: int = Field(1, ge=1, le=100)
    draining: bool = False
    health: str | None = Field(None, pattern=r"^/[\x21-\x7e]*$")


def key_headers(headers: Mapping[str, str], key_env: str | None, where: str) -> Mapping[str, str]:
    """The headers with the key that a variable of the environment holds. Raises SettingsError if it is not
    set."""
    if key_env is None:
        return headers
    key = os.environ.get(key_env, "").strip()
    if not key:
        raise SettingsError(f"{where}: the environment has no {key_env}")
    return {"Authorization": f"Bearer {key}", **headers}


def address_of(text: str, where: str, default_path: str = "") -> Address:
    """Raises SettingsError."""
    try:
        return parse_address(text, default_path=default_path)
    except ValueError as error:
        raise SettingsError(f"{where}: address: {error}") from None


def upstream_of(name: str, entry: UpstreamEntry, where: str) -> Upstream:
    """A row. Raises SettingsError with one clear line."""
    given = entry.models
    by_name = dict.fromkeys(given) if isinstance(given, list) else given
    return Upstream(
        name,
        address_of(entry.address, where, DEFAULT_PATH),
        tuple(_model(each, what, where) for each, what in by_name.items()),
        entry.kind,
        key_headers(entry.headers, entry.key_env, where),
        entry.concurrent,
        entry.timeouts.value,
        entry.fields,
        entry.ca_file,
        entry.weight,
        entry.draining,
        entry.health,
    )


def _model(name: str, what: str | _Model | None, where: str) -> UpstreamModel:
    if not isinstance(what, _Model):
        return UpstreamModel(name, what or name)
    capabilities = what.capabilities
    known = {str(each): each for each in Capability}
    for each in capabilities or ():
        if each not in known:
            raise SettingsError(
                f"{where}: models.{name}.capabilities: {each!r} is none of {', '.join(known)}"
            )
    return UpstreamModel(
        name,
        what.model or name,
        tuple(what.aliases),
        what.context_length,
        None if capabilities is None else tuple(known[each] for each in capabilities),
    )
