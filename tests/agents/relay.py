"""Stands between an agent and the server: passes all on as it is, keeps it, and can break a connection."""

from __future__ import annotations

import http.client
import io
import json
import select
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

Body = dict[str, Any]
PIECE = 65_536
MAIN_TOOLS = 8
"""Side requests, for titles and memories, have fewer tools than this."""


@dataclass(slots=True)
class Exchange:
    """A request and what came of it."""

    path: str
    headers: Mapping[str, str]
    body: Body
    began: float
    raw: bytearray = field(default_factory=bytearray)
    """The answer as it came, its head included."""
    hung_up: bool = False
    """The agent left before the end."""
    cut: bool = False
    ended: bool = False
    sent: bytes = b""
    """The body as it came."""

    @property
    def status(self) -> int:
        """0 while there is none."""
        return int(self.raw[9:12]) if len(self.raw) > 12 else 0

    @property
    def pieces(self) -> int:
        """How many events have come."""
        return self.raw.count(b"data:")

    @property
    def is_main(self) -> bool:
        return len(self.body.get("tools") or ()) >= MAIN_TOOLS

    def answered_header(self, name: str) -> str | None:
        return self._read()[0].get(name)

    @property
    def text(self) -> str:
        return self._read()[1].decode(errors="replace")

    @property
    def events(self) -> list[Body]:
        """The JSON of the events, or the whole answer as the only one."""
        text = self.text
        if text.startswith("{"):
            return [json.loads(text)]
        lines = (line[5:].strip() for line in text.splitlines() if line.startswith("data:"))
        return [json.loads(line) for line in lines if line.startswith("{")]

    @property
    def usage(self) -> Usage | None:
        """What the server counted; None where the answer did not come to its end."""
        found = None
        for event in self.events:
            given = event.get("usage") or event.get("response", {}).get("usage")
            found = Usage.of(given) or found
        return found

    def _read(self) -> tuple[Mapping[str, str], bytes]:
        answer = http.client.HTTPResponse(_Kept(bytes(self.raw)))  # type: ignore[arg-type]
        answer.begin()
        try:
            data = answer.read()
        except http.client.IncompleteRead as cut:
            data = cut.partial
        return {name.lower(): value for name, value in answer.getheaders()}, data


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens, whatever dialect they were told in."""

    prompt: int
    cached: int

    @staticmethod
    def of(usage: Body | None) -> Usage | None:
        if not usage:
            return None
        if "prompt_tokens" in usage:
            details = usage.get("prompt_tokens_details") or {}
            return Usage(usage["prompt_tokens"], details.get("cached_tokens", 0))
        if "input_tokens_details" in usage:
            return Usage(usage["input_tokens"], usage["input_tokens_details"]["cached_tokens"])
        cached = usage.get("cache_read_input_tokens") or 0
        return Usage(usage["input_tokens"] + cached, cached)


@dataclass(frozen=True, slots=True)
class _Kept:
    """What http.client reads an answer of."""

    data: bytes

    def makefile(self, *_: object) -> io.BytesIO:
        return io.BytesIO(self.data)


class Relay:
    """A listener on a free port of this machine; `target` may change between requests."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.exchanges: list[Exchange] = []
        self._cut_at: int | None = None
        self._lock = threading.Lock()
        relay = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                relay._handle(self.request)

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def main(self) -> list[Exchange]:
        """The turns of the agent's conversation."""
        return [each for each in self.exchanges if each.is_main]

    def cut_next(self, after: int) -> None:
        """Break the next turn's connection, on both sides, after so many events of its answer."""
        self._cut_at = after

    def forget(self) -> None:
        self.exchanges.clear()
        self._cut_at = None

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handle(self, client: socket.socket) -> None:
        head, body = _request(client)
        if not head:
            return
        line, *lines = head.split("\r\n")
        headers = dict(_header(each) for each in lines)
        _method, path, _version = line.split(" ")
        exchange = Exchange(path, headers, json.loads(body) if body else {}, time.monotonic())
        exchange.sent = body
        with self._lock:
            self.exchanges.append(exchange)
        kept = [each for each in lines if _header(each)[0] != "connection"]
        sent = "\r\n".join([line, *kept, "Connection: close", "", ""]).encode("latin-1") + body
        address = urlsplit(self.target)
        try:
            with socket.create_connection((address.hostname, address.port or 80)) as server:
                server.sendall(sent)
                self._pass_on(exchange, client, server)
        except OSError:  # one of the two is gone, and the test sees what came of that
            exchange.hung_up = not exchange.ended
        finally:
            exchange.ended = True

    def _pass_on(self, exchange: Exchange, client: socket.socket, server: socket.socket) -> None:
        while True:
            ready, _, _ = select.select([client, server], [], [])
            if client in ready and not client.recv(PIECE):
                exchange.hung_up = True
                return
            if server not in ready:
                continue
            data = server.recv(PIECE)
            if not data:
                return
            exchange.raw += data
            client.sendall(data)
            with self._lock:
                after = self._cut_at
                cut = after is not None and exchange.is_main and exchange.pieces > after
                if cut:
                    self._cut_at, exchange.cut = None, True
            if cut:
                return


def _request(client: socket.socket) -> tuple[str, bytes]:
    data = bytearray()
    while b"\r\n\r\n" not in data:
        piece = client.recv(PIECE)
        if not piece:
            return "", b""
        data += piece
    head, _, body = bytes(data).partition(b"\r\n\r\n")
    text = head.decode("latin-1")
    size = int(dict(map(_header, text.split("\r\n")[1:])).get("content-length", 0))
    while len(body) < size:
        body += client.recv(PIECE)
    return text, body


def _header(line: str) -> tuple[str, str]:
    name, _, value = line.partition(":")
    return name.strip().lower(), value.strip()


def wait_for(condition: Callable[[], object], patience: float = 60) -> None:
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)
