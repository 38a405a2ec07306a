"""Tables and plot of results."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks import report
from benchmarks.figures import Figures
from benchmarks.report import BEGIN, END, ModelResults, write_into
from benchmarks.rounds import FLOOR
from benchmarks.workloads import EMBEDDED, RANDOM

PEER = "llama-server"


def round_of(speed: float, **others: float) -> Figures:
    return {"tokens_per_second": speed, "requests_per_second": speed / 10, **others}


@pytest.fixture
def found() -> ModelResults:
    workloads = [each for each in EMBEDDED if each.name in ("streams-1", "short-1", "tools")]
    times = {"first_p50": 1.5, "first_p99": 2.0, "gap_p50": 0.25, "gap_p99": 0.5}
    return ModelResults(
        "A <model>",
        workloads,
        {
            "streams-1": {
                "ours": [round_of(90, cpu_per_1000=0.1, peak_rss=50, **times)] * 3,
                PEER: [round_of(100, cpu_per_1000=0.05, peak_rss=4, **times)] * 3,
                FLOOR: [round_of(120)] * 3,
            },
            "short-1": {"ours": [round_of(600)] * 3, PEER: [round_of(1000)] * 3},
            "tools": {"ours": [round_of(600)] * 3},
        },
    )


def test_speed_is_told_with_ratios(found: ModelResults) -> None:
    table = report.speed_table(found, [PEER]).splitlines()
    assert table[2] == "| 128 tokens streamed, 1 client | 90.0 tokens/s | 0.90 | 0.75 |"
    assert table[3] == "| max_tokens 1, 1 client | 60.0 requests/s | 0.60 | - |"
    assert table[4].endswith("| 60.0 requests/s | - | - |")
    assert {line.count("|") for line in table} == {5}


def test_times_and_costs_are_told_of_each(found: ModelResults) -> None:
    row = report.latency_table(found, [PEER]).splitlines()[2]
    assert row.count("1.50 / 2.00") == row.count("0.25 / 0.50") == 2
    row = report.cost_table(found, [PEER]).splitlines()[2]
    assert row.endswith("| 0.100 | 0.050 | 50 | 4 |")


def test_the_plot_is_svg_with_a_bar_for_each_server(found: ModelResults) -> None:
    drawn = ElementTree.fromstring(report.plot([found, found], [PEER]))
    bars = [each for each in drawn.iter() if each.tag.endswith("rect") and "y" in each.attrib]
    assert len(bars) == 2 * 3 + 3  # a panel for each model, then the legend
    assert any("A <model>" in (each.text or "") for each in drawn.iter())


def test_results_take_the_place_of_those_before(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"above\n{BEGIN}\nold\n{END}\nbelow\n")
    write_into(page, "new")
    assert page.read_text() == f"above\n{BEGIN}\n\nnew\n\n{END}\nbelow\n"
    page.write_text("no place")
    with pytest.raises(ValueError, match=r"page\.md"):
        write_into(page, "new")


def test_workloads_have_names_of_their_own() -> None:
    for workloads in (EMBEDDED, RANDOM):
        assert len({each.name for each in workloads}) == len(workloads)
        assert all(len(each.bodies()) == each.requests for each in workloads)
