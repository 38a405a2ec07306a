"""From what clients saw to figures."""

from __future__ import annotations

import pytest

from benchmarks.figures import EDGE, figures_of, median, median_ratio, percentile
from benchmarks.load import Seen


def test_percentiles_are_values_that_were_seen() -> None:
    values = [5.0, 1.0, 4.0, 2.0, 3.0]
    assert [percentile(values, share) for share in (0, 0.2, 0.5, 0.99, 1)] == [1, 1, 3, 5, 5]
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)


def test_figures_of_a_round() -> None:
    seen = [
        Seen(200, start=0.0, first=0.1, total=1.0, events=3, tokens=10, gaps=[0.2, 0.4]),
        Seen(200, start=0.5, first=0.3, total=1.5, events=2, tokens=30, gaps=[0.1]),
    ]
    figures = figures_of(seen, cpu=0.2, peak_rss=64 << 20)
    assert figures == pytest.approx(
        {
            "tokens_per_second": 20,
            "requests_per_second": 1,
            "first_p50": 100,
            "first_p99": 300,
            "gap_p50": 200,
            "gap_p99": 400,
            "cpu_per_1000": 5,
            "cpu_per_request": 100,
            "peak_rss": 64,
            "seconds": 2,
        }
    )


def test_what_was_computed_is_told_if_every_answer_tells_it() -> None:
    told, silent = Seen(200, total=1.0, computed=5), Seen(200, total=1.0)
    assert figures_of([told, told], 0, 0)["computed"] == 10
    assert "computed" not in figures_of([told, silent], 0, 0)


def test_a_long_stream_is_looked_at_at_both_ends() -> None:
    gaps = [0.001] * EDGE + [0.5] * 2 * EDGE + [0.003] * EDGE
    figures = figures_of([Seen(200, total=9.0, tokens=4 * EDGE, gaps=gaps)], 1.0, 0)
    assert figures["gap_begin"] == pytest.approx(1)
    assert figures["gap_end"] == pytest.approx(3)


def test_ratios_are_taken_within_a_round() -> None:
    # The machine was three times as slow in the second round, for both.
    ours = [{"speed": 90.0}, {"speed": 30.0}, {"speed": 100.0}]
    theirs = [{"speed": 100.0}, {"speed": 33.0}, {"speed": 100.0}]
    assert median_ratio(ours, theirs, "speed") == pytest.approx(30 / 33)
    assert median(ours, "speed") == 90
    assert median_ratio(ours, [{}, {}, {}], "speed") is None
    assert median([], "speed") is None
