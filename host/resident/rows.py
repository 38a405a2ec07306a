"""The operator's models to load on request: a YAML file of them, or a folder that holds them.

models:
  small: qwen2.5-0.5b.gguf
  coder:
    model: hf:OWNER/REPO:Q4_K_M
    ctx-size: 16384
    aliases: [gpt-4o-mini]
    pinned: true
    sampling: {temperature: 0.2}
    adapters: {legal: legal-lora.gguf}
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from extensions.openai.engines.registry import DEFAULT, UPSTREAM
from host import settings_file
from host.errors import HostError
from host.models import gguf_names
from host.models.model_files import find, model_names, model_spec
from host.models.spec import ModelSpec
from host.options import OPTIONS, HostOptions, Option, boolean, number

log = logging.getLogger(__name__)

OWN: Mapping[str, Any] = {
    "lora": (),
    "mmproj": None,
    "draft_model": None,
    "chat_template_file": None,
    "task": "auto",
}
"""Options of the host's own model that others do not get."""
OF_MODELS = {
    option.name: option for option in OPTIONS if option.of_model and option.name != "model-dir"
}
OF_ROWS = ("aliases", "pinned", "idle", "sampling", "adapters")
NAME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/")


@dataclass(frozen=True, slots=True)
class Row:
    """One of them."""

    name: str
    """For clients."""
    options: HostOptions
    """What it is loaded with."""
    spec: ModelSpec
    aliases: tuple[str, ...] = ()
    pinned: bool = False
    idle_s: float = 0.0
    """Seconds after its last answer, when it is unloaded; 0: never."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """The options that are not at their defaults."""
    sampling: Mapping[str, Any] = field(default_factory=dict)
    """Parameters that a request does not give."""
    root: str | None = None
    """The row that it is with an adapter; None: it is a model itself."""
    is_named: bool = True
    """Whether the operator's file has it, and not a folder."""


def read_rows(options: HostOptions, own: ModelSpec) -> tuple[Row, ...]:
    """What `--models` names, besides the host's `own` model. Raises HostError with one clear line."""
    assert options.models is not None
    place = Path(options.models).expanduser()
    if not place.exists():
        raise HostError(f"--models: there is no file or folder {options.models}")
    if place.is_dir():
        rows = tuple(row for row in _in_folder(place, options) if row.spec.path != own.path)
    else:
        rows = tuple(_in_file(place, options))
    names = [own.name]
    names += [name for row in rows for name in (row.name, *row.aliases)]
    for name in names:
        if names.count(name) > 1:
            raise HostError(f"--models: the name {name} is there twice")
    if not rows:
        raise HostError(f"--models: no model in {options.models}")
    return rows


def _in_folder(folder: Path, options: HostOptions) -> Iterator[Row]:
    """Each model of a folder."""
    for name in model_names(folder):
        try:
            found = find(name, folder)
        except HostError as error:
            log.warning("--models: %s is passed over: %s", name, error)
            continue
        if not gguf_names.is_projector(found.path.name):
            yield row_of(found.name, {"model": str(folder / name)}, options, is_named=False)


def _in_file(file: Path, options: HostOptions) -> Iterator[Row]:
    named = settings_file.read(file, "--models").get("models")
    if not isinstance(named, dict):
        raise HostError("--models: the file has no `models:` with a name for each")
    for name, given in named.items():
        row = {"model": given} if isinstance(given, str) else given
        if not isinstance(name, str) or not name or not NAME_CHARACTERS.issuperset(name):
            raise HostError(f"--models: {name!r} is no name for a model")
        if not isinstance(row, dict) or not isinstance(row.get("model"), str):
            raise HostError(f"--models: {name}: `model` names what to load")
        adapters = _mapping(row, "adapters", f"--models: {name}")
        yield row_of(name, row, options)
        for adapter, lora in adapters.items():
            if not isinstance(adapter, str) or not NAME_CHARACTERS.issuperset(adapter):
                raise HostError(f"--models: {name}: {adapter!r} is no name for an adapter")
            loras = [*_list(row.get("lora", [])), lora]
            adapted = {**row, "aliases": [], "pinned": False, "lora": loras}
            yield replace(row_of(f"{name}:{adapter}", adapted, options), root=name)


