"""What the store costs: chats with it and without, on one server; memory; reading from a full one.

Short chats are asked of one server with `store: true` and without, in turn, and each ratio is taken within a
round. Without a model, which takes no time itself, all that the store costs is seen; with one what of that is
left beside it.
"""

from __future__ import annotations

import http.client
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import insert

from extensions.openai.settings import Settings
from extensions.openai.state.objects import count
from extensions.openai.state.store import Store
from extensions.openai.state.tables import chat_completion_metadata, chat_completions

from .figures import Figures, figures_of, percentile
from .load import Plan, Seen
from .processes import Server, ask, free_port, python
from .workloads import STORED, Body, Workload

AT_ONCE = 2000
"""Rows that one transaction makes."""
READS = 300
"""Of each kind, spread over all rows."""
WARM_UP = 50


@dataclass(frozen=True, slots=True)
class Setup:
    """A server whose chats are stored or not."""

    what: str
    arguments: tuple[str, ...]
    share: int
    """It is asked one in so many of a workload's requests: it would take too long over all."""
    synchronous: str = "normal"


@dataclass(frozen=True, slots=True)
class Cost:
    """Rounds of one workload on one server, each with a turn without the store and one with it."""

    setup: Setup
    workload: Workload
    plain: list[Figures]
    stored: list[Figures]


@dataclass(frozen=True, slots=True)
class Memory:
    """MiB of the server's process, and milliseconds that the first stored chat takes."""

    before: float
    after: float
    first: float


@dataclass(frozen=True, slots=True)
class Full:
    """A store with many rows, and the milliseconds that reads of each kind took, p50 and p99."""

    rows: int
    gibibytes: float
    reads: dict[str, tuple[float, float]]


def setups(embedded: Path, larger: Path) -> tuple[Setup, ...]:
    """No model, the embedded one, and one whose short chats take as long as those of real models do."""
    none, small = ("--loader", "echo"), ("--model", str(embedded))
    return (
        Setup("no model", none, 1),
        Setup("no model", none, 1, "full"),
        Setup("the embedded model", small, 2),
        Setup("the embedded model", small, 2, "full"),
        Setup("135M parameters", ("--model", str(larger)), 25),
    )


