"""An example: makes a figure of each table in an answer, for pages that draw the plots of stored chats.

It acts on chats of the API with `store: true`, under text-generation-webui and under our own host. The
settings file chooses what is drawn, a type of Plotly's with `x` and `y`: `example_plots-type: scatter`.
"""

import html
import re
from collections.abc import Iterator
from typing import Any

params: dict[str, Any] = {"display_name": "Plots", "is_tab": False, "type": "bar"}

Table = list[list[str]]
"""Rows of cells, the first one has the names of the columns."""
RULE = re.compile(r"\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?")
"""The line below a table's head, in Markdown."""
NUMBER = re.compile(r"[+-]?(\d+|\d{1,3}(,\d{3})+)(\.\d+)?")


def plots_of(text: str) -> list[dict[str, Any]]:
    """Plotly's figures for a whole answer."""
    return [figure for table in tables(text) for figure in figures(table)]


def tables(text: str) -> Iterator[Table]:
    """The tables of a text in Markdown."""
    lines = [line.strip() for line in text.splitlines()]
    for at in range(1, len(lines)):
        if "|" in lines[at - 1] and "|" in lines[at] and RULE.fullmatch(lines[at]):
            rows = [lines[at - 1]]
            for line in lines[at + 1 :]:
                if "|" not in line:
                    break
                rows.append(line)
            yield [cells(row) for row in rows]


def cells(row: str) -> list[str]:
    """The cells of a line; what looks like HTML in them is shown as it is written."""
    return [html.escape(cell.strip(" *`"), quote=False) for cell in row.strip("|").split("|")]


def figures(table: Table) -> list[dict[str, Any]]:
    """One figure, with a trace for each column of numbers; none where there is no such column."""
    head, *rows = table
    rows = [row for row in rows if len(row) == len(head)]
    traces = []
    for column in range(1, len(head)):
        values = [number(row[column]) for row in rows]
        if rows and None not in values:
            names = [row[0] for row in rows]
            traces.append({"type": params["type"], "name": head[column], "x": names, "y": values})
    layout = {"xaxis": {"title": {"text": head[0]}}}
    return [{"data": traces, "layout": layout}] if traces else []


def number(cell: str) -> float | None:
    """The number in a cell, which may have commas between its thousands, and a percent sign."""
    text = cell.removesuffix("%").strip()
    return float(text.replace(",", "")) if NUMBER.fullmatch(text) else None
