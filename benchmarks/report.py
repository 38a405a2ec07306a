"""Results as docs/performance.md shows them: tables, and a plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

from .figures import Figures, median, median_ratio
from .reading import Read
from .rounds import FLOOR, Results
from .store import Cost, Full
from .workloads import Workload

MODELS = (
    "<!-- begin of what `make bench` writes -->",
    "<!-- end of what `make bench` writes -->",
)
READING = (
    "<!-- begin of what `make bench` writes about prompts that come back -->",
    "<!-- end of what `make bench` writes about prompts that come back -->",
)
STORE = (
    "<!-- begin of what `make bench` writes about the store -->",
    "<!-- end of what `make bench` writes about the store -->",
)
UPSTREAM = (
    "<!-- begin of what `make bench` writes about other servers -->",
    "<!-- end of what `make bench` writes about other servers -->",
)
SWITCHING = (
    "<!-- begin of what `make bench` writes about models on request -->",
    "<!-- end of what `make bench` writes about models on request -->",
)
GUESSES = (
    "<!-- begin of what `make bench` writes about guesses -->",
    "<!-- end of what `make bench` writes about guesses -->",
)
EMBEDDINGS = (
    "<!-- begin of what `make bench` writes about embeddings -->",
    "<!-- end of what `make bench` writes about embeddings -->",
)
TRANSCRIPTIONS = (
    "<!-- begin of what `make bench` writes about transcriptions -->",
    "<!-- end of what `make bench` writes about transcriptions -->",
)
BATCHES = (
    "<!-- begin of what `make bench` writes about batches -->",
    "<!-- end of what `make bench` writes about batches -->",
)
OURS = "ours"
COLOURS = {OURS: "#1f6feb", FLOOR: "#8c959f", "llama-server": "#2da44e"}
OTHER_COLOURS = ("#bf8700", "#8250df")


@dataclass(frozen=True, slots=True)
class ModelResults:
    """Everything measured on one model."""

    title: str
    workloads: Sequence[Workload]
    results: Results


def write_into(page: Path, text: str, marks: tuple[str, str] = MODELS) -> None:
    """Put `text` between the marks of the page. Raises ValueError when it has none."""
    before, begin, rest = page.read_text(encoding="utf-8").partition(marks[0])
    _, end, after = rest.partition(marks[1])
    if not (begin and end):
        raise ValueError(f"{page.name} has no place for results")
    page.write_text(f"{before}{begin}\n\n{text.strip()}\n\n{end}{after}", encoding="utf-8")


def speed_table(found: ModelResults, peers: Sequence[str]) -> str:
    """Tokens and requests per second: ours, and by how much that is more than each peer's."""
    rows = [["", "ours", *(f"times {peer}" for peer in (*peers, FLOOR))]]
    for workload in _warm(found):
        by_server = found.results[workload.name]
        name, unit = _speed_of(workload)
        speed = median(by_server[OURS], name)
        row = [workload.what, f"{_number(speed)} {unit}"]
        for peer in (*peers, FLOOR):
            row.append(_number(_ratio(by_server, peer, name), digits=2))
        rows.append(row)
    return _table(rows)


def latency_table(found: ModelResults, peers: Sequence[str]) -> str:
    """Milliseconds to the first token and between tokens, ours and each peer's: p50 / p99."""
    rows = [["", *(f"{name}: first token" for name in (OURS, *peers)),
             *(f"{name}: between tokens" for name in (OURS, *peers))]]  # fmt: skip
    for workload in _warm(found):
        by_server = found.results[workload.name]
        if median(by_server[OURS], "first_p50") is None:
            continue
        row = [workload.what]
        for figure in ("first", "gap"):
            for peer in (OURS, *peers):
                p50 = median(by_server.get(peer, ()), f"{figure}_p50")
                p99 = median(by_server.get(peer, ()), f"{figure}_p99")
                row.append(f"{_number(p50, digits=2)} / {_number(p99, digits=2)}")
        rows.append(row)
    return _table(rows)


def cost_table(found: ModelResults, peers: Sequence[str]) -> str:
    """Processor seconds for 1,000 tokens, and peak memory, each beyond the engine alone."""
    shown = [OURS, *peers]
    rows = [["", *(f"{name}: CPU s / 1,000 tokens" for name in shown),
             *(f"{name}: peak RSS, MiB" for name in shown)]]  # fmt: skip
    for workload in found.workloads:
        by_server = found.results[workload.name]
        if FLOOR not in by_server:
            continue
        cpu = [_number(median(by_server.get(name, ()), "cpu_per_1000"), digits=3) for name in shown]
        rss = [_number(median(by_server.get(name, ()), "peak_rss"), digits=0) for name in shown]
        rows.append([workload.what, *cpu, *rss])
    return _table(rows)


def reading_table(found: ModelResults, peers: Sequence[str]) -> str:
    """Prompt tokens computed and seconds, of the workloads in which that is what counts."""
    shown = [OURS, *peers]
    rows = [["", *(f"{name}: computed" for name in shown), *(f"{name}: s" for name in shown)]]
    for workload in found.workloads:
        if not workload.cold:
            continue
        by_server = found.results[workload.name]
        computed = [
            _number(median(by_server.get(name, ()), "computed"), digits=0) for name in shown
        ]
        seconds = [_number(median(by_server.get(name, ()), "seconds"), digits=2) for name in shown]
        rows.append([workload.what, *computed, *seconds])
    return _table(rows)


