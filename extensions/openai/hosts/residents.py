"""Serves the models that the host can load beside its own one, each in a process of its own."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

from ..engines import model_spec, registry
from ..engines.protocol import TASK_CAPABILITIES
from ..engines.resident.engine import ResidentEncoder, ResidentEngine
from ..engines.resident.library import Download, Watch
from ..engines.resident.model import Child, Report, ResidentModel
from ..engines.resident.residents import Residents, Rules
from ..engines.resident.room import Room
from ..errors import ModelInFile
from ..generation.sampling.policy import checked_values
from ..settings import Settings
from ..system.machine import memory_bytes
from ..web.services import Services

log = logging.getLogger("openedai")

MEMORY_PART = 0.75
"""Of the machine's memory, what all models may take together."""
PASSED_ON = (
    *("message_repair", "max_body_mb", "media_max_mb", "media_max_parts", "media_max_side"),
    "embedding_dimensions",
)
"""Settings that a model's process has to have as well."""


class Row(Protocol):
    """A model that the operator names (`host.resident.rows.Row` explains the fields)."""

    @property
    def spec(self) -> model_spec.ModelSpec: ...
    @property
    def name(self) -> str: ...
    @property
    def aliases(self) -> Sequence[str]: ...
    @property
    def pinned(self) -> bool: ...
    @property
    def idle_s(self) -> float: ...
    @property
    def arguments(self) -> Mapping[str, Any]: ...
    @property
    def sampling(self) -> Mapping[str, Any]: ...
    @property
    def root(self) -> str | None: ...
    @property
    def is_named(self) -> bool: ...


class Plan(Protocol):
    """All of them, and the rules for them (`host.resident.plan.Plan`)."""

    @property
    def rows(self) -> Sequence[Row]: ...
    @property
    def most(self) -> int: ...
    @property
    def megabytes(self) -> int: ...
    @property
    def wait_s(self) -> float: ...
    @property
    def swaps(self) -> bool: ...

    def start(self, row: Any, model: ResidentModel, flags: Sequence[str], report: Report) -> Child:
        """Start the process of a model; `flags` are of this extension; `report` gets how far it is. Raises
        ModelLoadError."""

    def fetch(self, source: str, watch: Watch) -> Row:
        """Download a model. Raises an exception with words for the operator."""

    def delete(self, row: Any) -> None:
        """Delete its files. Raises an exception with words for the operator."""


class ServedResidents:
    """The models of a plan as requests see them, and its library."""

    def __init__(self, services: Services, plan: Plan, own: model_spec.ModelSpec) -> None:
        """Serve them beside the host's own model. Raises ModelLoadError."""
        self._services, self._plan = services, plan
        self._taken = own.name
        self._flags = flags_of(services.settings)
        self._downloads: dict[str, Download] = {}
        self._lock = threading.Lock()
        models = list(_models(plan.rows))
        self._rows = {row.name: row for row in plan.rows}
        room = Room(plan.most, _bytes(plan, own))
        rules = Rules(room, plan.wait_s, plan.swaps)
        self.residents = Residents(models, self._start, rules, look=self._look)
        for model in models:
            self._serve(model)
        log.info(
            "%d models can be loaded on request, within %.1f GB", len(models), room.bytes / 1e9
        )

    def _serve(self, model: ResidentModel) -> None:
        is_text = TASK_CAPABILITIES.isdisjoint(model.info.capabilities)
        kind = ResidentEngine if is_text else ResidentEncoder
        row, settings = self._rows[model.name], self._services.settings
        where = f"--models: {model.name}: sampling"
        sampling = checked_values(row.sampling, settings.sampling_limits, where)
        self._services.models.add(
            *(model.name, kind(self.residents, model.name), model.aliases),
            sampling=sampling,
            root=row.root,
        )

    def _start(self, model: ResidentModel, report: Report) -> Child:
        return self._plan.start(self._rows[model.name], model, self._flags, report)

    def _look(self, model: ResidentModel) -> ResidentModel:
        return _model(self._rows[model.name])

    def download(self, source: str) -> Download:
        """As in ModelLibrary."""
        with self._lock:
            known = self._downloads.get(source)
            if known is not None and known.progress().state == "downloading":
                return known
            download = Download(partial(self._fetch, source))
            self._downloads[source] = download
            return download

    def _fetch(self, source: str, watch: Watch) -> str:
        row = self._plan.fetch(source, watch)
        with self._lock:
            known = self._rows.get(row.name)
            if row.name == self._taken or (known is not None and known.spec.path != row.spec.path):
                raise ValueError(f"another model has the name {row.name}")
            if known is None:
                model = _model(row)
                self._rows[row.name] = row
                self.residents.add(model)
                self._serve(model)
        return row.name

    def delete(self, name: str) -> None:
        """As in ModelLibrary."""
        row = self._rows[name]
        if row.is_named:
            raise ModelInFile(name)
        services = self._services
        services.models.remove(name)
        self.residents.unload(name, services.settings.drain_timeout)
        self.residents.remove(name)
        with self._lock:
            del self._rows[name]
        self._plan.delete(row)


def flags_of(settings: Settings) -> list[str]:
    """What the process of a model needs of this one's settings. All that is about clients stays here: keys,
    limits, hooks, what is stored."""
    given = {name: getattr(settings, name) for name in PASSED_ON}
    return [f"--{name.replace('_', '-')}={value}" for name, value in given.items()]


def _models(rows: Iterable[Row]) -> Iterator[ResidentModel]:
    """Raises ModelLoadError for a file that cannot be loaded and that the operator names; of a folder it is
    passed over."""
    for row in rows:
        try:
            yield _model(row)
        except model_spec.ModelLoadError as error:
            if row.is_named:
                raise
            log.warning("--models: %s", error)


def _model(row: Row) -> ResidentModel:
    try:
        outline = registry.outline(row.spec)
    except model_spec.ModelLoadError as error:
        raise model_spec.ModelLoadError(f"{row.name}: {error}") from error
    words = f"{row.name} {outline.info.created} {outline.bytes} {dict(row.arguments)} {dict(row.sampling)}"
    fingerprint = "fp_" + hashlib.sha256(words.encode()).hexdigest()[:10]
    info = replace(outline.info, model=row.name, fingerprint=fingerprint)
    return ResidentModel(
        row.name,
        info,
        outline.bytes,
        tuple(row.aliases),
        row.root,
        pinned=row.pinned,
        idle_s=row.idle_s,
        arguments=row.arguments,
    )


def _bytes(plan: Plan, own: model_spec.ModelSpec) -> int:
    """What they may take together."""
    if plan.megabytes >= 0:
        return plan.megabytes << 20
    taken = registry.outline(own).bytes if own.path is not None else 0
    return max(1, int(MEMORY_PART * memory_bytes()) - taken)
