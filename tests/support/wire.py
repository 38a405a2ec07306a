"""HTTP over a plain socket, so that tests see the bytes that really travel."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from typing_extensions import Self

TIMEOUT = 40.0  # seconds that anything on a socket may take


@dataclass(frozen=True)
class Answer:
    """One HTTP response. `headers` has small names; a header that came twice is joined."""

    version: str
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Wire:
    """One TCP connection."""

    def __init__(
        self, port: int, host: str = "127.0.0.1", *, sock: socket.socket | None = None
    ) -> None:
        """`sock` is a connection that is there already."""
        self.port = port
        self.sock = sock or socket.create_connection((host, port), timeout=TIMEOUT)
        self._buffer = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.sock.close()

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: dict[str, str] | None = None,
        version: str = "HTTP/1.1",
    ) -> None:
        """Send a request; `body` is bytes, or a value that becomes JSON."""
        data = b"" if body is None else body if isinstance(body, bytes) else _json(body)
        lines = {"Host": f"127.0.0.1:{self.port}"}
        if body is not None:
            lines |= {"Content-Type": "application/json", "Content-Length": str(len(data))}
        lines |= headers or {}
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        self.send(f"{method} {path} {version}\r\n{head}\r\n".encode("latin-1") + data)

    def head(self) -> tuple[str, int, dict[str, str]]:
        """Read the status line and the headers of the next response."""
        head = self.until(b"\r\n\r\n").decode("latin-1")
        first, *lines = head.removesuffix("\r\n\r\n").split("\r\n")
        version, status, _ = first.split(" ", 2)
        headers: dict[str, str] = {}
        for line in lines:
            name, _, value = line.partition(": ")
            name = name.lower()
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        return version, int(status), headers

    def answer(self, *, method: str = "POST") -> Answer:
        """Read one whole response."""
        version, status, headers = self.head()
        if method == "HEAD":
            body = b""
        elif headers.get("transfer-encoding") == "chunked":
            body = b"".join(self.chunks())
        elif "content-length" in headers:
            body = self.exactly(int(headers["content-length"]))
        else:
            body = self.rest()
        return Answer(version, status, headers, body)

    def chunks(self) -> Iterator[bytes]:
        """The chunks of a chunked body, up to and without the last, empty one."""
        while True:
            size = int(self.until(b"\r\n"), 16)
            data = self.exactly(size)
            assert self.exactly(2) == b"\r\n"
            if not size:
                return
            yield data

    def until(self, mark: bytes) -> bytes:
        while mark not in self._buffer:
            self._more()
        found, _, self._buffer = self._buffer.partition(mark)
        return found + mark

    def exactly(self, count: int) -> bytes:
        while len(self._buffer) < count:
            self._more()
        found, self._buffer = self._buffer[:count], self._buffer[count:]
        return found

    def rest(self) -> bytes:
        """Everything up to the end of the connection."""
        while data := self.sock.recv(65536):
            self._buffer += data
        found, self._buffer = self._buffer, b""
        return found

    def _more(self) -> None:
        data = self.sock.recv(65536)
        if not data:
            raise EOFError(f"the connection ended after {self._buffer[-200:]!r}")
        self._buffer += data


def ask(port: int, method: str, path: str, body: Any = None, **headers: str) -> Answer:
    """One request on a connection of its own."""
    with Wire(port) as wire:
        wire.request(method, path, body, {k.replace("_", "-"): v for k, v in headers.items()})
        return wire.answer(method=method)


@contextmanager
def streaming(port: int, path: str, body: Any) -> Iterator[Wire]:
    """A connection on which a request was sent whose answer has not been read."""
    with Wire(port) as wire:
        wire.request("POST", path, body)
        yield wire


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()
