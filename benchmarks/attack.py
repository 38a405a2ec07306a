"""How long another client's short answers take beside hostile requests, and what each costs in memory.

    python -m benchmarks.attack [--only NAME] [--rounds 3]

Each request is sent by one client while another asks for `GET /v1/models` again and again. Printed for each:
the answer, how long it took, the other client's longest wait, and by how much the server's memory grew.
"""

from __future__ import annotations

import argparse
import http.client
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from .processes import ROOT, Server, free_port, python

MODEL = ROOT / "models" / "openedai-tiny" / "openedai-tiny.gguf"
SIZE = 19 << 20  # bytes of the largest bodies
CHAT = "/v1/chat/completions"
KEY = "key-of-the-benchmark"

Attack = Callable[[int], str]
"""Sends it to the server at a port; returns what came back, in a word."""


def _messages(element: bytes, count: int) -> bytes:
    return b'{"model":"openedai-tiny","messages":[' + b",".join([element] * count) + b"]}"


def _user(text: bytes, more: bytes = b"") -> bytes:
    return (
        b'{"model":"openedai-tiny","max_tokens":1,"messages":[{"role":"user","content":"'
        + text
        + b'"}]'
        + more
        + b"}"
    )


def bodies() -> Mapping[str, bytes]:
    """The bodies that are sent to the chat page, by what they are."""
    return {
        "a million wrong items": _messages(b"1", 1_000_000),
        "nine million wrong items": _messages(b"1", 9_000_000),
        "8,000 wrong items": _messages(b"1", 8000),
        "six million empty lists": _messages(b"[]", SIZE // 3),
        "19 MB of blanks": b" " * SIZE,
        "19 MB of blanks in a message": _user(b" " * SIZE),
        "19 MB of text": _user(b"word " * (SIZE // 5)),
        "19 MB of commas and quotes": _user(b'\\",[{:' * (SIZE // 6)),
        "lists in lists": b'{"model":"openedai-tiny","messages":' + b"[" * SIZE,
        "190,000 fields": b"{" + b",".join(b'"a%d":1' % at for at in range(190_000)) + b"}",
        "8,000 messages": _messages(b'{"role":"user","content":"a"}', 8000),
        "16,000 parts": _messages(
            b'{"role":"user","content":['
            + b",".join([b'{"type":"text","text":"a"}'] * 8000)
            + b"]}",
            2,
        ),
        "10,000 biases": _user(
            b"a", b',"logit_bias":{' + b",".join(b'"%d":"x"' % at for at in range(10_000)) + b"}"
        ),
        "32 x 1000 x 20 log-probabilities": _user(
            b"a", b',"n":32,"logprobs":true,"top_logprobs":20,"max_completion_tokens":1000'
        ).replace(b'"max_tokens":1,', b""),
    }


def _post(body: bytes) -> Attack:
    def send(port: int) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"}
        connection.request("POST", CHAT, body, headers)
        answer = connection.getresponse()
        answer.read()
        connection.close()
        return str(answer.status)

    return send


def _strangers(port: int) -> str:
    """200 clients without a key, each with a body of 19 MB."""
    head = f"POST {CHAT} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {SIZE}\r\n\r\n".encode()
    sockets = [socket.create_connection(("127.0.0.1", port)) for _ in range(200)]
    for each in sockets:
        each.sendall(head)
    found = {each.recv(12)[-3:].decode() for each in sockets}
    for each in sockets:
        each.close()
    return " ".join(sorted(found))


def _holders(port: int) -> str:
    """60 clients with the key that send 19 MB but for the last byte."""
    head = (
        f"POST {CHAT} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {KEY}\r\n"
        f"Content-Length: {SIZE}\r\n\r\n"
    ).encode()
    sockets = [socket.create_connection(("127.0.0.1", port)) for _ in range(60)]
    refused = 0
    for each in sockets:
        try:
            each.sendall(head + b" " * (SIZE - 1))
            each.settimeout(0.05)
            refused += b" 503 " in each.recv(20)
        except TimeoutError:
            pass
        except OSError:
            refused += 1
    for each in sockets:
        each.close()
    return f"503 for {refused} of 60"


def _idle(port: int) -> str:
    """900 connections that ask for nothing."""
    sockets = [socket.create_connection(("127.0.0.1", port)) for _ in range(900)]
    time.sleep(1)
    for each in sockets:
        each.close()
    return "open"


def attacks() -> Mapping[str, Attack]:
    return {
        **{name: _post(body) for name, body in bodies().items()},
        "200 strangers with 19 MB each": _strangers,
        "60 half-sent bodies of 19 MB": _holders,
        "900 idle connections": _idle,
    }


class Other:
    """The other client: short questions, one after the other."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._over = threading.Event()
        self.waits: list[float] = []
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Other:
        self._thread.start()
        time.sleep(0.3)
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=300)
        while not self._over.wait(0.01):
            began = time.monotonic()
            try:
                connection.request("GET", "/v1/models", headers={"Authorization": f"Bearer {KEY}"})
                connection.getresponse().read()
            except OSError:
                connection.close()
            self.waits.append(time.monotonic() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", help="a part of the names of those that are sent")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--model", type=Path, default=MODEL)
    options = parser.parse_args()
    port = free_port()
    command = python("server.py", "--extensions", "openai", "--model", str(options.model))
    server = Server([*command, "--api-port", str(port), "--api-key", KEY], port)
    tell = sys.stdout.write
    tell("| request | answer | seconds | longest wait of others (ms) | memory (MB) |\n")
    tell("| --- | --- | --- | --- | --- |\n")
    try:
        with Other(port) as idle:
            time.sleep(1)
        tell(f"| none | | | {1000 * max(idle.waits):.0f} | |\n")
        for name, attack in attacks().items():
            for _ in range(options.rounds if (options.only or "") in name else 0):
                server.forget_peak()
                before = server.rss()
                with Other(port) as other:
                    began = time.monotonic()
                    answer = attack(port)
                    took = time.monotonic() - began
                grown = max(0, server.peak_rss() - before) / 1e6
                tell(
                    f"| {name} | {answer} | {took:.2f} | {1000 * max(other.waits):.0f} | {grown:.0f} |\n"
                )
    finally:
        server.stop()


if __name__ == "__main__":
    main()
