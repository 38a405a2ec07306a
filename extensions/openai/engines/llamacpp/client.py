"""A client for llama.cpp's own HTTP server, on a local port (as a webui starts it) or a unix socket."""

from __future__ import annotations

import http.client
import io
import socket
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import orjson

from ..callback_bridge import TICK_S
from ..failures import unreachable
from .stream_reader import to_api_error

TIMEOUT_S = 60  # for requests that need no generation

Complete = Callable[[bytes, Callable[[bytes], bool]], object]
"""Streams llama.cpp's completion: each chunk goes to the second argument, which returns True to stop. The
signature of `handle_completions` of xllamacpp's Server."""


class LlamaServer:
    """One server. Thread-safe: each request has its own connection."""

    def __init__(self, address: int | Path, key: str = "") -> None:
        """`address`: a port, or the path of a socket."""
        self._address = address
        self._headers = {"Content-Type": "application/json"}
        if key:
            self._headers["Authorization"] = f"Bearer {key}"

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """The JSON response to a request. Raises EngineFailed, or the error that llama.cpp's stands for."""
        data = None if body is None else orjson.dumps(body)
        answer = collect(lambda receive: self._send(path, data, receive, None))
        if "error" in answer:
            raise to_api_error(answer["error"], "prompt")
        return answer

    def complete(
        self,
        body: bytes,
        receive: Callable[[bytes], bool],
        tick: Callable[[], bool] = lambda: False,
    ) -> None:
        """Request a completion. `receive` gets each chunk, including errors; `tick` is called after each
        TICK_S of silence. Either returns True to end the work. Raises EngineFailed."""
        self._send("/completion", body, receive, tick)

    def _send(
        self,
        path: str,
        body: bytes | None,
        receive: Callable[[bytes], bool],
        tick: Callable[[], bool] | None,
    ) -> None:
        connection = _Connection(self._address, tick)
        try:
            method = "GET" if body is None else "POST"
            connection.request(method, path, body, self._headers)
            with connection.getresponse() as response:
                if "event-stream" not in (response.getheader("Content-Type") or ""):
                    receive(response.read())
                    return
                pass_on(response, receive)
        except _ClientLeft:
            return
        except (OSError, http.client.HTTPException) as error:
            raise unreachable() from error
        finally:
            connection.close()


def pass_on(lines: Iterable[bytes], receive: Callable[[bytes], bool]) -> None:
    """Pass the chunks of a stream to `receive`, including errors, until it returns True."""
    for line in lines:
        kind, _, data = line.partition(b": ")
        if kind in (b"data", b"error") and data.startswith(b"{") and receive(data):
            return


def chunk_of(data: bytes) -> dict[str, Any]:
    """Parse a chunk. Until autumn 2025 llama.cpp did not report the number of cached tokens."""
    chunk: dict[str, Any] = orjson.loads(data)
    timings = chunk.get("timings")
    if timings is not None and "cache_n" not in timings:
        timings["cache_n"] = max(0, chunk.get("tokens_evaluated", 0) - timings["prompt_n"])
    return chunk


def collect(ask: Callable[[Callable[[bytes], bool]], None]) -> dict[str, Any]:
    """The first chunk that `ask` passes to its receiver; an empty error if there is none."""
    answers: list[bytes] = []

    def receive(data: bytes) -> bool:
        answers.append(data)
        return False

    ask(receive)
    answer: dict[str, Any] = orjson.loads(answers[0]) if answers else {"error": {}}
    return answer


class _ClientLeft(Exception):
    """The client no longer waits for the answer."""


class _Connection(http.client.HTTPConnection):
    """HTTP that calls `tick` while it waits for data."""

    def __init__(self, address: int | Path, tick: Callable[[], bool] | None) -> None:
        self._path = None if isinstance(address, int) else address
        port = address if isinstance(address, int) else None
        super().__init__("127.0.0.1", port, timeout=TIMEOUT_S)
        self._tick = tick

    def connect(self) -> None:
        if self._path is None:
            super().connect()
        else:
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.sock.settimeout(self.timeout)
            self.sock.connect(str(self._path))
        if self._tick is not None:
            self.sock = _PollingSocket(self.sock, self._tick)


class _PollingSocket:
    """The part of a socket that http.client uses; calls `tick` after each TICK_S of silence."""

    def __init__(self, sock: socket.socket, tick: Callable[[], bool]) -> None:
        self._sock, self._tick = sock, tick
        self.sendall, self.close = sock.sendall, sock.close

    def makefile(self, mode: str) -> io.BufferedReader:
        self._sock.settimeout(TICK_S)
        return io.BufferedReader(_PollingStream(self._sock, self._tick))


class _PollingStream(io.RawIOBase):
    """The incoming data of a socket."""

    def __init__(self, sock: socket.socket, tick: Callable[[], bool]) -> None:
        self._sock, self._tick = sock, tick
        self._raw = sock.makefile("rb", buffering=0)  # keeps the socket open while it is read

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while True:
            try:
                return self._sock.recv_into(buffer)
            except TimeoutError:
                if self._tick():
                    raise _ClientLeft from None

    def close(self) -> None:
        self._raw.close()
        super().close()
