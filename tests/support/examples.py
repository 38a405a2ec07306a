"""The commands and examples of README.md and docs/*.md, and how each is tried.

The line above a block of code says it:

    <!-- example: run -->               run as it is printed
    <!-- example: stand-in -->          run with stand-ins (example_programs.py) for make, Docker, git, a
                                        model hub, cloudflared or a webui
    <!-- example: agents -->            run by `make test-agents`, with the agent
    <!-- example: not run: REASON -->   with what holds it to the truth instead

Blocks of the language `text` show what programs print or read, and are no examples.
"""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

from .process import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(
    r"(?:^ *<!-- example: (?P<how>.+?) -->\n)?^ *```(?P<language>\w*)\n(?P<code>.*?)^ *```$",
    re.DOTALL | re.MULTILINE,
)
NOT_RUN = "not run: "


@dataclass(frozen=True, slots=True)
class Example:
    """A block of code."""

    page: Path
    line: int
    language: str
    code: str
    how: str | None
    """None: the page does not say."""

    @property
    def id(self) -> str:
        return f"{self.page.stem}:{self.line}"


def examples() -> list[Example]:
    """All of them, in the order of the pages."""
    return [
        Example(
            page,
            text[: match.start("code")].count("\n"),
            match["language"],
            textwrap.dedent(match["code"]),
            match["how"],
        )
        for page in PAGES
        for text in [page.read_text(encoding="utf-8")]
        for match in BLOCK.finditer(text)
    ]
