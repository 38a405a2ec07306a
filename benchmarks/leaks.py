"""Thousands of mixed requests: what is left of them in the server's process?

    python -m benchmarks.leaks               the table for docs/performance.md

Valid and invalid, streamed and not, complete and hung up, over kept and new connections; after each part
the server is left alone until its idle threads have ended.
"""

from __future__ import annotations

import argparse
import json
import random
import socket
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.disconnect import LINGER_0, Watch, _body
from benchmarks.processes import Server, free_port, machine, python

REST = 14.0  # seconds after which idle threads and connections have ended
KINDS = (
    "whole",
    "stream",
    "n",
    "chat",
    "invalid",
    "not json",
    "no endpoint",
    "broken",
    "FIN",
    "RST",
)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--requests", type=int, default=3000)
    total = arguments.parse_args().requests
    port = free_port()
    server = Server(
        python("server.py", "--extensions", "openai", "--api-port", str(port), "--no-log-requests"),
        port,
    )
    try:
        print(f"{machine()}\n")
        print("| Requests so far | Memory | Threads | Open files | Running, waiting |")
        print("| --- | --- | --- | --- | --- |")
        statuses: Counter[int] = Counter()
        part = total // 6
        _row(server, port, 0)
        for at in range(6):
            statuses += _send(port, part, seed=at)
            time.sleep(REST)
            _row(server, port, (at + 1) * part)
        answers = ", ".join(
            f"{count} × {status or 'hung up'}" for status, count in statuses.items()
        )
        print(f"\nAnswers: {answers}")
    finally:
        server.stop()


def _row(server: Server, port: int, count: int) -> None:
    queue = Watch(port)()
    folder = Path(f"/proc/{server.pid}")
    threads, files = (len(list((folder / name).iterdir())) for name in ("task", "fd"))
    print(
        f"| {count} | {server.rss() / 2**20:.1f} MiB | {threads} | {files} "
        f"| {queue['running']}, {queue['waiting']} |",
        flush=True,
    )


def _send(port: int, count: int, *, seed: int) -> Counter[int]:
    chooser = random.Random(seed)
    with ThreadPoolExecutor(24) as pool:
        kinds = [chooser.choice(KINDS) for _ in range(count)]
        return Counter(pool.map(lambda kind: _one(port, kind), kinds))


def _one(port: int, kind: str) -> int:
    """The status that a request got; 0 when it was hung up on purpose."""
    with socket.create_connection(("127.0.0.1", port), timeout=120) as client:
        client.sendall(_bytes(kind))
        if kind in ("FIN", "RST"):
            time.sleep(random.random() / 20)
            if kind == "RST":
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_0)
            return 0
        data = b""
        while part := client.recv(65536):
            data += part
            head, mark, body = data.partition(b"\r\n\r\n")
            if mark and b"ontent-Length: " in head:
                length = int(head.partition(b"ontent-Length: ")[2].split(b"\r\n")[0])
                if len(body) >= length:
                    break
        return int(data.split(b" ", 2)[1])


def _bytes(kind: str) -> bytes:
    if kind == "broken":
        return b"GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n"
    if kind == "no endpoint":
        return b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n"
    if kind == "chat":
        body = {"model": "openedai-tiny", "messages": [{"role": "user", "content": "Hello"}]}
        data = json.dumps({**body, "max_tokens": 16, "stream": True}).encode()
        return _body("x").replace(b"/completions", b"/chat/completions").partition(
            b"Content-Length"
        )[0] + b"Content-Length: %d\r\n\r\n%s" % (len(data), data)
    if kind == "not json":
        return _body("x").replace(b'{"model"', b'["model"')
    if kind == "invalid":
        return _body("x", temperature=9)
    return _body(
        "Once", max_tokens=400 if kind in ("FIN", "RST") else 16, stream=kind in ("stream", "FIN"),
        n=3 if kind == "n" else 1,
    )  # fmt: skip


if __name__ == "__main__":
    main()
