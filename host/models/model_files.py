"""From `--model` to a file: what a name means on this disk, and what clients will call it."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path

from extensions.openai.engines.registry import ENGINES
from extensions.openai.engines.tuning import Tuning
from host.models import gguf_names
from host.errors import HostError
from host.folders import ROOT
from host.models.gguf_names import Model
from host.options import HostOptions
from host.models.spec import FoundModel, Lora, ModelSpec


def model_spec(options: HostOptions) -> ModelSpec:
    """Resolve the options to a ModelSpec, downloading the model when it is named `hf:...`.

    Blocks for as long as the download takes. Raises HostError. That the file is a whole GGUF file
    is not looked at here; the loader sees that first and best.
    """
    if not ENGINES[options.loader].reads_files:
        found = None
    elif options.model.startswith("hf:"):
        # The hub's library takes a second to import, so only those who need it pay.
        from host.models import hub

        wants_projector = not (options.mmproj or options.no_mmproj)
        request = hub.Request.parse(options.model)
        found = hub.find_or_download(request, options.model_dir, projector=wants_projector)
    else:
        found = find(options.model, options.model_dir)
    return ModelSpec(
        loader=options.loader,
        name=found.name if found else options.loader,
        path=found.path if found else None,
        context_length=options.ctx_size,
        gpu_layers=options.gpu_layers,
        threads=options.threads,
        parallel=options.parallel,
        loras=tuple(lora(text, options.model_dir) for text in options.lora),
        mmproj=_mmproj(options, found),
        tuning=_tuning(options),
        chat_template=_chat_template(options),
        task=options.task,
        shares_memory=options.models is not None,
        catalog=FolderCatalog(options, found) if found else None,
        beside=partial(_beside, options),
    )


def _beside(options: HostOptions, name: str) -> ModelSpec:
    """Another model, for another purpose than the first one: without its adapters and its encoder."""
    return model_spec(
        replace(
            options,
            model=name,
            lora=(),
            mmproj=None,
            no_mmproj=True,
            chat_template_file=None,
            task="auto",
        )
    )


@dataclass(frozen=True, slots=True)
class FolderCatalog:
    """The models below `--model-dir`, the embedded ones, and the one that the host started with."""

    options: HostOptions
    first: FoundModel

    def names(self) -> tuple[str, ...]:
        """What `find` takes, as clients see the models' names."""
        return tuple(self._found())

    def find(self, name: str) -> ModelSpec:
        """The model of that name. Raises HostError."""
        found = self._found().get(name)
        if found is None:
            raise HostError(f"no model {name!r} in {self.options.model_dir}")
        # What the command line names goes with the model that it names.
        first = found == self.first
        options = replace(
            self.options,
            model=str(found.path),
            lora=self.options.lora if first else (),
            mmproj=self.options.mmproj if first else None,
            chat_template_file=self.options.chat_template_file if first else None,
            task=self.options.task if first else "auto",
        )
        # The file would be named after itself, not after its folder.
        spec = model_spec(options)
        if first and spec.mmproj is None and not options.no_mmproj:
            spec = replace(spec, mmproj=found.mmproj)
        return replace(spec, name=name, catalog=self)

    def _found(self) -> dict[str, FoundModel]:
        found = {self.first.name: self.first}
        for folder in (self.options.model_dir, ROOT / "models"):
            for name in model_names(folder):
                try:
                    model = find(name, folder)
                except HostError:
                    continue  # not whole, or several in one folder
                if not gguf_names.is_projector(model.path.name):
                    found.setdefault(model.name, model)
        return found