def long_stream_line(found: ModelResults, peers: Sequence[str]) -> str:
    """How the time between tokens changes over a long stream; empty where none was measured."""
    parts = []
    for name in (OURS, *peers):
        rounds = found.results.get("long-4000", {}).get(name, [])
        begin, end = median(rounds, "gap_begin"), median(rounds, "gap_end")
        if begin and end:
            parts.append(f"{name} {begin:.3f} and {end:.3f} ms ({end / begin:.2f} times)")
    if not parts:
        return ""
    listed = "; ".join(parts)
    return f"Between the first and between the last 400 tokens of a stream of 4,000: {listed}."


def store_table(costs: Sequence[Cost]) -> str:
    """Requests per second, times and processor time of chats without the store and with it."""
    rows = [["", "synchronous", "requests/s", "times that, stored", "p50, ms", "p50, stored",
             "CPU ms / request", "CPU, stored"]]  # fmt: skip
    for cost in costs:
        row = [f"{cost.setup.what}, {cost.workload.what}", cost.setup.synchronous]
        row.append(_number(median(cost.plain, "requests_per_second")))
        row.append(_number(median_ratio(cost.stored, cost.plain, "requests_per_second"), 3))
        for figure in ("first_p50", "cpu_per_request"):
            row += [_number(median(each, figure), 2) for each in (cost.plain, cost.stored)]
        rows.append(row)
    return _table(rows)


def reads_table(full: Full) -> str:
    """Milliseconds of reads from a full store."""
    rows = [[f"of {full.rows:,} stored chats, {full.gibibytes:.1f} GiB", "p50, ms", "p99, ms"]]
    for what, (p50, p99) in full.reads.items():
        rows.append([what, _number(p50, 1), _number(p99, 1)])
    return _table(rows)


def returning_table(found: Sequence[Read]) -> str:
    """Tokens of prompts that come back, and how many of them each server computed, in which time."""
    servers = list(dict.fromkeys(each.server for each in found))
    rows = [["", "asked", *(f"{name}: computed" for name in servers),
             *(f"{name}: s" for name in servers)]]  # fmt: skip
    for what in dict.fromkeys(each.what for each in found):
        by_server = {each.server: each for each in found if each.what == what}
        asked = max(each.asked for each in by_server.values())
        rows.append([what, _number(asked, 0), *(
            _number(by_server[name].figures.get(figure), digits)
            for figure, digits in (("computed", 0), ("seconds", 2))
            for name in servers
        )])  # fmt: skip
    return _table(rows)


def plot(models: Sequence[ModelResults], peers: Sequence[str]) -> str:
    """Tokens per second by number of clients, a panel for each model, as SVG."""
    names = [OURS, *peers, FLOOR]
    others = iter(OTHER_COLOURS)
    colours = {name: COLOURS.get(name) or next(others, "#57606a") for name in names}
    width, height, left, panel = 720, 250, 60, 190
    parts = []
    for at, found in enumerate(models):
        streams = [work for work in found.workloads if work.name.startswith("streams-")]
        top = at * height
        values = {
            (work.clients, name): median(
                found.results[work.name].get(name, ()), "tokens_per_second"
            )
            or 0.0
            for work in streams
            for name in names
        }
        most = max(values.values(), default=0.0) or 1.0
        parts.append(_text(left, top + 20, f"{found.title}: tokens per second", bold=True))
        group = (width - left - 20) / max(1, len(streams))
        bar = group * 0.8 / len(names)
        for place, work in enumerate(streams):
            x = left + place * group
            label = f"{work.clients} client{'s' if work.clients > 1 else ''}"
            parts.append(_text(x + group * 0.4, top + 30 + panel, label, anchor="middle"))
            for rank, name in enumerate(names):
                value = values[work.clients, name]
                tall = (panel - 40) * value / most
                parts.append(
                    f'<rect x="{x + rank * bar:.1f}" y="{top + 15 + panel - tall:.1f}" '
                    f'width="{bar * 0.92:.1f}" height="{tall:.1f}" fill="{colours[name]}"/>'
                )
                if value:
                    middle = x + (rank + 0.46) * bar
                    above = top + 12 + panel - tall
                    parts.append(_text(middle, above, f"{value:,.0f}", anchor="middle", size=8))
    bottom = len(models) * height
    for rank, name in enumerate(names):
        x = left + rank * 150
        parts.append(f'<rect x="{x}" y="{bottom}" width="10" height="10" fill="{colours[name]}"/>')
        parts.append(_text(x + 14, bottom + 9, name))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {bottom + 20}" '
        f'font-family="sans-serif"><rect width="100%" height="100%" fill="#fff"/>{"".join(parts)}</svg>\n'
    )


def _warm(found: ModelResults) -> list[Workload]:
    return [workload for workload in found.workloads if not workload.cold]


def _speed_of(workload: Workload) -> tuple[str, str]:
    """What tells how fast a workload goes: tokens, but requests where an answer is short or counted in
    ways that differ from server to server."""
    if workload.name.startswith(("short", "tools", "n-", "schema")):
        return "requests_per_second", "requests/s"
    return "tokens_per_second", "tokens/s"


def _ratio(by_server: Mapping[str, Sequence[Figures]], peer: str, name: str) -> float | None:
    if peer not in by_server:
        return None
    return median_ratio(by_server[OURS], by_server[peer], name)


def _number(value: float | None, digits: int | None = None) -> str:
    if value is None:
        return "-"
    if digits is None:
        digits = 0 if value >= 100 else 1
    return f"{value:,.{digits}f}"


def _table(rows: Sequence[Sequence[str]]) -> str:
    head, *body = rows
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _text(
    x: float, y: float, text: str, *, anchor: str = "start", size: int = 11, bold: bool = False
) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}"{weight}>'
        f"{escape(text)}</text>"
    )
