"""A caller with short requests beside one that floods: how much longer do the short ones take?

    python -m benchmarks.fairness            the table for docs/performance.md

One caller sends short requests, one after the other with pauses; another keeps many long streams going
with a key of its own, or with the same one.
"""

from __future__ import annotations

import argparse
import http.client
import json
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass

from benchmarks.processes import ROOT, Server, free_port, machine, python

FLOOD, SHORT = "key-of-the-flood", "key-of-the-short"
SHORT_TOKENS, LONG_TOKENS = 16, 400
PAUSE = 0.03  # seconds between two short requests
BUDGET, ENOUGH = 15.0, 8  # seconds for a case in a round, after which so many requests are enough


@dataclass(frozen=True)
class Case:
    """Who floods, and how the server is set."""

    name: str
    key: str
    clients: int
    user: str | None = None
    options: tuple[str, ...] = ()


CASES = (
    Case("no others", FLOOD, 0),
    Case("64 streams of another key", FLOOD, 64),
    Case("64 streams with the same key, distinguished by `user`", SHORT, 64, "short"),
    Case(
        "64 streams of another key, `--spare-seconds 0`", FLOOD, 64, None, ("--spare-seconds", "0")
    ),
    Case("64 streams with the same key, not distinguished", SHORT, 64),
)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--requests", type=int, default=200)
    arguments.add_argument("--rounds", type=int, default=3)
    options = arguments.parse_args()
    seen: dict[str, list[float]] = {case.name: [] for case in CASES}
    for _ in range(options.rounds):
        for case in CASES:
            seen[case.name] += measure(case, options.requests)
            print(f"{case.name}: {len(seen[case.name])} requests", file=sys.stderr)
    alone = _p95(seen["no others"])
    print(f"{machine()}; {options.rounds} rounds of {options.requests} requests, interleaved\n")
    print(
        "| The short caller beside | p50 | p95 | p95, times that without others |\n| --- | --- | --- | --- |"
    )
    for name, times in seen.items():
        p50, p95 = statistics.median(times), _p95(times)
        print(f"| {name} | {p50 * 1000:.1f} ms | {p95 * 1000:.1f} ms | {p95 / alone:.2f} |")


def measure(case: Case, count: int) -> list[float]:
    """How long each of `count` short requests took, in seconds."""
    port = free_port()
    server = Server(
        python(
            *("server.py", "--extensions", "openai", "--api-port", str(port)),
            *("--api-key", FLOOD, "--admin-key", SHORT, "--no-log-requests", *case.options),
        ),
        port,
    )
    flood = None
    try:
        if case.clients:
            flood = _flood(port, case)
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        times = [_ask(connection, case.user) for _ in range(5)]
        times.clear()  # the first ones warm up
        until = time.perf_counter() + BUDGET
        while len(times) < count and (time.perf_counter() < until or len(times) < ENOUGH):
            times.append(_ask(connection, case.user))
        connection.close()
        return times
    finally:
        if flood is not None:
            flood.kill()
            flood.wait()
        server.stop()


def _flood(port: int, case: Case) -> subprocess.Popen[bytes]:
    body = {
        "model": "openedai-tiny",
        "prompt": "Once upon a time",
        "max_tokens": LONG_TOKENS,
        "ignore_eos": True,
        "stream": True,
    }
    plan = {
        "port": port,
        "path": "/v1/completions",
        "bodies": [body] * 20_000,
        "clients": case.clients,
        "headers": {"Authorization": f"Bearer {case.key}"},
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.load"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(plan).encode())
    process.stdin.close()
    time.sleep(2)  # until all slots are taken and the queue is long
    return process


def _ask(connection: http.client.HTTPConnection, user: str | None) -> float:
    time.sleep(PAUSE)
    body = {
        "model": "openedai-tiny",
        "prompt": "The sky is",
        "max_tokens": SHORT_TOKENS,
        "ignore_eos": True,
        "user": user,
    }
    headers = {"Authorization": f"Bearer {SHORT}", "Content-Type": "application/json"}
    began = time.perf_counter()
    connection.request("POST", "/v1/completions", json.dumps(body), headers)
    answer = connection.getresponse()
    data = answer.read()
    spent = time.perf_counter() - began
    if answer.status != 200:
        raise RuntimeError(f"a short request was answered {answer.status}: {data[:200]!r}")
    return spent


def _p95(times: list[float]) -> float:
    return statistics.quantiles(times, n=20)[-1]


if __name__ == "__main__":
    main()
