"""The operator's file of upstreams, and the engines of the models that it names.

The file may be read again: rows that are the same keep their engines, connections and breaks; the answers of
those that changed or went go on to their ends.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..settings import Settings, SettingsError
from .external.engine import ExternalEngine
from .external.rows import External, ExternalEntry, external_of
from .protocol import TASK_CAPABILITIES, Engine
from .remote.http_client import HttpClient, Timeouts
from .router.engine import RouterEngine, TaskRouterEngine
from .router.health import HealthCheck, HealthWatch
from .router.targets import Target
from .upstream.engine import UpstreamEngine, capabilities_of
from .upstream.kinds import KINDS
from .upstream.listing import Listed, Listing, models_or_none
from .upstream.rows import Kind, Name, Upstream, UpstreamEntry, UpstreamModel, upstream_of
from .upstream.task_engine import UpstreamTaskEngine

WHERE = "setting upstreams"
PROBE = Timeouts(connect=2.0, first=5.0, silence=5.0)


@dataclass(frozen=True, slots=True)
class NamedEngine:
    """A model to serve besides the host's."""

    name: str
    engine: Engine
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Upstreams:
    """What the file says."""

    upstreams: tuple[Upstream, ...] = ()
    external: tuple[External, ...] = ()


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    upstreams: dict[Name, UpstreamEntry] = Field(default_factory=dict)
    external: dict[Name, ExternalEntry] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Served:
    """A model at one server."""

    name: str
    engine: Engine
    aliases: tuple[str, ...]
    upstream: Upstream | None = None
    health: str | None = None
    """Where it says how it is."""


@dataclass(frozen=True, slots=True)
class _Row:
    """A row that is in force."""

    row: Upstream | External
    client: HttpClient
    served: tuple[_Served, ...]


class UpstreamModels:
    """The models of the file. Used by one thread; its engines by all."""

    def __init__(self) -> None:
        self._rows: tuple[_Row, ...] = ()
        self.models: tuple[NamedEngine, ...] = ()
        """In the order of the file; one that several servers have is one model."""

    def read(self, path: str) -> None:
        """Read the file, for the first time or again. Raises SettingsError with one clear line, and changes
        nothing."""
        file = read_upstreams(path)
        before = {each.row.name: each for each in self._rows}
        entries: tuple[Upstream | External, ...] = (*file.upstreams, *file.external)
        rows = tuple(_row(each, before.get(each.name)) for each in entries)
        by_name: dict[str, list[_Served]] = {}
        for row in rows:
            for each in row.served:
                by_name.setdefault(each.name, []).append(each)
        _check(by_name)
        known = {each.name: each.engine for each in self.models}
        self.models = tuple(
            NamedEngine(name, _routed(name, served, known.get(name)), _aliases(served))
            for name, served in by_name.items()
        )
        used = {id(each.client) for each in rows}
        engines = {id(each.engine) for each in self.models}
        for old in known.values():
            if isinstance(old, RouterEngine) and id(old) not in engines:
                old.watch_with(None)
        for row in self._rows:
            if id(row.client) not in used:
                row.client.retire()
        self._rows = rows


def engines_of(settings: Settings) -> tuple[NamedEngine, ...]:
    """All models of the file. Raises SettingsError with one clear line."""
    if settings.upstreams is None:
        return ()
    models = UpstreamModels()
    models.read(settings.upstreams)
    return models.models


def _check(by_name: Mapping[str, Sequence[_Served]]) -> None:
    """Raises SettingsError for names that mean several models, and models that mean several kinds."""
    found: set[str] = set()
    for name, served in by_name.items():
        for alias in (name, *_aliases(served)):
            if alias in found or (alias != name and alias in by_name):
                raise SettingsError(f"{WHERE}: the name {alias} is there twice")
            found.add(alias)
        kinds = {each.engine.info.sampler for each in served}
        if len(served) > 1 and (len(kinds) > 1 or not all(each.upstream for each in served)):
            raise SettingsError(
                f"{WHERE}: {name}: servers that share a model must be of one kind; their `kind` says it"
            )


def _aliases(served: Sequence[_Served]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(alias for each in served for alias in each.aliases))


