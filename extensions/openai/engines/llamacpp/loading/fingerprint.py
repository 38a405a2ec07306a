"""A model's fingerprint: it changes with the files and with settings that change answers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from ...tuning import DEFAULT_TUNING, SAME_ANSWERS, Tuning

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


def changing(tuning: Tuning, chat_template: str | None) -> tuple[object, ...]:
    """The choices that change answers, if there are any."""
    unlike = {name: getattr(DEFAULT_TUNING, name) for name in SAME_ANSWERS}
    found = replace(tuning, **unlike)
    tuned = () if found == DEFAULT_TUNING else (found,)
    return tuned if chat_template is None else (*tuned, chat_template)
