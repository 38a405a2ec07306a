"""`make bench`: measure this server beside its peers, and write docs/performance.md."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

from . import (
    batches,
    embeddings,
    guesses,
    reading,
    report,
    store,
    switching,
    transcriptions,
    upstream,
)
from .figures import figures_of
from .footprint import footprint
from .load import Plan, Seen
from .processes import ROOT, DidNotStart, Server, ask, free_port, machine, python
from .random_model import write_model
from .rounds import run_rounds
from .servers import peers
from .workloads import EMBEDDED, RANDOM, STREAM, Workload

BUILD = ROOT / "build" / "benchmarks"
PAGE = ROOT / "docs" / "performance.md"
PAGES = {
    report.EMBEDDINGS: ROOT / "docs" / "embeddings.md",
    report.TRANSCRIPTIONS: ROOT / "docs" / "audio.md",
}
"""Where results belong that are not on that page."""
PLOT = ROOT / "docs" / "performance.svg"
EMBEDDED_MODEL = ROOT / "models" / "openedai-tiny" / "openedai-tiny.gguf"


def main() -> None:
    options = _options()
    # So that what was started is ended, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))
    began = time.monotonic()
    known = [peer for peer in peers() if options.peers is None or peer.name in options.peers]
    names = [peer.name for peer in known]
    random_model = BUILD / "random-135m.gguf"
    if {"random", "store", "batches"} & set(options.parts) and not random_model.exists():
        _tell("writing a model of 135 million random weights")
        BUILD.mkdir(parents=True, exist_ok=True)
        write_model(random_model)
    sets: dict[str, tuple[str, Path, tuple[Workload, ...]]] = {
        "embedded": ("The embedded model", EMBEDDED_MODEL, EMBEDDED),
        "random": ("135M parameters, Q8_0, random weights", random_model, RANDOM),
    }
    generator = _generator_limit()
    _tell(f"the load generator takes {generator:,.0f} events a second")
    models = [sets[part] for part in options.parts if part in sets]
    measured: list[report.ModelResults] = []
    raw: dict[str, object] = {}
    pages: list[tuple[tuple[str, str], str]] = []
    try:
        for title, model, workloads in models:
            chosen = [each for each in workloads if options.only in (None, each.name)]
            # On a model of real size a server that answers one request at a time takes too long.
            rivals = known if workloads is EMBEDDED else known[:1]
            found = run_rounds(
                model, chosen, rivals, rounds=options.rounds, parallel=options.parallel, tell=_tell
            )
            measured.append(report.ModelResults(title, chosen, found))
            raw[title] = found
        if models:
            _tell("memory and start")
            feet = footprint(EMBEDDED_MODEL, options.parallel, min(options.rounds, 5))
            raw["footprint"] = feet
            seconds = time.monotonic() - began
            text = _page(measured, names, feet, generator, options, seconds)
            pages.append((report.MODELS, text))
        if "reading" in options.parts and options.only is None:
            text, raw["reading"] = _returning()
            pages.append((report.READING, text))
        if "store" in options.parts and options.only is None:
            text, raw["store"] = _store(random_model, options)
            pages.append((report.STORE, text))
        if "upstream" in options.parts and options.only is None:
            text, raw["upstream"] = _upstreams(options.rounds)
            pages.append((report.UPSTREAM, text))
        if "switching" in options.parts and options.only is None:
            text, raw["switching"] = _switching(options.rounds)
            pages.append((report.SWITCHING, text))
        if "guesses" in options.parts and options.only is None:
            text, raw["guesses"] = _guesses(options.rounds)
            pages.append((report.GUESSES, text))
        if "embeddings" in options.parts and options.only is None:
            text, raw["embeddings"] = _embeddings(options.rounds)
            pages.append((report.EMBEDDINGS, text))
        if "transcriptions" in options.parts and options.only is None:
            if transcriptions.is_possible():
                text, raw["transcriptions"] = _transcriptions(options.rounds)
                pages.append((report.TRANSCRIPTIONS, text))
            else:
                _tell(
                    "transcriptions are left out: faster-whisper (extra `audio`) is not installed"
                )
        if "batches" in options.parts and options.only is None:
            text, raw["batches"] = _batches(random_model, options.rounds)
            pages.append((report.BATCHES, text))
    except (DidNotStart, OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"error: {error}")
    print("\n\n".join(text for _, text in pages))
    BUILD.mkdir(parents=True, exist_ok=True)
    (BUILD / "results.json").write_text(json.dumps(raw, indent=1), encoding="utf-8")
    if options.write:
        for marks, text in pages:
            report.write_into(PAGES.get(marks, PAGE), text, marks)
        if models:
            PLOT.write_text(report.plot(measured, names), encoding="utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="default 5")
    parser.add_argument("--parallel", type=int, default=4, help="slots of each server; default 4")
    parts = ["embedded", "random", "reading", "store", "upstream", "switching", "guesses"]
    parts += ["embeddings", "transcriptions", "batches"]
    parser.add_argument("--parts", nargs="+", default=parts, choices=parts, help="default: all")
    parser.add_argument("--only", help="one workload of a model by its name, such as streams-4")
    parser.add_argument(
        "--store-rows",
        type=int,
        default=1_000_000,
        help="of the full store; 0: none, as it takes minutes",
    )
    parser.add_argument("--peers", nargs="*", help="whom to compare with; default: all there are")
    parser.add_argument("--write", action="store_true", help="put the results into docs/")
    return parser.parse_args()


def _generator_limit() -> float:
    """Events a second that the load generator takes from a server that does nothing."""
    port = free_port()
    server = Server(python("-m", "benchmarks.trivial", "--port", str(port)), port)
    try:
        plan = Plan(port, "/v1/completions", [{"prompt": "", **STREAM}] * 200, 16)
        seen = [Seen(**each) for each in ask(python("-m", "benchmarks.load"), asdict(plan))]
        return figures_of(seen, server.cpu(), server.peak_rss())["tokens_per_second"]
    finally:
        server.stop()


def _returning() -> tuple[str, object]:
    """What is computed of prompts that come back, as the page shows it and as figures."""
    found = reading.measured(EMBEDDED_MODEL, _tell)
    text = f"Measured on {machine()}; commit {_commit()}, the embedded model, 4 slots, one run."
    raw = [[each.what, each.server, each.asked, each.figures] for each in found]
    return f"{text}\n\n{report.returning_table(found)}", raw


def _store(larger: Path, options: argparse.Namespace) -> tuple[str, object]:
    """What the store costs, as the page shows it and as figures."""
    costs = [
        cost
        for setup in store.setups(EMBEDDED_MODEL, larger)
        for cost in store.costs(setup, options.rounds, _tell)
    ]
    memory = store.memory()
    parts = [
        f"Measured on {machine()}; commit {_commit()}; {options.rounds} interleaved rounds, medians of them. "
        f"Load of the machine at the end: {os.getloadavg()[0]:.1f}.",
        report.store_table(costs),
        f"A server takes {memory.after - memory.before:.0f} MiB more once it stores; the first stored chat "
        f"takes {memory.first:.0f} ms.",
    ]
    raw: list[object] = [
        [cost.setup.what, cost.setup.synchronous, cost.workload.name, cost.plain, cost.stored]
        for cost in costs
    ]
    if options.store_rows:
        full = store.reads_of_a_full_one(options.store_rows, _tell)
        parts.append(report.reads_table(full))
        raw.append(full.reads)
    return "\n\n".join(parts), raw


def _upstreams(rounds: int) -> tuple[str, object]:
    """What another server costs, as the page shows it and as figures."""
    _tell("other servers")
    found = upstream.prices(rounds)
    text = (
        f"Measured on {machine()}; commit {_commit()}; the least of {rounds} rounds. Load of the machine at "
        f"the end: {os.getloadavg()[0]:.1f}."
    )
    return f"{text}\n\n{upstream.table(found)}", {
        name: asdict(each) for name, each in found.items()
    }


def _switching(rounds: int) -> tuple[str, object]:
    """What clients that change models cost, as the page shows it and as figures."""
    _tell("models on request")
    found = list(switching.rounds_of(rounds))
    text = (
        f"Measured on {machine()}; commit {_commit()}; the middle of {rounds} rounds. Load of the machine at "
        f"the end: {os.getloadavg()[0]:.1f}."
    )
    return f"{text}\n\n{switching.table(found)}", [asdict(each) for each in found]


def _guesses(rounds: int) -> tuple[str, object]:
    """What guessing ahead is worth, as the page shows it and as figures."""
    found = guesses.measured(BUILD, rounds, _tell)
    text = (
        f"Measured on {machine()}; commit {_commit()}; 135M parameters, one client, the middle of {rounds} "
        f"rounds. Load of the machine at the end: {os.getloadavg()[0]:.1f}."
    )
    return f"{text}\n\n{guesses.table(found)}", [asdict(each) for each in found]


def _embeddings(rounds: int) -> tuple[str, object]:
    """What an embedding costs beside llama-server, as the page shows it and as figures."""
    found, memory = embeddings.measured(rounds, _tell)
    text = (
        f"Measured on {machine()}; commit {_commit()}; one thread each; the middle of {rounds} rounds. Load "
        f"of the machine at the end: {os.getloadavg()[0]:.1f}."
    )
    raw = {
        each.load.name: [list(map(asdict, side)) for side in (each.ours, each.theirs)]
        for each in found
    }
    return f"{text}\n\n{embeddings.table(found)}\n\n{embeddings.memory_line(memory)}", raw


def _transcriptions(rounds: int) -> tuple[str, object]:
    """What a transcription costs beside faster-whisper, as the page shows it and as figures."""
    found = transcriptions.measured(rounds, _tell)
    text = (
        f"Measured on {machine()}; commit {_commit()}; one thread; the middle of {rounds} rounds."
    )
    return f"{text}\n\n{transcriptions.table(found)}", list(map(asdict, found))


def _batches(larger: Path, rounds: int) -> tuple[str, object]:
    """What a batch costs others and gets, as the page shows it and as figures."""
    _tell("batches")
    began = time.monotonic()
    models = {"the embedded model": EMBEDDED_MODEL, "135M parameters": larger}
    found = batches.measured(models, rounds)
    text = (
        f"Measured on {machine()}; commit {_commit()}; {batches.SLOTS} slots, {rounds} rounds, in "
        f"{(time.monotonic() - began) / 60:.0f} minutes. Load of the machine at the end: "
        f"{os.getloadavg()[0]:.1f}."
    )
    return f"{text}\n\n{batches.table(found)}", asdict(found)


def _commit() -> str:
    return subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True
    ).stdout.strip()


def _page(
    measured: list[report.ModelResults],
    names: list[str],
    feet: dict[str, float],
    generator: float,
    options: argparse.Namespace,
    seconds: float,
) -> str:
    wheel = importlib.metadata.version("xllamacpp")
    parts = [
        f"Measured on {machine()}; xllamacpp {wheel}, commit {_commit()}; {options.rounds} interleaved "
        f"rounds, medians of them, {options.parallel} slots for every server, in {seconds / 60:.0f} "
        f"minutes. The load generator takes {generator:,.0f} events a second from a server that does "
        f"nothing. Load of the machine at the end: {os.getloadavg()[0]:.1f}.",
        "![Tokens per second](performance.svg)",
    ]
    for found in measured:
        shown = names if found.title.startswith("The embedded") else names[:1]
        parts += [
            f"### {found.title}",
            "How fast, and how many times as fast as others (above 1 is faster):",
            report.speed_table(found, shown),
            "Milliseconds, p50 / p99:",
            report.latency_table(found, shown),
            "What a server costs beyond the engine that runs inside of it:",
            report.cost_table(found, shown),
            "Prompts that no server has read, all of which begin alike: tokens computed, and seconds:",
            report.reading_table(found, names[:1]),
            report.long_stream_line(found, shown),
        ]
    parts += [
        "### Memory and start, embedded model",
        "| | |\n|---|---:|\n"
        f"| RSS beyond the engine, idle | {feet['idle_beyond_engine']:.0f} MiB |\n"
        f"| 200 clients that stream or wait add | {feet['many_clients_add']:.0f} MiB |\n"
        f"| start to first answer | {feet['first_answer_seconds']:.2f} s |\n"
        f"| of which imports | {feet['import_seconds']:.2f} s |",
    ]
    return "\n\n".join(part for part in parts if part)


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
