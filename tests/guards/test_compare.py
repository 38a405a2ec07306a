"""docs/compare.md: what it names of this server exists."""

from __future__ import annotations

import re

from extensions.openai.completions import CompletionRequest
from extensions.openai.generation.chat.request import ChatCompletionRequest
from extensions.openai.schemas.validation import all_names
from extensions.openai.settings import Settings
from extensions.openai.web.app import ROUTES
from extensions.openai.web.context import STREAM_HEADER
from host.options import OPTIONS
from tests.support.process import ROOT

PAGE = (ROOT / "docs" / "compare.md").read_text(encoding="utf-8")
CELLS = {"yes", "partial", "no", "?", "thru"}
COLUMNS = 11
HEADERS = {"Idempotency-Key", STREAM_HEADER}


def rows() -> list[list[str]]:
    tables = PAGE.partition("## The columns")[0]
    lines = [line for line in tables.splitlines() if re.match(r"\| [^|]", line)]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for row in cells if row[1] not in ("Here", "---")]


ROWS = rows()


def names() -> set[str]:
    """All that a row may name."""
    addresses = [(r.method, prefix + r.path) for r in ROUTES for prefix in r.addresses.value]
    routes = {
        f"{method} " + re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", path) for method, path in addresses
    }
    options = {f"--{name.replace('_', '-')}" for name in Settings.model_fields}
    options |= {f"--{option.name}" for option in OPTIONS}
    return (
        routes | options | all_names(ChatCompletionRequest) | all_names(CompletionRequest) | HEADERS
    )


def slug(heading: str) -> str:
    """A heading's anchor, as pages of repositories make it."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def test_every_row_is_whole() -> None:
    assert len(ROWS) > 60
    for row in ROWS:
        assert len(row) == COLUMNS, row
        assert {row[1], *row[3:]} <= CELLS, row


def test_what_rows_name_exists() -> None:
    known = names()
    for row in ROWS:
        for name in re.findall(r"`([^`]+)`", row[2]):
            assert name in known or (ROOT / name).exists(), row
        links = re.findall(r"\]\(([\w-]+\.md)(?:#([\w-]+))?\)", row[2])
        assert links, "a row leads to a page"
        for page, anchor in links:
            text = (ROOT / "docs" / page).read_text(encoding="utf-8")
            headings = {slug(heading) for heading in re.findall(r"^#+ (.+)$", text, re.M)}
            assert not anchor or anchor in headings, row
