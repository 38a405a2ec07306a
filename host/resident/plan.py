"""Which models can be loaded on request, and the rules for them: what the host hands to its extension."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from extensions.openai.engines.resident.library import Watch
from extensions.openai.engines.resident.model import Child, Report, ResidentModel
from host.errors import HostError
from host.models.model_files import files_of
from host.models.spec import ModelSpec
from host.options import LEAST_CONTEXT, HostOptions
from host.resident.rows import Row, arguments_of, read_rows, row_of


@dataclass(frozen=True, slots=True)
class Plan:
    """What `--models` and its kin say."""

    rows: tuple[Row, ...]
    most: int
    """Models that are loaded at once, at most; 0: as many as there is room for."""
    megabytes: int
    """Memory for all of them; -1: three quarters of the machine's, less what the host's own model takes."""
    wait_s: float
    """How long a request waits at most before a model that it needs the room of takes no new requests."""
    swaps: bool
    """Whether a request may unload another model."""
    options: HostOptions
    """What the command line says of all models."""

    def start(self, row: Row, model: ResidentModel, flags: Sequence[str], report: Report) -> Child:
        """Start the process of a model; `flags` are of the extension. Raises ModelLoadError."""
        from host.resident.child import ChildProcess

        spec, context = row.spec, model.info.context_length
        if not spec.context_length and context >= LEAST_CONTEXT:
            # By itself it would take as much as the memory holds, and its room was not counted for that.
            spec = replace(spec, context_length=context)
        return ChildProcess(model, [*flags, *arguments_of(row.options, spec)], report)

    def fetch(self, source: str, watch: Watch) -> Row:
        """Download a model, if it is not there yet. Raises HostError, without a path."""
        from host.models import hub

        folder = self.options.model_dir
        try:
            request = hub.Request.parse(source)
            projector = not self.options.no_mmproj
            found = hub.find_or_download(request, folder, projector=projector, watch=watch)
            return row_of(found.name, {"model": source}, self.options, is_named=False)
        except HostError as error:
            raise HostError(str(error).replace(str(folder), "the folder of models")) from error

    def delete(self, row: Row) -> None:
        """Delete the files of a model, and its folder if that is empty then. Raises HostError for one that is
        not in a folder of models."""
        path = row.spec.path
        folders = [
            self.options.model_dir,
            *([Path(self.options.models)] if self.options.models else []),
        ]
        if path is None or not any(_is_below(path, folder) for folder in folders):
            raise HostError(f"{row.name} is not in the folder of models")
        files = [*files_of(path), *([row.spec.mmproj] if row.spec.mmproj else [])]
        for file in files:
            if file.parent == path.parent:
                file.unlink(missing_ok=True)
        if path.parent not in folders and not any(path.parent.iterdir()):
            path.parent.rmdir()


def _is_below(path: Path, folder: Path) -> bool:
    return path.absolute().is_relative_to(folder.expanduser().absolute())


def plan_of(options: HostOptions, own: ModelSpec) -> Plan | None:
    """The plan beside the host's `own` model; None: no other models are to be loaded. Raises HostError."""
    if options.models is None:
        return None
    return Plan(
        read_rows(options, own),
        options.models_max,
        options.models_ram,
        options.models_wait,
        options.models_full == "swap",
        options,
    )
