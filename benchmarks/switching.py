"""What it costs that clients ask for two models in turn, of which one is loaded at a time:
`make bench ARGS="--parts switching"`, or `python -m benchmarks.switching`.

Eight clients send requests for one model and the other in turn; half of them begin with the other. Beside it
the best grouping of the same requests: all for one model are sent together, and once they are answered it is
unloaded for the other one. Both start with nothing loaded.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Barrier
from typing import Any

from .processes import ROOT, Server, free_port, python
from .random_model import write_model

BUILD = ROOT / "build" / "benchmarks"
NAMES = ("first", "second")
CLIENTS, REQUESTS, TOKENS = 8, 8, 16


@dataclass(frozen=True, slots=True)
class Turn:
    """One way to send the requests."""

    seconds: float
    """From the first request to the last answer."""
    longest: float
    """Seconds that one request took at most."""
    loads: int
    failed: int


@dataclass(frozen=True, slots=True)
class Round:
    """Both ways, one after the other."""

    grouped: Turn
    in_turn: Turn

    @property
    def ratio(self) -> float:
        return self.in_turn.seconds / self.grouped.seconds


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=REQUESTS, help="of each client")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--models", nargs=2, type=Path, help="files (default: 135M, random weights)"
    )
    options = parser.parse_args()
    found = []
    for each in rounds_of(options.rounds, options.requests, options.models):
        print(
            f"grouped {each.grouped}\nin turn {each.in_turn}\nratio   {each.ratio:.2f}", flush=True
        )
        found.append(each)
    print(f"\n{table(found)}")


def rounds_of(
    rounds: int, requests: int = REQUESTS, models: Sequence[Path] | None = None
) -> Iterator[Round]:
    """`requests`: of each client; `models`: two files, or those of random weights."""
    files = models or [_model(seed) for seed in (1, 2)]
    with tempfile.TemporaryDirectory() as folder:
        rows = {name: str(file.absolute()) for name, file in zip(NAMES, files, strict=True)}
        path = Path(folder) / "models.yaml"
        path.write_text(json.dumps({"models": rows}), encoding="utf-8")
        for _ in range(rounds):
            grouped = _measure(path, requests, grouped=True)
            yield Round(grouped, _measure(path, requests, grouped=False))


def table(found: Sequence[Round]) -> str:
    """The round in the middle, and what went wrong in any."""
    middle = sorted(found, key=lambda each: each.ratio)[len(found) // 2]
    lines = [
        "| | seconds | longest wait, s | loads | failed, of all rounds |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for name, turn, every in (
        ("best grouping", middle.grouped, [each.grouped for each in found]),
        ("in turn", middle.in_turn, [each.in_turn for each in found]),
    ):
        failed = sum(each.failed for each in every)
        lines.append(
            f"| {name} | {turn.seconds:.1f} | {turn.longest:.1f} | {turn.loads} | {failed} |"
        )
    return "\n".join([*lines, "", f"In turn takes {middle.ratio:.2f} times as long."])


def _model(seed: int) -> Path:
    path = BUILD / f"random-135m-{seed}.gguf"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_model(path, seed)
    return path


def _measure(models: Path, requests: int, *, grouped: bool) -> Turn:
    """A new server, and all clients at once."""
    port = free_port()
    command = python(
        *("server.py", "--loader", "upstream", "--models", str(models), "--models-max", "1"),
        *("--api-port", str(port)),
    )
    server = Server(command, port)
    try:
        gate = Barrier(CLIENTS)

        def client(at: int) -> list[float]:
            times = []
            for phase in range(requests + 1):
                name = NAMES[phase % 2]
                if phase == 0 or grouped:
                    gate.wait()
                if at % 2 <= phase < at % 2 + requests:
                    times.append(_ask(port, name))
                if grouped and gate.wait() == 0:
                    _post(port, "/internal/models/unload", {"model": name})
            return times

        began = time.perf_counter()
        with ThreadPoolExecutor(CLIENTS) as pool:
            times = [each for found in pool.map(client, range(CLIENTS)) for each in found]
        seconds = time.perf_counter() - began
        return Turn(seconds, max(times), _loads(port), sum(each < 0 for each in times))
    finally:
        server.stop()


def _post(port: int, path: str, body: object) -> Any:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1{path}",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=600) as answer:
        return json.load(answer)


def _ask(port: int, model: str) -> float:
    """Seconds of a request; below 0: it failed."""
    body = {"model": model, "prompt": "Once upon a time", "max_tokens": TOKENS}
    began = time.perf_counter()
    try:
        answered = _post(port, "/completions", body)
    except OSError:
        return -1.0
    if answered["model"] != model or not answered["usage"]["completion_tokens"]:
        return -1.0
    return time.perf_counter() - began


def _loads(port: int) -> int:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/internal/models") as answer:
        return sum(each.get("loads", 0) for each in json.load(answer)["data"])


if __name__ == "__main__":
    main()