def _chat_template(options: HostOptions) -> str | None:
    """Raises HostError if the file cannot be read."""
    if options.chat_template_file is None:
        return None
    try:
        return options.chat_template_file.read_text(encoding="utf-8")
    except OSError as error:
        raise HostError(f"--chat-template-file: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise HostError("--chat-template-file: the file is not text in UTF-8") from error


def _tuning(options: HostOptions) -> Tuning:
    """Raises HostError if there is no such draft model."""
    chosen = {each.name: getattr(options, each.name) for each in fields(Tuning)}
    if options.draft_model is not None:
        chosen["draft_model"] = find(options.draft_model, options.model_dir).path
    return Tuning(**chosen)


def find(name: str, model_dir: Path) -> FoundModel:
    """The model called `name`: a path as it stands, else a name below `model_dir`.

    Raises HostError when there is none, when a folder leaves a choice, or when shards are missing.
    """
    emptiest = None
    for place in _places(name, model_dir):
        if place.is_file():
            return in_file(place)
        if place.is_dir():
            if any(_is_gguf(path) for path in place.iterdir()):
                return in_folder(place)
            emptiest = emptiest or place
    if emptiest:
        raise HostError(f"no GGUF file in the folder {emptiest}")
    here = ", ".join(_names_in(model_dir)) or "none"
    raise HostError(f"no model {name!r} here or in {model_dir} (models there: {here})")


def in_file(path: Path) -> FoundModel:
    """The model a file belongs to, named after the file; of shards the first is the one to load."""
    for model in _models_in(path.parent):
        if path.name in model.files:
            return FoundModel(path.parent / _complete(model, path.parent).files[0], model.name)
    return FoundModel(path, gguf_names.stem(path.name))


def in_folder(folder: Path) -> FoundModel:
    """The one model in a folder, named after it. Raises HostError when there are several."""
    every = _models_in(folder)
    able = [model for model in every if not model.is_projector] or every
    if not able:
        raise HostError(f"no GGUF file in the folder {folder}")
    if len(able) > 1:
        choices = ", ".join(model.files[0] for model in able)
        raise HostError(f"{folder} holds several models, name one of its files: {choices}")
    name = folder.resolve().name
    return FoundModel(folder / _complete(able[0], folder).files[0], name)


def files_of(path: Path) -> list[Path]:
    """All files of the model whose (first) file is `path`."""
    for model in _models_in(path.parent):
        if path.name in model.files:
            return [path.parent / file for file in model.files]
    return [path]


def lora(text: str, model_dir: Path) -> Lora:
    """`PATH[:SCALE]` as a Lora. Raises HostError when there is no such file."""
    path, colon, scale_text = text.rpartition(":")
    scale = _number(scale_text) if colon and path else None
    if scale is None:
        path, scale = text, 1.0
    for place in (Path(path).expanduser(), model_dir / path):
        if place.is_file():
            return Lora(place, scale)
    raise HostError(f"--lora: no file {path!r} here or in {model_dir}")


def _mmproj(options: HostOptions, found: FoundModel | None) -> Path | None:
    """The projector that was asked for, else the one beside the model. Raises HostError."""
    if options.no_mmproj or found is None:
        return None
    if options.mmproj is None:
        return found.mmproj or projector_beside(found.path)
    for place in (Path(options.mmproj).expanduser(), options.model_dir / options.mmproj):
        if place.is_file():
            return place
    raise HostError(f"--mmproj: no file {options.mmproj!r} here or in {options.model_dir}")


def projector_beside(model: Path) -> Path | None:
    """The projector in a model's folder, taken for the model's own where there is no other model."""
    every = _models_in(model.parent)
    projector = gguf_names.best_projector(every)
    others = [each for each in every if not each.is_projector and model.name not in each.files]
    if projector is None or model.name in projector.files or others:
        return None
    return model.parent / projector.files[0]


def _places(name: str, model_dir: Path) -> Iterator[Path]:
    """Where `name` may be, in order. The embedded model stays reachable below any --model-dir."""
    for folder in (Path(), model_dir, ROOT / "models"):
        place = folder / Path(name).expanduser()
        yield place
        yield place.with_name(place.name + ".gguf") if place.name else place


def _models_in(folder: Path) -> list[Model]:
    return gguf_names.models(
        {path.name: path.stat().st_size for path in folder.iterdir() if _is_gguf(path)}
    )


def _is_gguf(path: Path) -> bool:
    return path.suffix.lower() == ".gguf" and path.is_file()


def _complete(model: Model, folder: Path) -> Model:
    if model.missing:
        raise HostError(
            f"{model.name} in {folder} is incomplete: {model.missing} of {model.shards} "
            "parts are missing"
        )
    return model


def model_names(model_dir: Path) -> list[str]:
    """What --model may be given from `model_dir`."""
    if not model_dir.is_dir():
        return []
    return [
        path.name
        for path in sorted(model_dir.iterdir())
        if _is_gguf(path) or (path.is_dir() and any(_is_gguf(file) for file in path.iterdir()))
    ]


def _names_in(model_dir: Path) -> list[str]:
    """At most eight of them, for a message."""
    names = model_names(model_dir)
    return [*names[:8], "..."] if len(names) > 8 else names


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
