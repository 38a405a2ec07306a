"""A model's fingerprint: it changes with the files and with settings that change answers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

DIGESTED_BYTES = 1 << 20  # at each end of a file


def fingerprint(files: Iterable[Path], *settings: object) -> str:
    """OpenAI's `system_fingerprint`."""
    version, name, *others = settings
    parts = (version, name, *map(_digest, files), *others)
    return "fp_" + hashlib.sha256(repr(parts).encode()).hexdigest()[:10]


def _digest(file: Path) -> str:
    """Digest a file's size and both ends only, as it may have many gigabytes."""
    size = file.stat().st_size
    with file.open("rb") as opened:
        begin = opened.read(DIGESTED_BYTES)
        opened.seek(max(0, size - DIGESTED_BYTES))
        return hashlib.sha256(begin + opened.read(DIGESTED_BYTES) + str(size).encode()).hexdigest()
