"""Embeddings a second beside llama-server of the same wheel, and the memory of 2,048 inputs.

    python -m benchmarks --parts embeddings           as a part of `make bench`
    python -m benchmarks.embeddings --rounds 3        alone

The model is a random BERT of 6 layers and 384 numbers. Both servers have four slots and as many threads, and
are asked in turn; each ratio is taken within a round. Threads that wait for each other spin, so processor
time is what the work costs only with one thread.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.load import Plan, Seen
from benchmarks.processes import ROOT, Server, ask, free_port, machine, python
from tests.support.random_bert import WORDS, write_bert

BUILD = ROOT / "build" / "benchmarks"
WIDTH, CONTEXT = 384, 512
WORDS_IN_TEXT, WORDS_IN_LONG_TEXT = 24, 120
MANY = 2048
THREADS = 1


def text(number: int, words: int = WORDS_IN_TEXT) -> str:
    """Words of the model's vocabulary; others for another number."""
    picks = ((number + at * (number % 7 + 3)) % len(WORDS) for at in range(words))
    return " ".join(WORDS[pick] for pick in picks)


def _one(number: int) -> Any:
    return text(number)


def _list(number: int) -> Any:
    return [text(64 * number + at) for at in range(64)]


def _long_list(number: int) -> Any:
    return [text(16 * number + at, WORDS_IN_LONG_TEXT) for at in range(16)]


@dataclass(frozen=True, slots=True)
class Load:
    """So many requests by so many clients, with so many inputs each."""

    name: str
    clients: int
    requests: int
    inputs: int
    made: Callable[[int], Any]


LOADS = (
    Load("one text, 1 client", 1, 128, 1, _one),
    Load("one text, 16 clients", 16, 256, 1, _one),
    Load("lists of 64, 1 client", 1, 4, 64, _list),
    Load("lists of 16 long texts, 1 client", 1, 2, 16, _long_list),
)


@dataclass(frozen=True, slots=True)
class Measured:
    """One load of one server: embeddings a second, and milliseconds of processor time for each."""

    speed: float
    cost: float


@dataclass(frozen=True, slots=True)
class Rounds:
    """A load, and what each round found."""

    load: Load
    ours: Sequence[Measured]
    theirs: Sequence[Measured]


def measured(
    rounds: int, tell: Callable[[str], None], threads: int = THREADS
) -> tuple[list[Rounds], float]:
    """Every load, and the MiB that 2,048 inputs in one request take besides. Raises DidNotStart."""
    BUILD.mkdir(parents=True, exist_ok=True)
    model = write_bert(BUILD / "bert-384.gguf", width=WIDTH, context=CONTEXT, heads=12)
    ours = _ours(model, threads)
    try:
        theirs = _llama_server(model, threads)
        try:
            return list(_rounds(ours, theirs, rounds, tell)), _memory(ours)
        finally:
            theirs.stop()
    finally:
        ours.stop()


def _rounds(
    ours: Server, theirs: Server, rounds: int, tell: Callable[[str], None]
) -> Sequence[Rounds]:
    found = []
    for load in LOADS:
        tell(f"embeddings: {load.name}")
        pairs = [(_measured(load, ours), _measured(load, theirs)) for _ in range(rounds)]
        found.append(Rounds(load, [one for one, _ in pairs], [other for _, other in pairs]))
    return found


def table(found: Sequence[Rounds]) -> str:
    """The middle of all rounds, and of their ratios."""
    rows = [
        "| Load | Embeddings a second: ours | llama-server | ratio | ms of processor time: ours | "
        "llama-server | ratio |",
        "| --- |" + " ---: |" * 6,
    ]
    for each in found:
        speeds = [[one.speed for one in side] for side in (each.ours, each.theirs)]
        costs = [[one.cost for one in side] for side in (each.ours, each.theirs)]
        cells = (*_three(*speeds, digits=0), *_three(*costs, digits=1))
        rows.append(f"| {each.load.name} | {' | '.join(cells)} |")
    return "\n".join(rows)


def _three(ours: Sequence[float], theirs: Sequence[float], *, digits: int) -> tuple[str, str, str]:
    ratio = statistics.median(one / other for one, other in zip(ours, theirs, strict=True))
    middles = [f"{statistics.median(each):.{digits}f}" for each in (ours, theirs)]
    return middles[0], middles[1], f"{ratio:.2f}"


def memory_line(mebibytes: float) -> str:
    """What 2,048 inputs take."""
    return f"{MANY:,} inputs in one request take {mebibytes:.0f} MiB at most."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=THREADS, help="of each server")
    options = parser.parse_args()
    found, memory = measured(
        options.rounds, lambda line: print(line, file=sys.stderr), options.threads
    )
    print(f"{machine()}; middle of {options.rounds} rounds\n\n{table(found)}\n")
    print(memory_line(memory))


def _ours(model: Path, threads: int) -> Server:
    port = free_port()
    command = python(
        *("server.py", "--extensions", "openai", "--api-port", str(port), "--no-log-requests"),
        *("--embedding-model", str(model), "--usage-days", "0", "--threads", str(threads)),
    )
    return Server(command, port)


def _llama_server(model: Path, threads: int) -> Server:
    port = free_port()
    command = python("-m", "benchmarks.llama_server", "--model", str(model), "--port", str(port))
    flags = ("--parallel", "4", "--embeddings", "--threads", str(threads))
    return Server([*command, *flags], port)


def _measured(load: Load, server: Server) -> Measured:
    bodies = [_body(load.made(number)) for number in range(load.requests)]
    plan = Plan(server.port, "/v1/embeddings", bodies, load.clients)
    before = server.cpu()
    seen = [Seen(**each) for each in ask(python("-m", "benchmarks.load"), asdict(plan))]
    assert {each.status for each in seen} == {200}
    count = load.requests * load.inputs
    seconds = max(each.start + each.total for each in seen)
    return Measured(count / seconds, 1000 * (server.cpu() - before) / count)


def _body(given: Any) -> dict[str, Any]:
    return {"model": "gpt-3.5-turbo", "input": given, "encoding_format": "base64"}


def _memory(server: Server) -> float:
    """How many MiB more the largest request takes."""
    body = _body([text(number) for number in range(MANY)])
    plan = Plan(server.port, "/v1/embeddings", [body], 1)
    ask(python("-m", "benchmarks.load"), asdict(plan))
    before = server.rss()
    server.forget_peak()
    ask(python("-m", "benchmarks.load"), asdict(plan))
    return (server.peak_rss() - before) / 2**20


if __name__ == "__main__":
    main()
