"""Rounds: every server has its turn in each, so that what slows the machine slows all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from .figures import Figures, figures_of
from .load import Plan, Seen
from .processes import Server, ask, python
from .servers import OURS, Floor, Peer
from .workloads import COMPLETIONS, Workload

Results = dict[str, dict[str, list[Figures]]]
"""For each workload and each server its figures, a round each; the floor is a server, too."""

FLOOR = "the engine alone"
ENOUGH = 1024  # tokens that tell the floor's figures


def run_rounds(
    model: Path,
    workloads: Sequence[Workload],
    peers: Sequence[Peer],
    *,
    rounds: int,
    parallel: int,
    tell: Callable[[str], None],
) -> Results:
    """Measure all servers on a model. Processor time and memory of a server are those beyond the floor's.

    Raises DidNotStart, and OSError when a server hangs up.
    """
    floor = Floor(model, parallel)
    servers: dict[Peer, Server] = {}
    results: Results = {workload.name: {} for workload in workloads}
    try:
        for peer in (OURS, *peers):
            servers[peer] = peer.start(model, parallel)
        for number in range(rounds):
            for workload in workloads:
                wanted = [peer for peer in servers if workload.standard or not peer.standard_only]
                alone = _alone(floor, workload, parallel)
                if alone is not None:
                    _add(results, workload, FLOOR, alone)
                # Who goes first changes from round to round.
                for peer in wanted if number % 2 == 0 else reversed(wanted):
                    figures = measure(servers[peer], peer, workload, alone)
                    _add(results, workload, peer.name, figures)
                tell(f"{model.stem}, round {number + 1} of {rounds}: {workload.what}")
    finally:
        floor.stop()
        for server in servers.values():
            server.stop()
    return results


def measure(server: Server, peer: Peer, workload: Workload, alone: Figures | None) -> Figures:
    """One round of one server."""
    server.forget_peak()
    spent = server.cpu()
    requests = max(workload.clients, workload.requests // peer.share)
    bodies = [peer.adapt(body) for body in workload.bodies()[:requests]]
    plan = Plan(server.port, workload.path, bodies, workload.clients)
    seen = [Seen(**each) for each in ask(python("-m", "benchmarks.load"), asdict(plan))]
    failed = [each.status for each in seen if each.status != 200]
    if failed:
        raise OSError(f"{workload.name}: {len(failed)} answers with status {failed[0]}")
    figures = figures_of(seen, server.cpu() - spent, server.peak_rss())
    if alone is not None:
        for name in ("cpu_per_1000", "cpu_per_request", "peak_rss"):
            if name in figures:
                figures[name] -= alone[name]
    return figures


def _alone(floor: Floor, workload: Workload, parallel: int) -> Figures | None:
    """The floor's figures, for what it can do: continue one prompt; a part of the work is enough."""
    first = workload.body(0)
    if (
        workload.cold
        or workload.path != COMPLETIONS
        or "n" in first
        or first["max_tokens"] > ENOUGH
    ):
        return None
    bodies = [
        {**body, "n_predict": body["max_tokens"], "stream": True}
        for body in workload.bodies()[: max(parallel, ENOUGH // first["max_tokens"])]
    ]
    # More at once than there are slots would only wait inside of the engine.
    found = floor.measure(bodies, min(workload.clients, parallel))
    return {
        "tokens_per_second": found["tokens"] / found["seconds"],
        "requests_per_second": len(bodies) / found["seconds"],
        "cpu_per_1000": 1000 * found["cpu"] / found["tokens"],
        "cpu_per_request": 1000 * found["cpu"] / len(bodies),
        "peak_rss": found["peak_rss"] / 2**20,
    }


def _add(results: Results, workload: Workload, name: str, figures: Figures) -> None:
    results[workload.name].setdefault(name, []).append(figures)
