"""From what clients saw to figures, and from figures of several rounds to one."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

from .load import Seen

Figures = Mapping[str, float]
"""What one server came to in one round, by the names of COLUMNS; only what could be measured."""

COLUMNS = {
    "tokens_per_second": "tokens/s",
    "requests_per_second": "requests/s",
    "first_p50": "first token p50, ms",
    "first_p99": "first token p99, ms",
    "gap_p50": "between tokens p50, ms",
    "gap_p99": "between tokens p99, ms",
    "gap_begin": "between tokens 1 to 400, ms",
    "gap_end": "between the last 400, ms",
    "cpu_per_1000": "CPU s / 1,000 tokens",
    "cpu_per_request": "CPU ms / request",
    "peak_rss": "peak RSS, MiB",
    "computed": "prompt tokens computed",
    "seconds": "seconds",
}
EDGE = 400  # tokens at each end of a long stream


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` (0 to 1) of all are not above. Raises ValueError for none."""
    if not values:
        raise ValueError("no values")
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def figures_of(seen: Sequence[Seen], cpu: float, peak_rss: int) -> dict[str, float]:
    """The figures of one round. `cpu`: processor seconds of the server; `peak_rss`: bytes."""
    wall = max(each.start + each.total for each in seen) - min(each.start for each in seen)
    tokens = sum(each.tokens for each in seen)
    found = {
        "requests_per_second": len(seen) / wall,
        "cpu_per_request": 1000 * cpu / len(seen),
        "peak_rss": peak_rss / 2**20,
        "seconds": wall,
    }
    if all(each.computed >= 0 for each in seen):
        found["computed"] = sum(each.computed for each in seen)
    if tokens:
        found["tokens_per_second"] = tokens / wall
        found["cpu_per_1000"] = 1000 * cpu / tokens
    first = [1000 * each.first for each in seen if each.first]
    if first:
        found |= {"first_p50": percentile(first, 0.5), "first_p99": percentile(first, 0.99)}
    gaps = [1000 * gap for each in seen for gap in each.gaps]
    if gaps:
        found |= {"gap_p50": percentile(gaps, 0.5), "gap_p99": percentile(gaps, 0.99)}
        if all(len(each.gaps) >= 4 * EDGE for each in seen):
            begin = [gap for each in seen for gap in each.gaps[:EDGE]]
            end = [gap for each in seen for gap in each.gaps[-EDGE:]]
            found["gap_begin"] = 1000 * statistics.fmean(begin)
            found["gap_end"] = 1000 * statistics.fmean(end)
    return found


def median(rounds: Sequence[Figures], name: str) -> float | None:
    """The middle of a figure over the rounds that have it."""
    values = [figures[name] for figures in rounds if name in figures]
    return statistics.median(values) if values else None


def median_ratio(ours: Sequence[Figures], theirs: Sequence[Figures], name: str) -> float | None:
    """The middle of the ratios ours / theirs, round by round: what slows a whole round cancels out."""
    ratios = [
        mine[name] / other[name]
        for mine, other in zip(ours, theirs, strict=True)
        if name in mine and other.get(name)
    ]
    return statistics.median(ratios) if ratios else None
