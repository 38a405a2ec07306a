"""How much memory a model needs, from its file's header."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ...tokens.gguf_checks import PART
from .params import Cache

GB = 1e9


@dataclass(frozen=True, slots=True)
class MemoryNeed:
    """Upper bounds in bytes: a sliding window or recurrent layers need less for the contexts."""

    weights: int
    contexts: int
    prompts: int
    """For the cache of earlier prompts."""
    cache: Cache

    @classmethod
    def of(cls, weights: int, token_bytes: int, cache: Cache, prompts: int) -> MemoryNeed:
        contexts = token_bytes * cache.context * cache.contexts
        return cls(weights, contexts, prompts, cache)

    def __str__(self) -> str:
        """`needs 9.8 GB: weights 4.9, 4 contexts 4.3, cache 0.5`: fits into 80 columns with a log's time."""
        total = self.weights + self.contexts + self.prompts
        count = self.cache.contexts
        return (
            f"needs {gigabytes(total)} GB: weights {gigabytes(self.weights)}, "
            f"{count} context{'s'[: count > 1]} {gigabytes(self.contexts)}, "
            f"cache {gigabytes(self.prompts)}"
        )


def memory_need(token_bytes: int, files: Iterable[Path], cache: Cache, prompts: int) -> MemoryNeed:
    """The memory for a model. `token_bytes`: of its KV cache for each token; `files` also holds its adapters
    and its encoder."""
    return MemoryNeed.of(weight_bytes(files), token_bytes, cache, prompts)


def weight_bytes(files: Iterable[Path]) -> int:
    """The size of a model's files, and of its adapters and its encoder."""
    return sum(part.stat().st_size for file in files for part in _parts(file))


def _parts(file: Path) -> list[Path]:
    """All files of a model that may be split into several."""
    found = PART.fullmatch(file.name)
    if found is None:
        return [file]
    return sorted(file.parent.glob(f"{found[1]}-*-of-{found[3]}.gguf"))


def gigabytes(count: int) -> str:
    return f"{count / GB:.1f}" if count >= GB / 20 else f"{count / GB:.2f}"
