"""A stream beside clients that send hostile grammars: how long does it stand still?

    python -m benchmarks.grammars [--seconds 20] [--only GBNF]    the table for docs/performance.md

One client reads a long stream; others send schemas, patterns and grammars, each kind for so many seconds, as
fast as they are answered. What counts is the longest time between two tokens of the stream, and the time that
another client's new, small schema took.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import itertools
import json
import multiprocessing
import os
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Event
from typing import Any

from benchmarks.processes import Server, free_port, machine, python

Body = dict[str, Any]
MODEL = "gpt-4"  # the name by which the one model of a server is known, whatever it is
CLIENTS = 4
PROCESSES = multiprocessing.get_context("spawn")
KEYS = ("key-of-the-stream", "key-of-the-attack")


def _references(number: int) -> Body:
    inner = {f"d{at}": {"$ref": f"#/$defs/d{at + 1}"} for at in range(1_500)}
    last = {"type": "string", "maxLength": 1 + number % 9_000}
    return {"guided_json": {"$ref": "#/$defs/d0", "$defs": {**inner, "d1500": last}}}


def _properties(number: int) -> Body:
    """As large as is compiled within the bound."""
    return {
        "guided_json": {
            "type": "object",
            "properties": {f"p{at}_{number}": {} for at in range(600)},
        }
    }


def _alternatives(number: int) -> Body:
    words = " | ".join(f'"w{at}x{number}"' for at in range(3_000))
    return {"grammar": f"start: ({words})+"}


def _rules(number: int) -> Body:
    rules = "\n".join(f'r{at} ::= "a" r{at + 1}' for at in range(1_900))
    return {"grammar": f'root ::= r0\n{rules}\nr1900 ::= "b{number}"'}


def _multiples(number: int) -> Body:
    return {"guided_json": {"type": "integer", "multipleOf": 1_001 + number % 999}}


def _intersections(number: int) -> Body:
    patterns = [{"pattern": f"[a-z]*{at}{number}[a-z]*"} for at in range(30)]
    return {"guided_json": {"type": "string", "allOf": patterns}}


def _ambiguous(number: int) -> Body:
    """Quick to compile, and slower with each token."""
    return {"grammar": f'start: e\ne: e e | e e e | /[a-z ]{{1,{9 + number % 50}}}/ | "x"'}


def _patterns(number: int) -> Body:
    return {"guided_regex": f"(a|b)*a(a|b){{{500 + number % 100}}}(c?d?e?f?){{60}}"}


def _pairs(number: int) -> Body:
    """Slow to compile, and yet within the bound."""
    pairs = [
        {
            "type": "object",
            "properties": {f"a{first}": {"type": "integer"}, f"b{second}{number}": {}},
        }
        for first in range(10)
        for second in range(10)
    ]
    return {"guided_json": {"type": "object", "properties": {"x": {"anyOf": pairs}}}}


def _choices(number: int) -> Body:
    return {"guided_choice": [f"choice {at} of {number}" for at in range(1_000)]}


KINDS: tuple[tuple[str, Callable[[int], Body]], ...] = (
    ("1,500 references in turn", _references),
    ("objects of 600 properties", _properties),
    ("3,000 alternatives, repeated", _alternatives),
    ("1,900 rules of GBNF in turn", _rules),
    ("multiples of 1,001 and more", _multiples),
    ("30 patterns at once", _intersections),
    ("ambiguous rules", _ambiguous),
    ("patterns with many states", _patterns),
    ("1,000 choices", _choices),
    ("one of 100 objects", _pairs),
)


class Attack:
    """Clients that send one kind until they are stopped: in a process of their own, since what they make of
    their bodies would hold up the threads here that measure."""

    def __init__(self, port: int, make: Callable[[int], Body]) -> None:
        self.answers = Counter[int]()
        self._counts: Queue[Counter[int]] = PROCESSES.Queue()
        self._over = PROCESSES.Event()
        self._process = PROCESSES.Process(
            target=_flood, args=(port, make, self._over, self._counts)
        )

    def __enter__(self) -> Attack:
        self._process.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.answers = self._counts.get(timeout=60)
        self._process.join()


def _flood(
    port: int, make: Callable[[int], Body], over: Event, counts: Queue[Counter[int]]
) -> None:
    answers, numbers = Counter[int](), itertools.count()

    def client() -> None:
        while not over.is_set():
            body = {"model": MODEL, "prompt": "Go", "max_tokens": 40, **make(next(numbers))}
            answers[ask(port, KEYS[1], body)[0]] += 1

    threads = [threading.Thread(target=client) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counts.put(answers)


def ask(port: int, key: str, body: Body) -> tuple[int, float]:
    """The status of an answer, and how long it took in seconds."""
    began = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    connection.request("POST", "/v1/completions", json.dumps(body), headers)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status, time.perf_counter() - began


def gaps(port: int, seconds: float) -> Iterator[float]:
    """The times between the tokens of one stream after the other, in seconds."""
    _first_in_line()
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        headers = {"Authorization": f"Bearer {KEYS[0]}", "Content-Type": "application/json"}
        body = {
            "model": MODEL,
            "prompt": "Once",
            "max_tokens": 900,
            "ignore_eos": True,
            "stream": True,
        }
        connection.request("POST", "/v1/completions", json.dumps(body), headers)
        answer, before = connection.getresponse(), 0.0
        if answer.status != 200:
            raise RuntimeError(f"the stream was answered {answer.status}: {answer.read(300)!r}")
        for line in answer:
            now = time.perf_counter()
            if line.startswith(b"data: {"):
                if before:
                    yield now - before
                before = now
            if now > until:
                break
        connection.close()


def _first_in_line() -> None:
    """Let this thread go before all others: it stands for a client that has a machine of its own, and is not
    to measure how long it waits for a processor. Needs root; without, gaps come out longer."""
    with contextlib.suppress(AttributeError, PermissionError):
        os.sched_setscheduler(threading.get_native_id(), os.SCHED_FIFO, os.sched_param(1))


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--seconds", type=float, default=20.0)
    arguments.add_argument("--model", help="a model file in place of the embedded one")
    arguments.add_argument("--only", default="", help="kinds with this in their name")
    options = arguments.parse_args()
    port = free_port()
    command = ["server.py", "--extensions", "openai", "--api-port", str(port), "--no-log-requests"]
    command += [
        "--model-aliases",
        MODEL,
        "--api-key",
        KEYS[1],
        "--admin-key",
        KEYS[0],
        "--parallel",
        str(CLIENTS + 2),
    ]
    server = Server(python(*command, *(["--model", options.model] if options.model else [])), port)
    try:
        ask(
            port, KEYS[0], {"model": MODEL, "prompt": "Hi", "max_tokens": 4, "guided_choice": ["a"]}
        )
        print(f"{machine()}; {CLIENTS} clients send each kind for {options.seconds:.0f} s\n")
        print("| Beside | longest gap | p99 | p50 | small schema, longest | p50 | answers |")
        print("| --- | ---: | ---: | ---: | ---: | ---: | --- |")
        print(f"| no request | {_measured(port, 'alone', options.seconds)} |  |", flush=True)
        for name, make in KINDS:
            if options.only not in name:
                continue
            with Attack(port, make) as attack:
                figures = _measured(port, name, options.seconds)
            statuses = ", ".join(f"{count} x {status}" for status, count in attack.answers.items())
            print(f"| {name} | {figures} | {statuses} |", flush=True)
    finally:
        server.stop()


def _others(port: int, name: str, over: threading.Event, times: list[float]) -> None:
    """Someone else's schemas, each a new one."""
    _first_in_line()
    number = 0
    while not over.wait(0.2):
        number += 1
        body = {
            "model": MODEL,
            "prompt": "Go",
            "max_tokens": 1,
            "guided_choice": [f"{name} {number}"],
        }
        status, spent = ask(port, KEYS[0], body)
        assert status == 200, status
        times.append(spent)


def _measured(port: int, name: str, seconds: float) -> str:
    """The columns of one row, as they are now."""
    small: list[float] = []
    over = threading.Event()
    other = threading.Thread(target=_others, args=(port, name, over, small))
    other.start()
    times = list(gaps(port, seconds))
    over.set()
    other.join()
    stream = (max(times), statistics.quantiles(times, n=100)[98], statistics.median(times))
    figures = (*stream, max(small), statistics.median(small))
    return " | ".join(f"{1000 * figure:.1f} ms" for figure in figures)


if __name__ == "__main__":
    main()
