"""What the store costs: requests per second with it and without, and reading from a full one.

    python -m benchmarks.store                   the tables for docs/store.md
    python -m benchmarks.store --rows 0          without the full store, whose making takes minutes

Short chats are asked of one server with `store: true` and without, in turn, and each ratio is taken within a
round. On the echo engine, which takes no time itself, all that the store costs is seen; on the embedded model
what of that is left beside a model.
"""

from __future__ import annotations

import argparse
import http.client
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import insert

from benchmarks.load import Plan, Seen
from benchmarks.processes import Server, ask, free_port, machine, python
from extensions.openai.settings import Settings
from extensions.openai.state.objects import count
from extensions.openai.state.store import Store
from extensions.openai.state.tables import chat_completion_metadata, chat_completions

CHAT = {"messages": [{"role": "user", "content": "Say hello to the world."}], "max_tokens": 16}
AT_ONCE = 2000
"""Rows that one transaction makes."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--requests", type=int, default=600, help="in each turn")
    parser.add_argument("--rows", type=int, default=1_000_000)
    options = parser.parse_args()
    print(f"{machine()}; middle of {options.rounds} rounds\n")
    print(
        "| Engine | Clients | Synchronous | Requests a second: plain | stored | ratio | p50: plain | stored "
        "| processor time of one: plain | stored |"
    )
    print("| --- |" + " --- |" * 9)
    for engine, arguments in (("echo", ("--loader", "echo")), ("embedded model", ())):
        for synchronous in ("normal", "full"):
            with tempfile.TemporaryDirectory() as folder:
                server = _start(Path(folder), *arguments, "--store-synchronous", synchronous)
                try:
                    for clients in (1, 8):
                        found = _compare(server, clients, options.rounds, options.requests)
                        print(f"| {engine} | {clients} | {synchronous} | {found} |", flush=True)
                finally:
                    server.stop()
    _memory()
    if options.rows:
        _read_from_a_full_one(options.rows)


def _start(folder: Path, *arguments: str) -> Server:
    port = free_port()
    command = python(
        *("server.py", "--extensions", "openai", "--api-port", str(port), "--no-log-requests"),
        *("--data-folder", str(folder), *arguments),
    )
    return Server(command, port)


def _compare(server: Server, clients: int, rounds: int, requests: int) -> str:
    """Cells: requests per second and milliseconds, plain and stored."""
    rates: dict[bool, list[float]] = {False: [], True: []}
    middles: dict[bool, list[float]] = {False: [], True: []}
    costs: dict[bool, list[float]] = {False: [], True: []}
    _load(server, clients, 50, stored=True)  # opens it
    for round in range(rounds):
        for stored in (False, True) if round % 2 else (True, False):
            before = server.cpu()
            seconds, seen = _load(server, clients, requests, stored=stored)
            costs[stored].append((server.cpu() - before) / requests * 1000)
            rates[stored].append(requests / seconds)
            middles[stored].append(statistics.median(each.total for each in seen) * 1000)
    ratios = [stored / plain for plain, stored in zip(rates[False], rates[True], strict=True)]
    cells = [f"{statistics.median(rates[stored]):.0f}" for stored in (False, True)]
    cells.append(f"{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})")
    for times in (middles, costs):
        cells += [f"{statistics.median(times[stored]):.2f} ms" for stored in (False, True)]
    return " | ".join(cells)


def _load(server: Server, clients: int, requests: int, *, stored: bool) -> tuple[float, list[Seen]]:
    body = {"model": "m", **CHAT, "store": stored, "temperature": 0}
    plan = Plan(server.port, "/v1/chat/completions", [body] * requests, clients)
    seen = [Seen(**each) for each in ask(python("-m", "benchmarks.load"), asdict(plan))]
    failed = [each.status for each in seen if each.status != 200]
    if failed:
        raise RuntimeError(f"a request was answered {failed[0]}")
    return max(each.start + each.total for each in seen), seen


def _memory() -> None:
    """What a process takes more once it stores."""
    with tempfile.TemporaryDirectory() as folder:
        server = _start(Path(folder), "--loader", "echo")
        try:
            _load(server, 1, 200, stored=False)
            before = server.rss()
            began = time.perf_counter()
            _load(server, 1, 1, stored=True)
            first = time.perf_counter() - began
            _load(server, 8, 2000, stored=True)
            print(
                f"\nMemory: {before / 2**20:.0f} MiB before anything is stored, "
                f"{server.rss() / 2**20:.0f} MiB after 2,000 were by 8 clients; the first took "
                f"{first * 1000:.0f} ms."
            )
        finally:
            server.stop()


def _read_from_a_full_one(rows: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        last = _fill(Path(folder), rows)
        size = sum(file.stat().st_size for file in Path(folder).iterdir())
        took = time.perf_counter() - began
        print(f"\n{rows:,} stored chats, {size / 2**30:.2f} GiB (made in {took:.0f} s):\n")
        server = _start(Path(folder), "--loader", "echo", "--store-days", "chats=0")
        try:
            read = _reader(server.port)
            list = "/v1/chat/completions"
            print("| What | p50 | p99 |")
            print("| --- | --- | --- |")
            for what, path in (
                ("an item", lambda n: f"{list}/{_id(n)}"),
                ("a page of 20 from anywhere", lambda n: f"{list}?after={_id(n)}"),
                ("a page of 100 from anywhere", lambda n: f"{list}?after={_id(n)}&limit=100"),
                ("the newest 20", lambda n: f"{list}?order=desc"),
                ("20 of a model that answered every tenth", lambda n: f"{list}?model=m7&after={_id(n)}"),
                ("20 with a pair that every thousandth has", lambda n: f"{list}?metadata[rare]={n % 1000}"),
                ("20 with a pair that half have, from anywhere",
                 lambda n: f"{list}?metadata[half]={n % 2}&after={_id(n)}"),
                ("20 with two pairs", lambda n: f"{list}?metadata[half]=1&metadata[rare]={n % 500 * 2 + 1}"),
                ("messages of an item", lambda n: f"{list}/{_id(n)}/messages"),
            ):  # fmt: skip
                print(f"| {what} | {_times(read, path, last)} |", flush=True)
            print(f"\nMemory after that: {server.rss() / 2**20:.0f} MiB.")
        finally:
            server.stop()


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


def _times(read: Callable[[str], Any], path: Callable[[int], str], last: int) -> str:
    """Cells: milliseconds of 300 reads, spread over all of them."""
    times: list[float] = []
    for each in range(300):
        asked = path(each * 7919 % last)
        began = time.perf_counter()
        read(asked)
        times.append((time.perf_counter() - began) * 1000)
    times.sort()
    return f"{times[150]:.1f} ms | {times[297]:.1f} ms"


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


if __name__ == "__main__":
    main()
