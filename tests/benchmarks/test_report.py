"""Tables and plot of results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks import batches, report
from benchmarks.figures import Figures
from benchmarks.guesses import TEXTS, Guessed
from benchmarks.guesses import table as table_of_guesses
from benchmarks.report import MODELS, STORE, ModelResults, write_into
from benchmarks.rounds import FLOOR
from benchmarks.store import Cost, Full, Setup
from benchmarks.switching import Round, Turn, table
from benchmarks.workloads import EMBEDDED, RANDOM, STORED, Workload

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


def test_what_is_read_is_told_in_tokens(found: ModelResults) -> None:
    burst = next(each for each in RANDOM if each.name == "burst-4")
    figures = {"computed": 1650.0, "seconds": 0.5}
    read = ModelResults("x", [burst], {burst.name: {"ours": [figures], PEER: [{"seconds": 1.0}]}})
    (row,) = report.reading_table(read, [PEER]).splitlines()[2:]
    assert row == "| 4 at once share 1,500 new tokens | 1,650 | - | 0.50 | 1.00 |"
    assert report.speed_table(read, [PEER]).count("\n") == 1, "its tokens a second tell nothing"


@pytest.mark.parametrize(("workloads", "start"), [(EMBEDDED, 14), (RANDOM, 6)])
def test_each_round_reads_something_new(workloads: Sequence[Workload], start: int) -> None:
    """In words for the one model, in tokens for the other one."""
    burst = next(each for each in workloads if each.name == "burst-4")
    once, again = burst.bodies(), burst.bodies()
    first = once[0]["prompt"]
    assert all(body["prompt"][: start + 100] == first[: start + 100] for body in once)
    assert len({str(body["prompt"]) for body in once}) == 4
    assert again[0]["prompt"][:start] != first[:start]
    assert again[0]["prompt"][start:] == first[start:]


def test_prompts_in_tokens_have_the_length_that_they_are_said_to_have() -> None:
    lengths = {each.name: len(each.bodies()[0]["prompt"]) for each in RANDOM if each.cold}
    assert lengths["cold-n-4"] == 6 + 440 and lengths["burst-16"] == 6 + 1500 + 1 + 30


def test_the_plot_is_svg_with_a_bar_for_each_server(found: ModelResults) -> None:
    drawn = ElementTree.fromstring(report.plot([found, found], [PEER]))
    bars = [each for each in drawn.iter() if each.tag.endswith("rect") and "y" in each.attrib]
    assert len(bars) == 2 * 3 + 3  # a panel for each model, then the legend
    assert any("A <model>" in (each.text or "") for each in drawn.iter())


def test_the_store_is_told_beside_what_stores_nothing() -> None:
    plain = {"requests_per_second": 200.0, "first_p50": 5.0, "cpu_per_request": 2.0}
    stored = {"requests_per_second": 150.0, "first_p50": 6.0, "cpu_per_request": 2.25}
    cost = Cost(Setup("a model", (), 1, "full"), STORED[0], [plain] * 3, [stored] * 3)
    row = report.store_table([cost]).splitlines()[2]
    told = "| a model, short chats, 1 client | full | 200 | 0.750 | 5.00 | 6.00 | 2.00 | 2.25 |"
    assert row == told
    table = report.reads_table(Full(1000, 1.5, {"an item": (0.25, 1.75)})).splitlines()
    assert table[0].startswith("| of 1,000 stored chats, 1.5 GiB |")
    assert table[2] == "| an item | 0.2 | 1.8 |"


@pytest.mark.parametrize("marks", [MODELS, STORE])
def test_results_take_the_place_of_those_before(tmp_path: Path, marks: tuple[str, str]) -> None:
    page, (begin, end) = tmp_path / "page.md", marks
    page.write_text(f"above\n{begin}\nold\n{end}\nbelow\n")
    write_into(page, "new", marks)
    assert page.read_text() == f"above\n{begin}\n\nnew\n\n{end}\nbelow\n"
    page.write_text("no place")
    with pytest.raises(ValueError, match=r"page\.md"):
        write_into(page, "new", marks)


def test_workloads_have_names_of_their_own() -> None:
    for workloads in (EMBEDDED, RANDOM, STORED):
        assert len({each.name for each in workloads}) == len(workloads)
        assert all(len(each.bodies()) == each.requests for each in workloads)


def test_batches_are_told_by_the_round_in_the_middle() -> None:
    speeds = [batches.Speed(90.0, 100.0), batches.Speed(1500.0, 1000.0), batches.Speed(99.0, 100.0)]
    alone, beside = [0.01] * 18 + [0.02, 1.0], [0.02] * 18 + [0.03, 1.0]
    first_tokens = {"a model": batches.FirstTokens(alone, beside)}
    memory = [batches.Memory(100, 0.5, 1 << 20), batches.Memory(50_000, 60.0, 3 << 19)]
    told = batches.table(batches.Found(speeds, first_tokens, memory)).splitlines()
    assert told[2:4] == [
        "| first token, p50, ms, a model | 10.0 | 20.0 | 2.00 |",
        "| first token, p95, ms, a model | 20.0 | 30.0 | 1.50 |",
    ]
    assert "99 tokens/s; 3 clients with the same chats: 100; a ratio of 0.99" in told[5]
    assert told[-2:] == ["| 100 | 0.5 | 1.0 |", "| 50,000 | 60.0 | 1.5 |"]


def test_switching_is_told_by_the_round_in_the_middle() -> None:
    rounds = [
        Round(Turn(10.0, 1.0, 2, 0), Turn(10.0 * ratio, 4.0, 9, failed))
        for ratio, failed in ((1.5, 1), (1.1, 0), (1.2, 2))
    ]
    *_, grouped, in_turn, _, ratio = table(rounds).splitlines()
    assert grouped == "| best grouping | 10.0 | 1.0 | 2 | 0 |"
    assert in_turn == "| in turn | 12.0 | 4.0 | 9 | 3 |"
    assert ratio == "In turn takes 1.20 times as long."


def test_guesses_beside_none() -> None:
    first, second = TEXTS
    found = [
        Guessed("off", {first: 10.0, second: 20.0}, True),
        Guessed("draft model", {first: 25.0, second: 15.0}, False),
    ]
    _, _, plain, drafted = table_of_guesses(found).splitlines()
    assert plain == "| off | 10.0, 1.00 | 20.0, 1.00 | yes |"
    assert drafted == "| draft model | 25.0, 2.50 | 15.0, 0.75 | no |"