def costs(setup: Setup, rounds: int, tell: Callable[[str], None]) -> list[Cost]:
    """Every workload on one server. Raises DidNotStart, OSError."""
    found = [Cost(setup, workload, [], []) for workload in STORED]
    with tempfile.TemporaryDirectory() as folder:
        server = _start(Path(folder), *setup.arguments, "--store-synchronous", setup.synchronous)
        try:
            _turn(server, replace(STORED[0], requests=WARM_UP // setup.share + 1), stored=True)
            for number in range(rounds):
                for cost in found:
                    few = max(cost.workload.clients, cost.workload.requests // setup.share)
                    workload = replace(cost.workload, requests=few)
                    # Who goes first changes from round to round.
                    for stored in (False, True) if number % 2 else (True, False):
                        figures = _turn(server, workload, stored=stored)
                        (cost.stored if stored else cost.plain).append(figures)
                tell(
                    f"the store, {setup.what}, {setup.synchronous}, round {number + 1} of {rounds}"
                )
        finally:
            server.stop()
    return found


def memory() -> Memory:
    """What a process takes more once it stores."""
    with tempfile.TemporaryDirectory() as folder:
        server = _start(Path(folder), "--loader", "echo")
        try:
            one, many = STORED
            _turn(server, replace(one, requests=200), stored=False)
            before = server.rss()
            first = _turn(server, replace(one, requests=1), stored=True)["first_p50"]
            _turn(server, replace(many, requests=2000), stored=True)
            return Memory(before / 2**20, server.rss() / 2**20, first)
        finally:
            server.stop()


def reads_of_a_full_one(rows: int, tell: Callable[[str], None]) -> Full:
    """Reading from a store with so many chats of one owner."""
    with tempfile.TemporaryDirectory() as folder:
        tell(f"making {rows:,} stored chats")
        last = _fill(Path(folder), rows)
        size = sum(file.stat().st_size for file in Path(folder).iterdir())
        server = _start(Path(folder), "--loader", "echo", "--store-days", "chats=0")
        try:
            read, list = _reader(server.port), "/v1/chat/completions"
            kinds: dict[str, Callable[[int], str]] = {
                "an item": lambda n: f"{list}/{_id(n)}",
                "its messages": lambda n: f"{list}/{_id(n)}/messages",
                "a page of 20 from anywhere": lambda n: f"{list}?after={_id(n)}",
                "a page of 100 from anywhere": lambda n: f"{list}?after={_id(n)}&limit=100",
                "the newest 20": lambda n: f"{list}?order=desc",
                "20 of a model that answered every tenth":
                    lambda n: f"{list}?model=m7&after={_id(n)}",
                "20 with a pair of metadata that every thousandth has":
                    lambda n: f"{list}?metadata[rare]={n % 1000}",
                "20 with a pair that half have, from anywhere":
                    lambda n: f"{list}?metadata[half]={n % 2}&after={_id(n)}",
                "20 with two pairs":
                    lambda n: f"{list}?metadata[half]=1&metadata[rare]={n % 500 * 2 + 1}",
            }  # fmt: skip
            return Full(
                rows, size / 2**30, {what: _times(read, path, last) for what, path in kinds.items()}
            )
        finally:
            server.stop()


def _start(folder: Path, *arguments: str) -> Server:
    port = free_port()
    command = python(
        *("server.py", "--extensions", "openai", "--api-port", str(port), "--no-log-requests"),
        *("--data-folder", str(folder), *arguments),
    )
    return Server(command, port)


def _turn(server: Server, workload: Workload, *, stored: bool) -> dict[str, float]:
    """A workload's requests, stored or not."""
    bodies: list[Body] = [{**body, "store": stored} for body in workload.bodies()]
    plan = Plan(server.port, workload.path, bodies, workload.clients)
    spent = server.cpu()
    seen = [Seen(**each) for each in ask(python("-m", "benchmarks.load"), asdict(plan))]
    failed = [each.status for each in seen if each.status != 200]
    if failed:
        raise OSError(f"{workload.name}: {len(failed)} answers with status {failed[0]}")
    return figures_of(seen, server.cpu() - spent, server.rss())


def _reader(port: int) -> Callable[[str], Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def read(path: str) -> Any:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{path}: {answer.status}")
        return json.loads(body)

    return read


def _times(
    read: Callable[[str], Any], path: Callable[[int], str], last: int
) -> tuple[float, float]:
    """Milliseconds, p50 and p99."""
    times: list[float] = []
    for each in range(READS):
        asked = path(each * 7919 % last)
        began = time.perf_counter()
        read(asked)
        times.append((time.perf_counter() - began) * 1000)
    return percentile(times, 0.5), percentile(times, 0.99)


def _id(number: int) -> str:
    return f"chatcmpl-{number:032x}"


def _fill(folder: Path, rows: int) -> int:
    """Store so many chats of one owner, quickly; how many there are."""
    store = Store(Settings(data_folder=str(folder)))
    completion = {
        "id": "",
        "object": "chat.completion",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello! " * 60}}],
    }
    made = json.dumps(completion).encode()
    messages = json.dumps([{"role": "user", "content": "Say hello. " * 40}]).encode()
    for start in range(0, rows, AT_ONCE):
        numbers = range(start, min(start + AT_ONCE, rows))
        store.database.write(partial(_add, numbers=numbers, messages=messages, made=made))
    store.close()
    return rows


def _add(connection: Any, numbers: Sequence[int], messages: bytes, made: bytes) -> None:
    connection.execute(
        insert(chat_completions),
        [
            {
                "id": _id(number),
                "owner": "local",
                "created": 1_700_000_000 + number,
                "bytes": len(messages) + len(made),
                "model": f"m{number % 10}",
                "metadata": json.dumps({"half": str(number % 2), "rare": str(number % 1000)}),
                "messages": messages,
                "completion": made,
            }
            for number in numbers
        ],
    )
    connection.execute(
        insert(chat_completion_metadata),
        [
            {"owner": "local", "key": key, "value": value, "seq": number + 1}
            for number in numbers
            for key, value in (("half", str(number % 2)), ("rare", str(number % 1000)))
        ],
    )
    count(connection, "chats", "local", len(numbers), len(numbers) * (len(messages) + len(made)))
