"""What a batch costs others, and what it gets: `make bench ARGS="--parts batches"`, or `python -m
benchmarks.batches`.

- *How fast*: a batch of short chats, and the same chats of as many clients as the batch has slots, in turn.
- *How it yields*: the first token of a client's requests, one after the other, in blocks: in every second one
  the batch beside them is paused.
- *Memory*: what a server takes for a batch of few lines and for one of many, without a model.
"""

from __future__ import annotations

import argparse
import http.client
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .figures import figures_of, percentile
from .load import Plan, Seen
from .processes import Server, ask, free_port, python
from .workloads import CHAT, GREEDY, STREAM, Body

SLOTS = 4
TOKENS = 32
LINES = 200
"""Of a batch that is beside clients."""
LONG_LINES = 2000
"""Of one that a client's requests are beside; it does not end before them."""
BLOCKS, ASKED = 6, 10
"""Of the client beside a batch: blocks of requests with it and without it, and requests of each."""
PAUSE_S = 0.05
"""Between two of its requests."""
FEW, MANY = 100, 50_000
WARMING = 2000
POLL_S = 0.02
DEADLINE_S = 900.0
ENDED = ("completed", "cancelled", "failed", "expired")


@dataclass(frozen=True, slots=True)
class Speed:
    """Tokens a second."""

    batch: float
    clients: float

    @property
    def ratio(self) -> float:
        return self.batch / self.clients


@dataclass(frozen=True, slots=True)
class FirstTokens:
    """Seconds until the first token of each request."""

    alone: Sequence[float]
    beside: Sequence[float]


@dataclass(frozen=True, slots=True)
class Memory:
    """A batch of so many lines."""

    lines: int
    seconds: float
    more: int
    """Bytes that the server took at most beyond those before it."""


@dataclass(frozen=True, slots=True)
class Found:
    """Everything that was measured; by the names of models, or in the order of rounds and lines."""

    speeds: Sequence[Speed]
    first_tokens: dict[str, FirstTokens]
    memory: Sequence[Memory]


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "models", nargs="+", type=Path, help="files; the first one is the embedded model"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--lines", type=int, nargs="*", default=[FEW, MANY], help="for memory")
    options = parser.parse_args()
    models = {each.stem: each for each in options.models}
    print(table(measured(models, options.rounds, options.lines)))


def measured(models: dict[str, Path], rounds: int, lines: Sequence[int] = (FEW, MANY)) -> Found:
    """`models`: files by names; how fast a batch is, is measured with the first one. Raises DidNotStart,
    OSError."""
    speeds: list[Speed] = []
    first_tokens = {}
    for name, file in models.items():
        with _server("--model", str(file), "--parallel", str(SLOTS)) as server:
            if not speeds:
                _speed(server.port)  # which warms up
                speeds += [_speed(server.port) for _ in range(rounds)]
            first_tokens[name] = _first_tokens(server.port)
    return Found(speeds, first_tokens, [_memory(count) for count in lines])


