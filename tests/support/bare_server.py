"""A server that writes whatever a test says, right or wrong, as slowly as it likes."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

Answer = Callable[[socket.socket, str], object]


class Server:
    """A server that writes what the test says, byte by byte if it likes; it notes what it was asked."""

    def __init__(self, answer: Answer, host: str, context: ssl.SSLContext | None = None) -> None:
        self._answer = answer
        self._context = context
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.socket(family, socket.SOCK_STREAM)
        self._listener.bind((host, 0))
        self._listener.listen()
        self.port: int = self._listener.getsockname()[1]
        self.asked: list[str] = []
        self.asked_once = threading.Event()
        self.left = threading.Event()
        """Set when a client has gone while it was answered."""
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        with ExitStack() as stack:
            stack.enter_context(connection)
            try:
                if self._context is not None:
                    connection = self._context.wrap_socket(connection, server_side=True)
                    stack.enter_context(connection)
                head = b""
                while b"\r\n\r\n" not in head:
                    received = connection.recv(65536)
                    if not received:
                        return
                    head += received
                self.asked.append(head.decode())
                self.asked_once.set()
                self._answer(connection, head.decode().split(" ")[1])
            except OSError:
                self.left.set()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@contextmanager
def serving(answer: Answer | bytes, host: str = "127.0.0.1", **options: object) -> Iterator[Server]:
    def always(connection: socket.socket, target: str) -> None:
        assert isinstance(answer, bytes)
        connection.sendall(answer)

    server = Server(always if isinstance(answer, bytes) else answer, host, **options)  # type: ignore[arg-type]
    try:
        yield server
    finally:
        server.close()


def ok(body: bytes, *headers: str) -> bytes:
    lines = ["HTTP/1.1 200 OK", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def redirect(location: str, status: int = 302) -> bytes:
    head = f"HTTP/1.1 {status} Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"
    return head.encode()


def drip(*parts: bytes) -> Answer:
    """Send some parts, and then one byte after the other without end."""

    def answer(connection: socket.socket, target: str) -> None:
        for part in parts:
            connection.sendall(part)
        while True:
            connection.sendall(b"a")
            time.sleep(0.05)

    return answer
