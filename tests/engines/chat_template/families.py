"""Chat templates of our own writing, in the shape of those of real model families."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parents[2] / "support" / "templates"
FAMILIES = tuple(sorted(path.stem for path in FOLDER.glob("*.jinja")))


def source_of(family: str) -> str:
    return (FOLDER / f"{family}.jinja").read_text(encoding="utf-8")
