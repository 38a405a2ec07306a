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

from . import report
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
    if "random" in options.models and not random_model.exists():
        _tell("writing a model of 135 million random weights")
        BUILD.mkdir(parents=True, exist_ok=True)
        write_model(random_model)
    sets: dict[str, tuple[str, Path, tuple[Workload, ...]]] = {
        "embedded": ("The embedded model", EMBEDDED_MODEL, EMBEDDED),
        "random": ("135M parameters, Q8_0, random weights", random_model, RANDOM),
    }
    generator = _generator_limit()
    _tell(f"the load generator takes {generator:,.0f} events a second")
    measured: list[report.ModelResults] = []
    try:
        for key in options.models:
            title, model, workloads = sets[key]
            chosen = [each for each in workloads if options.only in (None, each.name)]
            # On a model of real size a server that answers one request at a time takes too long.
            rivals = known if key == "embedded" else known[:1]
            found = run_rounds(
                model, chosen, rivals, rounds=options.rounds, parallel=options.parallel, tell=_tell
            )
            measured.append(report.ModelResults(title, chosen, found))
        _tell("memory and start")
        feet = footprint(EMBEDDED_MODEL, options.parallel, min(options.rounds, 5))
    except (DidNotStart, OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"error: {error}")
    text = _page(measured, names, feet, generator, options, time.monotonic() - began)
    print(text)
    BUILD.mkdir(parents=True, exist_ok=True)
    raw = {found.title: found.results for found in measured} | {"footprint": feet}
    (BUILD / "results.json").write_text(json.dumps(raw, indent=1), encoding="utf-8")
    if options.write:
        report.write_into(PAGE, text)
        PLOT.write_text(report.plot(measured, names), encoding="utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="default 5")
    parser.add_argument("--parallel", type=int, default=4, help="slots of each server; default 4")
    parser.add_argument(
        "--models", nargs="+", default=["embedded", "random"], choices=["embedded", "random"]
    )
    parser.add_argument("--only", help="one workload by its name, such as streams-4")
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


def _page(
    measured: list[report.ModelResults],
    names: list[str],
    feet: dict[str, float],
    generator: float,
    options: argparse.Namespace,
    seconds: float,
) -> str:
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True
    ).stdout.strip()
    wheel = importlib.metadata.version("xllamacpp")
    parts = [
        f"Measured on {machine()}; xllamacpp {wheel}, commit {commit}; {options.rounds} interleaved rounds, "
        f"medians of them, {options.parallel} slots for every server, in {seconds / 60:.0f} minutes. The "
        f"load generator takes {generator:,.0f} events a second from a server that does nothing. Load of "
        f"the machine at the end: {os.getloadavg()[0]:.1f}.",
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
