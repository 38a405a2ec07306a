"""32 clients hang up at once: how long until the server has stopped generating?

    python -m benchmarks.disconnect          the table for docs/performance.md

With FIN and with RST, streamed and not; while answers are generated, while long prompts are read, and
behind answers in the queue. The time is from the first hang-up until GET /v1/internal/queue shows nothing.
"""

from __future__ import annotations

import argparse
import http.client
import json
import socket
import statistics
import time
from collections.abc import Callable
from typing import Any

from benchmarks.processes import Server, free_port, machine, python

CLIENTS = 32
LINGER_0 = b"\1\0\0\0\0\0\0\0"  # closing then sends RST
LONG_PROMPT = "The old house by the sea was quiet. " * 180


class Watch:
    """Asks for the queue, on a connection that is kept."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def __call__(self) -> Any:
        self._connection.request("GET", "/v1/internal/queue")
        return json.loads(self._connection.getresponse().read())

    def until(self, condition: Callable[[Any], bool], what: str) -> None:
        deadline = time.perf_counter() + 60
        while not condition(self()):
            if time.perf_counter() > deadline:
                raise RuntimeError(f"it did not happen: {what}")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rounds", type=int, default=7)
    rounds = arguments.parse_args().rounds
    print(f"{machine()}; {CLIENTS} clients, median and worst of {rounds} rounds\n")
    print("| State | Streamed | FIN | RST | One step of the model, before |")
    print("| --- | --- | --- | --- | --- |")
    rows: list[list[str]] = []
    for state, slots, prompt in (
        ("generating", CLIENTS, "Once upon a time"),
        ("reading the prompt", CLIENTS, LONG_PROMPT),
        ("4 generating, 28 waiting", 4, "Once upon a time"),
    ):
        port = free_port()
        server = Server(
            python(
                *("server.py", "--extensions", "openai", "--api-port", str(port)),
                *("--parallel", str(slots), "--no-log-requests"),
            ),
            port,
        )
        try:
            steps = []
            for stream in (True, False):
                cells = []
                for how in ("FIN", "RST"):
                    storms = [
                        _storm(port, prompt, stream=stream, how=how, slots=slots)
                        for _ in range(rounds)
                    ]
                    times = [each[0] for each in storms]
                    steps += [each[1] for each in storms]
                    cells.append(f"{statistics.median(times):.0f} ms, {max(times):.0f} ms")
                rows.append([state, "yes" if stream else "no", *cells])
            step = statistics.median(steps)
            for row in rows[-2:]:
                row.append(f"{step:.0f} ms" if step else "")
                print(f"| {' | '.join(row)} |", flush=True)
        finally:
            server.stop()


def _body(prompt: str, **fields: Any) -> bytes:
    body = {"model": "openedai-tiny", "prompt": prompt, "ignore_eos": True, **fields}
    data = json.dumps(body).encode()
    return (
        b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n%s" % (len(data), data)
    )


def _storm(port: int, prompt: str, *, stream: bool, how: str, slots: int) -> tuple[float, float]:
    """Milliseconds from the first hang-up until nothing runs or waits; and those of a step before it."""
    watch = Watch(port)
    sockets = []
    for at in range(CLIENTS):
        client = socket.create_connection(("127.0.0.1", port))
        client.sendall(_body(f"{at} {prompt}", max_tokens=3000 - len(prompt) // 4, stream=stream))
        sockets.append(client)
    running = min(CLIENTS, slots)
    watch.until(
        lambda queue: queue["running"] == running and queue["waiting"] == CLIENTS - running,
        "all are in",
    )
    step = 0.0 if prompt is LONG_PROMPT else _step(watch, running)
    began = time.perf_counter()
    for client in sockets:
        if how == "RST":
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_0)
        client.close()
    watch.until(lambda queue: not queue["running"] and not queue["waiting"], "all is free")
    return (time.perf_counter() - began) * 1000, step


def _step(watch: Watch, running: int) -> float:
    """Milliseconds between two tokens of each of the answers that are generated."""
    watch.until(lambda queue: _tokens(queue) > running, "all speak")
    before, began = _tokens(watch()), time.perf_counter()
    time.sleep(0.3)
    return (time.perf_counter() - began) * 1000 * running / max(1, _tokens(watch()) - before)


def _tokens(queue: Any) -> int:
    return sum(request["completion_tokens"] for request in queue["requests"])


if __name__ == "__main__":
    main()
