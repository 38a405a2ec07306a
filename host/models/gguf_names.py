"""What a list of file names says about the models in it: shards, quantisations, the best choice.

Pure functions over names, so that a folder on the disk and a repository on a hub are read alike.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

SHARD = re.compile(r"-(\d{5})-of-(\d{5})$")
PREFERRED = ("Q4_K_M", "Q8_0")
"""Quantisations taken when none is named: small at little loss, then nearly lossless."""


@dataclass(frozen=True, slots=True)
class Model:
    """One model: a single file, or the shards llama.cpp loads through the first of them."""

    title: str
    """The path without `.gguf` and without the shard number."""
    files: tuple[str, ...]
    """Paths with `/`, in the order of the shards."""
    size: int
    """Bytes of all files, 0 where unknown."""
    shards: int
    """How many files there should be."""

    @property
    def name(self) -> str:
        """The last part of the title: what clients may see."""
        return self.title.rsplit("/", 1)[-1]

    @property
    def missing(self) -> int:
        return self.shards - len(self.files)

    @property
    def is_projector(self) -> bool:
        """An encoder of pictures or sounds that belongs to a model and can't answer by itself."""
        return is_projector(self.name)


def is_projector(name: str) -> bool:
    return "mmproj" in name.lower()


def stem(path: str) -> str:
    """`path` without `.gguf`, in any case; other endings are part of the name."""
    return path[:-5] if path.lower().endswith(".gguf") else path


def models(sizes: Mapping[str, int]) -> list[Model]:
    """The models among files (path -> bytes), by title; files that are not GGUF are passed over."""
    groups: dict[tuple[str, int], list[str]] = {}
    for path in sizes:
        if not path.lower().endswith(".gguf"):
            continue
        shard = SHARD.search(stem(path))
        title = stem(path)[: shard.start()] if shard else stem(path)
        groups.setdefault((title, int(shard[2]) if shard else 1), []).append(path)
    return sorted(
        (
            Model(title, tuple(sorted(paths)), sum(sizes[path] for path in paths), shards)
            for (title, shards), paths in groups.items()
        ),
        key=lambda model: model.title,
    )


def matching(candidates: Iterable[Model], wanted: str) -> list[Model]:
    """The models that `wanted` names: a path, a pattern, or a quantisation such as `Q4_K_M`.

    The first of these readings that fits any model is the one used. Case only matters to paths.
    """
    candidates = list(candidates)
    exact = [model for model in candidates if _is_path_of(wanted, model)]
    if exact:
        return exact
    able = [model for model in candidates if not model.is_projector]
    pattern = wanted.lower()
    found = [
        model
        for model in able
        if any(
            fnmatchcase(text.lower(), pattern)
            for path in model.files
            for text in (path, PurePosixPath(path).name)
        )
    ]
    if found:
        return found
    # No underscore may follow: Q4_K is not Q4_K_M.
    quantisation = re.compile(rf"(^|[-._]){re.escape(pattern)}($|[-.])")
    return [model for model in able if quantisation.search(model.name.lower())]


def best(candidates: Iterable[Model]) -> Model | None:
    """The model to take when any will do: Q4_K_M, else Q8_0, else the smallest; None of none."""
    able = [model for model in candidates if not model.is_projector]
    for quantisation in PREFERRED:
        found = matching(able, quantisation)
        if found:
            return min(found, key=lambda model: (model.size, model.title))
    return min(able, key=lambda model: (model.size, model.title), default=None)


def best_projector(candidates: Iterable[Model]) -> Model | None:
    """The projector to take when any will do: F16, else the smallest; None of none."""
    able = [model for model in candidates if model.is_projector and not model.missing]
    return min(able, key=lambda model: ("f16" not in _words(model), model.size), default=None)


def _words(model: Model) -> list[str]:
    return re.split(r"[-._]", model.name.lower())


def _is_path_of(wanted: str, model: Model) -> bool:
    return (
        wanted == model.title or wanted in model.files or wanted in (stem(f) for f in model.files)
    )
