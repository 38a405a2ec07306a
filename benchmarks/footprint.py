"""What our server takes besides time per token: memory, and seconds until the first answer."""

from __future__ import annotations

import http.client
import json
import statistics
import subprocess
import time
from dataclasses import asdict
from pathlib import Path

from .load import Plan
from .processes import ROOT, Server, python
from .servers import OURS, Floor
from .workloads import COMPLETIONS, GREEDY, STREAM, Body

MANY = 200  # clients that stream or wait
IMPORTS = "import host.main, extensions.openai.script, extensions.openai.hosts.launch"
SHORT: Body = GREEDY | {"prompt": "Hello", "max_tokens": 1}


def footprint(model: Path, parallel: int, rounds: int) -> dict[str, float]:
    """Seconds to import and until the first answer; MiB beyond the engine's, idle and with MANY clients."""
    starts = [_first_answer(model, parallel) for _ in range(rounds)]
    imports = [_import_seconds() for _ in range(rounds)]
    floor = Floor(model, parallel)
    try:
        engine = floor.measure([{**SHORT, "n_predict": 1, "stream": True}], 1)["peak_rss"]
    finally:
        floor.stop()
    server = OURS.start(model, parallel)
    try:
        _ask(server.port, SHORT)
        idle = server.rss()
        server.forget_peak()
        crowd = _crowd(server)
    finally:
        server.stop()
    return {
        "import_seconds": statistics.median(imports),
        "first_answer_seconds": statistics.median(starts),
        "idle_beyond_engine": (idle - engine) / 2**20,
        "many_clients_add": (crowd - idle) / 2**20,
    }


def _first_answer(model: Path, parallel: int) -> float:
    """Seconds from the start of the process until a completion has been answered."""
    began = time.perf_counter()
    server = OURS.start(model, parallel)
    try:
        _ask(server.port, SHORT)
        return time.perf_counter() - began
    finally:
        server.stop()


def _import_seconds() -> float:
    code = f"import time; t = time.perf_counter(); {IMPORTS}; print(time.perf_counter() - t)"
    done = subprocess.run(python("-c", code), cwd=ROOT, capture_output=True, check=True)
    return float(done.stdout)


def _crowd(server: Server) -> int:
    """The peak of memory while MANY clients stream, or wait for their turn."""
    body = GREEDY | STREAM | {"prompt": "Hello", "max_tokens": 100, "ignore_eos": True}
    plan = Plan(server.port, COMPLETIONS, [body] * MANY, MANY)
    subprocess.run(
        python("-m", "benchmarks.load"),
        cwd=ROOT,
        input=json.dumps(asdict(plan)).encode(),
        stdout=subprocess.DEVNULL,
        check=True,
    )
    return server.peak_rss()


def _ask(port: int, body: Body) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        headers = {"Content-Type": "application/json"}
        connection.request("POST", COMPLETIONS, json.dumps(body), headers)
        response = connection.getresponse()
        response.read()
        if response.status != 200:
            raise OSError(f"status {response.status}")
    finally:
        connection.close()
