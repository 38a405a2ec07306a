"""A small real HTTP server that answers as a test says, in the manner of other servers of models."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

Part = bytes | float
"""Bytes to send, or seconds to wait."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that came."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Any
    connection: int
    """Which of the server's connections it came on."""


@dataclass(slots=True)
class Scripted:
    """An answer."""

    parts: Sequence[Part] = ()
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    kind: str = "text/event-stream"
    framing: str = "chunked"
    """`chunked`, `length`, or `close`: the end of the connection is that of the answer."""
    is_cut: bool = False
    """Break the connection behind the last part."""


Script = Callable[[Asked], Scripted]


def event(data: Any) -> bytes:
    """One event as servers write it."""
    text = data if isinstance(data, str) else json.dumps(data)
    return f"data: {text}\n\n".encode()


DONE = event("[DONE]")


def chunk(
    delta: Mapping[str, Any] | None = None, finish: str | None = None, **more: Any
) -> dict[str, Any]:
    """A chunk of a chat."""
    choice = {"index": 0, "delta": delta or {}, "finish_reason": finish}
    return {"id": "x", "object": "chat.completion.chunk", "choices": [choice], **more}


def usage(prompt: int, completion: int) -> dict[str, int]:
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }


def streamed(
    *texts: str, prompt: int = 5, finish: str = "stop", done: bool = True, every: float = 0.0
) -> Scripted:
    """A stream of the reference, with its usage. `every`: seconds before each text."""
    parts: list[Part] = [event(chunk({"role": "assistant", "content": ""}))]
    for text in texts:
        parts += [every, event(chunk({"content": text}))]
    parts.append(event(chunk(finish=finish)))
    parts.append(event({"choices": [], "usage": usage(prompt, len(texts))}))
    return Scripted([*parts, *([DONE] if done else [])])


def whole(body: Any, status: int = 200, **headers: str) -> Scripted:
    """A JSON answer."""
    data = json.dumps(body).encode()
    return Scripted([data], status, headers, "application/json", "length")


@dataclass(frozen=True, slots=True)
class FormPart:
    """A field of a form, or a file."""

    data: bytes
    filename: str | None = None
    kind: str = ""


def form_of(data: bytes, kind: str) -> dict[str, list[FormPart]]:
    """The parts of a form by their names, as the standard library reads them."""
    message = message_from_bytes(f"Content-Type: {kind}\r\n\r\n".encode() + data)
    found: dict[str, list[FormPart]] = {}
    for part in message.walk():
        if part.is_multipart():
            continue
        name = part.get_param("name", header="content-disposition")
        payload = part.get_payload(decode=True)
        assert isinstance(payload, bytes)
        made = FormPart(payload, part.get_filename(), part.get_content_type())
        found.setdefault(str(name), []).append(made)
    return found


class FakeUpstream:
    """The server; `script` says what POST requests are answered, GET /models has `models`."""

    def __init__(self, script: Script | Scripted, *, at: Path | None = None) -> None:
        """`at`: a unix socket to listen at, instead of a port."""
        self.script: Script = script if callable(script) else lambda asked: script
        self.models: list[dict[str, Any]] = [{"id": "there", "object": "model", "created": 1}]
        self.asked: list[Asked] = []
        self.left: list[float] = []
        """When clients were found to have hung up, and how many answers were written to their end."""
        self.completed = 0
        self.health = 200
        """The status of all other GET requests."""
        self.connections = 0
        self.open_connections: set[socket.socket] = set()
        self._at = at
        self._start(0)

    def _start(self, port: int) -> None:
        fake = self

        class Handler(_Handler):
            server_of = fake

        if self._at is None:
            self._server: ThreadingHTTPServer = _Server(("127.0.0.1", port), Handler)
        else:
            self._server = _UnixServer(str(self._at), Handler)  # type: ignore[arg-type]
        self.port = self._server.server_address[1] if self._at is None else 0
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def address(self) -> str:
        return f"unix://{self._at}" if self._at else f"http://127.0.0.1:{self.port}/v1"

    @property
    def posts(self) -> list[Asked]:
        return [asked for asked in self.asked if asked.method == "POST"]

    def kill(self) -> None:
        """End it, and break its connections."""
        self._server.shutdown()
        self._server.server_close()
        for connection in list(self.open_connections):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # its client was faster

    def restart(self) -> None:
        """At the same address, after `kill`."""
        self._start(self.port)

    def __enter__(self) -> FakeUpstream:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are part of the tests."""


class _UnixServer(_Server):
    address_family = socket.AF_UNIX

    def server_bind(self) -> None:
        self.socket.bind(self.server_address)

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, _ = super().get_request()
        return connection, ("unix", 0)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = False
    server_of: FakeUpstream

    def setup(self) -> None:
        super().setup()
        self.server_of.connections += 1
        self._number = self.server_of.connections
        self.server_of.open_connections.add(self.connection)

    def finish(self) -> None:
        self.server_of.open_connections.discard(self.connection)
        super().finish()

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        self._note(None)
        if self.path.endswith("/models"):
            self._send(whole({"object": "list", "data": self.server_of.models}))
        else:
            self._send(whole({"status": "ok"}, self.server_of.health))

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        data = self.rfile.read(length)
        kind = self.headers.get("Content-Type", "")
        if kind.startswith("multipart/"):
            asked = self._note(form_of(data, kind))
        else:
            asked = self._note(json.loads(data) if data else None)
        self._send(self.server_of.script(asked))

    def _note(self, body: Any) -> Asked:
        headers = {name.lower(): value for name, value in self.headers.items()}
        asked = Asked(self.command, self.path, headers, body, self._number)
        self.server_of.asked.append(asked)
        return asked

    def _send(self, answer: Scripted) -> None:
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.kind)
        for name, value in answer.headers.items():
            self.send_header(name.replace("_", "-"), value)
        if answer.framing == "chunked":
            self.send_header("Transfer-Encoding", "chunked")
        elif answer.framing == "length":
            size = sum(len(part) for part in answer.parts if isinstance(part, bytes))
            self.send_header("Content-Length", str(size))
        else:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        try:
            for part in _timed(answer.parts):
                if answer.framing == "chunked":
                    part = b"%x\r\n%s\r\n" % (len(part), part)
                self.wfile.write(part)
                self.wfile.flush()
                if self._has_left():
                    raise BrokenPipeError
            if answer.is_cut:
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            if answer.framing == "chunked":
                self.wfile.write(b"0\r\n\r\n")
            self.server_of.completed += 1
        except OSError:
            self.server_of.left.append(time.monotonic())
            self.close_connection = True

    def _has_left(self) -> bool:
        self.connection.setblocking(False)
        try:
            return not self.connection.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        finally:
            self.connection.setblocking(True)


def _timed(parts: Sequence[Part]) -> Iterator[bytes]:
    for part in parts:
        if isinstance(part, bytes):
            yield part
        else:
            time.sleep(part)