def _routed(name: str, served: Sequence[_Served], known: Engine | None) -> Engine:
    """One engine for all that have a model. `known`: the one that the model has had; a router stays."""
    rows = [each.upstream for each in served if each.upstream is not None]
    does_tasks = any(isinstance(each.engine, UpstreamTaskEngine) for each in served)
    router = TaskRouterEngine if does_tasks else RouterEngine
    is_routed = type(known) is router and len(rows) == len(served)
    if len(served) == 1 and not is_routed and not any(row.draining for row in rows):
        return served[0].engine
    targets, checks = [], {}
    for each, row in zip(served, rows, strict=True):
        targets.append(Target(row.name, each.engine, row.weight, is_draining=row.draining))
        if each.health is not None:
            checks[row.name] = _health_check(row, each.health)
    watch = HealthWatch(checks)
    if not isinstance(known, RouterEngine) or not is_routed:
        return router(name, targets, watch)
    known.change(targets)
    known.watch_with(watch)
    return known


def read_upstreams(path: str) -> Upstreams:
    """Raises SettingsError with one clear line."""
    try:
        file = _File.model_validate(_yaml(path))
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(str(part) for part in problem["loc"])
        raise SettingsError(f"{WHERE}: {place or 'the file'}: {problem['msg']}") from None
    return Upstreams(
        tuple(upstream_of(*row, f"{WHERE}: {row[0]}") for row in file.upstreams.items()),
        tuple(external_of(*row, f"{WHERE}: {row[0]}") for row in file.external.items()),
    )


def _yaml(path: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(Path(path).expanduser().read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{WHERE}: the file cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"{WHERE}: the file is not YAML") from error


def _row(row: Upstream | External, before: _Row | None) -> _Row:
    """The engines of a row; those that it has, where it says the same as before. Raises SettingsError."""
    if before is not None and _is_same(before.row, row):
        if isinstance(row, Upstream):
            served = tuple(replace(each, upstream=row) for each in before.served)
            return _Row(row, before.client, served)
        return before
    client = HttpClient(row.address, row.headers, row.timeouts, ca_file=row.ca_file)
    if isinstance(row, Upstream):
        return _Row(row, client, tuple(_models_of(row, client)))
    return _Row(row, client, (_Served(row.name, ExternalEngine(row, client), row.aliases),))


def _is_same(before: Upstream | External, now: Upstream | External) -> bool:
    """Whether the engines may stay. What an upstream without `models` lists may have changed."""
    if isinstance(before, Upstream) and isinstance(now, Upstream):
        routed = replace(before, weight=now.weight, draining=now.draining)
        return bool(now.models) and routed == now
    return before == now


def _models_of(upstream: Upstream, client: HttpClient) -> Iterator[_Served]:
    probe = HttpClient(upstream.address, upstream.headers, PROBE, ca_file=upstream.ca_file)
    listing = models_or_none(upstream.name, probe)
    probe.close()
    if listing is None and not upstream.models:
        raise SettingsError(
            f"{WHERE}: {upstream.name}: it does not answer now; its `models` say what it serves"
        )
    listing = listing or Listing({})
    models = upstream.models or tuple(
        UpstreamModel(each.id, each.id) for each in listing.models.values() if each.root is None
    )
    kind = upstream.kind or listing.kind
    for model in models:
        listed = listing.models.get(model.there, Listed(model.there))
        engine = _engine_of(upstream, model, client, kind, listed)
        health = upstream.health or KINDS[kind].health
        yield _Served(model.name, engine, model.aliases, upstream, health)


def _engine_of(
    upstream: Upstream, model: UpstreamModel, client: HttpClient, kind: Kind, listed: Listed
) -> Engine:
    """Raises SettingsError for one that is to write text and do something else."""
    capabilities = frozenset(capabilities_of(model, listed, kind))
    tasks = TASK_CAPABILITIES & capabilities
    if not tasks:
        return UpstreamEngine(upstream, model, client, kind, listed)
    if tasks != capabilities:
        raise SettingsError(
            f"{WHERE}: {upstream.name}: models.{model.name}.capabilities: a model that writes text needs a "
            f"name of its own, apart from {', '.join(sorted(map(str, tasks)))}"
        )
    return UpstreamTaskEngine(upstream, model, client, kind, listed)


def _health_check(upstream: Upstream, path: str) -> HealthCheck:
    root = replace(upstream.address, path="")
    client = HttpClient(root, upstream.headers, PROBE, ca_file=upstream.ca_file)
    return HealthCheck(client, path)