def table(found: Found) -> str:
    """As docs/performance.md shows it."""
    middle = sorted(found.speeds, key=lambda each: each.ratio)[len(found.speeds) // 2]
    lines = [
        "| | alone | beside a batch | ratio |",
        "| --- | ---: | ---: | ---: |",
    ]
    for name, each in found.first_tokens.items():
        for share in (0.5, 0.95):
            alone, beside = (1000 * percentile(times, share) for times in (each.alone, each.beside))
            what = f"first token, p{100 * share:.0f}, ms, {name}"
            lines.append(f"| {what} | {alone:.1f} | {beside:.1f} | {beside / alone:.2f} |")
    lines += [
        "",
        f"A batch of {LINES} short chats: {middle.batch:,.0f} tokens/s; {SLOTS - 1} clients with the same "
        f"chats: {middle.clients:,.0f}; a ratio of {middle.ratio:.2f} in the middle of "
        f"{len(found.speeds)} rounds.",
        "",
        "| lines of a batch, without a model | seconds | MiB more than before it |",
        "| ---: | ---: | ---: |",
        *(
            f"| {each.lines:,} | {each.seconds:.1f} | {each.more / 2**20:.1f} |"
            for each in found.memory
        ),
    ]
    return "\n".join(lines)


@contextmanager
def _server(*arguments: str) -> Iterator[Server]:
    """With a data folder of its own."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        port = free_port()
        command = python(
            *("server.py", "--extensions", "openai", "--api-port", str(port)),
            *("--no-log-requests", *arguments),
        )
        server = Server(command, port, environment={"OPENEDAI_DATA_FOLDER": folder})
        try:
            yield server
        finally:
            server.stop()


def _chat(number: int) -> Body:
    messages = [{"role": "user", "content": f"Say something of {number}."}]
    return GREEDY | {"messages": messages, "max_tokens": TOKENS, "ignore_eos": True}


def _speed(port: int) -> Speed:
    began = time.perf_counter()
    done = _wait(port, _begin(port, LINES))
    seconds = time.perf_counter() - began
    if done["request_counts"]["completed"] != LINES:
        raise OSError(f"a batch failed: {done}")
    plan = Plan(port, CHAT, [_chat(each) for each in range(LINES)], SLOTS - 1)
    seen = [Seen(**each) for each in ask(python("-m", "benchmarks.load"), asdict(plan))]
    clients = figures_of(seen, 0.0, 0)["tokens_per_second"]
    return Speed(done["usage"]["output_tokens"] / seconds, clients)


def _first_tokens(port: int) -> FirstTokens:
    _ask_often(port)  # which warms up
    id = _begin(port, LONG_LINES)
    alone: list[float] = []
    beside: list[float] = []
    for _ in range(BLOCKS):
        _post(port, f"/v1/internal/batches/{id}/pause", {})
        _wait_for(lambda: not _ask(port, "GET", "/v1/internal/queue")["running"])
        alone += _ask_often(port)
        if _post(port, f"/v1/internal/batches/{id}/resume", {})["status"] in ENDED:
            raise OSError("the batch beside requests was too short")
        _wait_for(lambda: _ask(port, "GET", "/v1/internal/queue")["running"] == SLOTS - 1)
        beside += _ask_often(port)
    _post(port, f"/v1/batches/{id}/cancel", {})
    _wait(port, id)
    return FirstTokens(alone, beside)


def _ask_often(port: int) -> list[float]:
    found = []
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    for number in range(ASKED):
        time.sleep(PAUSE_S)
        body = json.dumps(_chat(number) | STREAM | {"max_tokens": 8})
        began = time.perf_counter()
        connection.request("POST", CHAT, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        while (line := answer.readline()) and not _has_text(line):
            pass
        found.append(time.perf_counter() - began)
        if not line:
            raise OSError("an answer has no text")
        answer.read()
    connection.close()
    return found


def _has_text(line: bytes) -> bool:
    """Whether an event of a chat has some."""
    if not line.startswith(b"data: {"):
        return False
    choices = json.loads(line[6:])["choices"]
    return bool(choices and choices[0]["delta"].get("content"))


def _memory(lines: int) -> Memory:
    with _server("--loader", "echo") as server:
        _wait(
            server.port, _begin(server.port, WARMING)
        )  # fills the store's caches, which have a bound
        before = server.rss()
        server.forget_peak()
        began = time.perf_counter()
        done = _wait(server.port, _begin(server.port, lines))
        if done["request_counts"]["completed"] != lines:
            raise OSError(f"a batch failed: {done}")
        return Memory(lines, time.perf_counter() - began, server.peak_rss() - before)


def _begin(port: int, lines: int) -> str:
    """A batch of so many chats; its id."""
    parts = [
        b'--END\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--END\r\n',
        b'Content-Disposition: form-data; name="file"; filename="in.jsonl"\r\n\r\n',
    ]
    for number in range(lines):
        line = {"custom_id": f"{number}", "method": "POST", "url": CHAT, "body": _chat(number)}
        parts.append(json.dumps(line).encode() + b"\n")
    parts.append(b"\r\n--END--\r\n")
    kind = "multipart/form-data; boundary=END"
    file = _ask(port, "POST", "/v1/files", b"".join(parts), kind)
    new = {"input_file_id": file["id"], "endpoint": CHAT, "completion_window": "24h"}
    id: str = _post(port, "/v1/batches", new)["id"]
    return id


def _wait(port: int, id: str) -> Any:
    """The batch, once it has ended."""
    found: list[Any] = []

    def has_ended() -> bool:
        found[:] = [_ask(port, "GET", f"/v1/batches/{id}")]
        return found[0]["status"] in ENDED

    _wait_for(has_ended)
    return found[0]


def _wait_for(seen: Callable[[], bool]) -> None:
    ends = time.perf_counter() + DEADLINE_S
    while not seen():
        if time.perf_counter() > ends:
            raise OSError("a batch does not go on")
        time.sleep(POLL_S)


def _post(port: int, path: str, body: object) -> Any:
    return _ask(port, "POST", path, json.dumps(body).encode(), "application/json")


def _ask(port: int, method: str, path: str, data: bytes | None = None, kind: str = "") -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    connection.request(method, path, data, {"Content-Type": kind} if kind else {})
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    if answer.status != 200:
        raise OSError(f"{method} {path}: {answer.status} {text[:200]!r}")
    return json.loads(text)


if __name__ == "__main__":
    main()