def row_of(
    name: str, given: Mapping[str, Any], defaults: HostOptions, *, is_named: bool = True
) -> Row:
    """A row of the file. Raises HostError."""
    where = f"--models: {name}"
    sampling = _mapping(given, "sampling", where)
    given = {key: value for key, value in given.items() if key not in ("sampling", "adapters")}
    aliases = _words(given.pop("aliases", []), f"{where}: aliases")
    pinned = _value(given.pop("pinned", False), boolean, f"{where}: pinned")
    idle = _value(given.pop("idle", defaults.models_idle), number(0), f"{where}: idle")
    chosen = {key: _option(key, value, where) for key, value in given.items()}
    common = replace(defaults, **OWN)
    if common.loader == UPSTREAM:  # that is of the host, which then has no model of its own
        common = replace(common, loader=DEFAULT)
    options = replace(common, **{OF_MODELS[key].field: value for key, value in chosen.items()})
    try:
        spec = model_spec(options)
    except HostError as error:
        raise HostError(f"{where}: {error}") from error
    arguments = {
        option.name: _shown(getattr(options, option.field))
        for option in OF_MODELS.values()
        if getattr(options, option.field) != getattr(HostOptions(), option.field)
    }
    return Row(name, options, spec, aliases, pinned, idle, arguments, sampling, is_named=is_named)


def _option(name: str, value: Any, where: str) -> Any:
    option = OF_MODELS.get(name)
    if option is None:
        known = ", ".join([*OF_MODELS, *OF_ROWS])
        raise HostError(f"{where}: unknown {name!r} (known: {known})")
    if option.many:
        return tuple(_value(each, option.convert, f"{where}: {name}") for each in _list(value))
    return _value(value, option.convert, f"{where}: {name}")


def _value(value: Any, convert: Any, where: str) -> Any:
    try:
        return convert(str(value))
    except ValueError as error:
        raise HostError(f"{where}: {error}") from None


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _mapping(given: Mapping[str, Any], key: str, where: str) -> Mapping[str, Any]:
    value = given.get(key, {})
    if not isinstance(value, dict):
        raise HostError(f"{where}: {key}: names with values were expected")
    return value


def _words(value: Any, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(each, str) and each for each in value):
        raise HostError(f"{where}: a list of names was expected")
    return tuple(value)


def _shown(value: Any) -> Any:
    """A value as JSON has it, with names of files in place of paths."""
    if isinstance(value, tuple):
        return [_shown(each) for each in value]
    if isinstance(value, Path):
        return value.name
    return Path(value).name if isinstance(value, str) and value.startswith("/") else value


def arguments_of(options: HostOptions, spec: ModelSpec) -> list[str]:
    """The command line that loads a model with these options."""
    fixed = replace(
        options,
        model=str(spec.path) if spec.path is not None else options.model,
        ctx_size=spec.context_length,
        mmproj=None if spec.mmproj is None else str(spec.mmproj),
        draft_model=None if spec.tuning.draft_model is None else str(spec.tuning.draft_model),
        lora=tuple(f"{lora.path}:{lora.scale}" for lora in spec.loras),
        no_mmproj=spec.mmproj is None,
    )
    return [word for option in OF_MODELS.values() for word in _argument(option, fixed)]


def _argument(option: Option, options: HostOptions) -> Iterator[str]:
    value = getattr(options, option.field)
    if value == getattr(HostOptions(), option.field):
        return
    flag = f"--{option.name}"
    if option.metavar is None:
        yield flag
    elif option.adds_up:
        yield from (f"{flag}={each}" for each in value)
    elif option.many:
        yield from (flag, *map(str, value))
    else:
        yield f"{flag}={value}"
