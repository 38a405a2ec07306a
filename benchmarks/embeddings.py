"""Embeddings a second beside llama-server of the same wheel, and the memory of 2,048 inputs.

    python -m benchmarks.embeddings                   the table for docs/embeddings.md

The model is a random BERT of 6 layers and 384 numbers. Both servers are asked in turn, and each ratio is
taken within a round.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.load import Plan, Seen
from benchmarks.processes import ROOT, Server, ask, free_port, machine, python
from tests.support.random_bert import WORDS, write_bert

BUILD = ROOT / "build" / "benchmarks"
WIDTH, CONTEXT = 384, 512
WORDS_IN_TEXT = 24
MANY = 2048


def text(number: int) -> str:
    """Words of the model's vocabulary; others for another number."""
    picks = ((number + at * (number % 7 + 3)) % len(WORDS) for at in range(WORDS_IN_TEXT))
    return " ".join(WORDS[pick] for pick in picks)


def _one(number: int) -> Any:
    return text(number)


def _list(number: int) -> Any:
    return [text(64 * number + at) for at in range(64)]


@dataclass(frozen=True, slots=True)
class Load:
    """So many requests by so many clients, with so many inputs each."""

    name: str
    clients: int
    requests: int
    inputs: int
    made: Callable[[int], Any]


LOADS = (
    Load("one text, 1 client", 1, 200, 1, _one),
    Load("one text, 16 clients", 16, 800, 1, _one),
    Load("lists of 64, 1 client", 1, 8, 64, _list),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    BUILD.mkdir(parents=True, exist_ok=True)
    model = write_bert(BUILD / "bert-384.gguf", width=WIDTH, context=CONTEXT, heads=12)
    servers = {"ours": _ours(model), "llama-server": _llama_server(model)}
    try:
        print(f"{machine()}; middle of {options.rounds} rounds\n")
        print("| Load | Embeddings a second: ours | llama-server | ratio | processor time, ratio |")
        print("| --- |" + " --- |" * 4)
        for load in LOADS:
            print(_row(load, servers, options.rounds), flush=True)
        print(_memory(servers["ours"]))
    finally:
        for server in servers.values():
            server.stop()


def _ours(model: Path) -> Server:
    port = free_port()
    command = python(
        *("server.py", "--extensions", "openai", "--api-port", str(port), "--no-log-requests"),
        *("--embedding-model", str(model), "--usage-days", "0"),
    )
    return Server(command, port)


def _llama_server(model: Path) -> Server:
    port = free_port()
    command = python("-m", "benchmarks.llama_server", "--model", str(model), "--port", str(port))
    return Server([*command, "--parallel", "4", "--embeddings"], port)


def _row(load: Load, servers: dict[str, Server], rounds: int) -> str:
    speeds: dict[str, list[float]] = {name: [] for name in servers}
    costs: dict[str, list[float]] = {name: [] for name in servers}
    for _ in range(rounds):
        for name, server in servers.items():
            speed, cost = _measured(load, server)
            speeds[name].append(speed)
            costs[name].append(cost)
    ours, theirs = speeds["ours"], speeds["llama-server"]
    ratio = statistics.median(one / other for one, other in zip(ours, theirs, strict=True))
    pairs = zip(costs["ours"], costs["llama-server"], strict=True)
    cost = statistics.median(one / other for one, other in pairs)
    middle = [statistics.median(each) for each in (ours, theirs)]
    return f"| {load.name} | {middle[0]:.0f} | {middle[1]:.0f} | {ratio:.2f} | {cost:.2f} |"


def _measured(load: Load, server: Server) -> tuple[float, float]:
    """Embeddings a second, and seconds of processor time for each."""
    bodies = [_body(load.made(number)) for number in range(load.requests)]
    plan = Plan(server.port, "/v1/embeddings", bodies, load.clients)
    before = server.cpu()
    seen = [Seen(**each) for each in ask(python("-m", "benchmarks.load"), asdict(plan))]
    assert {each.status for each in seen} == {200}
    count = load.requests * load.inputs
    seconds = max(each.start + each.total for each in seen)
    return count / seconds, (server.cpu() - before) / count


def _body(given: Any) -> dict[str, Any]:
    return {"model": "gpt-3.5-turbo", "input": given, "encoding_format": "base64"}


def _memory(server: Server) -> str:
    """How much more memory the largest request takes."""
    body = _body([text(number) for number in range(MANY)])
    plan = Plan(server.port, "/v1/embeddings", [body], 1)
    ask(python("-m", "benchmarks.load"), asdict(plan))
    before = server.rss()
    server.forget_peak()
    ask(python("-m", "benchmarks.load"), asdict(plan))
    grown = (server.peak_rss() - before) / 2**20
    return f"\n{MANY:,} inputs in one request take {grown:.0f} MiB at most."


if __name__ == "__main__":
    main()
