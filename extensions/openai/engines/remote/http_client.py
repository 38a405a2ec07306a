"""HTTP to another server: pooled connections that stay open, and that notice at once when no client waits for
the answer any more.

Nothing is sent twice, but for one case: a connection that was kept open and that the server had closed.
"""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import httpcore

from ..callback_bridge import TICK_S
from .address import Address

KEEPALIVE_S = 30.0  # that an idle connection stays open
SENDING_S = 60.0
FINISHING_S = 0.1


class ReaderLeft(Exception):
    """The client no longer waits for the answer."""


class Silent(Exception):
    """Nothing has come for too long."""


class Unreachable(Exception):
    """There is no connection, or it broke; the message says how, without an address."""


class LongBody(Protocol):
    """A body that is made while it is sent; its length is known, and it can be read twice."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[bytes]: ...


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds."""

    connect: float = 5.0
    first: float = 300.0
    """Until the answer begins."""
    silence: float = 120.0
    """Between two parts of an answer."""


@dataclass(slots=True)
class _Exchange:
    """One request and its answer, in the thread that reads it."""

    left: Callable[[], bool]
    deadline: float
    is_reused: bool = False
    """Its connection has answered earlier requests."""
    has_begun: bool = False
    """A byte of the answer has come."""


@dataclass(frozen=True, slots=True)
class Reply:
    """The head of an answer, and its body as it comes."""

    status: int
    headers: Mapping[str, str]
    """By their names in small letters."""
    body: Iterator[bytes] = field(repr=False)
    _exchange: _Exchange = field(repr=False)

    def finish(self) -> None:
        """Read what is left of an answer that has said all, so that its connection can be used again; unless
        that takes long."""
        self._exchange.deadline = time.monotonic() + FINISHING_S
        try:
            for _ in self.body:
                pass
        except httpcore.ReadTimeout:
            return  # leaving the block closes the connection

    @property
    def is_json(self) -> bool:
        return "json" in self.headers.get("content-type", "") and not self.is_ndjson

    @property
    def is_ndjson(self) -> bool:
        kind = self.headers.get("content-type", "")
        return any(word in kind for word in ("ndjson", "jsonl", "json-seq", "stream+json"))


class _Here(threading.local):
    exchange: _Exchange | None = None


class HttpClient:
    """All connections to one server. Thread-safe."""

    def __init__(
        self,
        address: Address,
        headers: Mapping[str, str],
        timeouts: Timeouts = Timeouts(),
        *,
        ca_file: str | None = None,
    ) -> None:
        self.address = address
        self._headers = {
            "Host": address.authority,
            "User-Agent": "openedai",
            "Accept-Encoding": "identity",
            **headers,
        }
        self._timeouts = timeouts
        self._here = _Here()
        context = None
        if address.scheme == "https":
            context = ssl.create_default_context(cafile=ca_file)
        self._pool = httpcore.ConnectionPool(
            ssl_context=context,
            max_connections=None,
            keepalive_expiry=KEEPALIVE_S,
            uds=address.socket,
            network_backend=_Network(self._here),
        )
        self._lock = threading.Lock()
        self._under_way = 0
        self._is_retired = False
        self._extensions = {"timeout": {"connect": timeouts.connect, "write": SENDING_S}}

    @contextmanager
    def request(
        self,
        method: str,
        path: str,
        body: bytes | LongBody | None = None,
        *,
        left: Callable[[], bool] = lambda: False,
        headers: Mapping[str, str] | None = None,
    ) -> Iterator[Reply]:
        """Send a request, and yield the answer, which is read in this thread. Leaving the block before its
        end closes the connection. `left` is called after each TICK_S of silence; True means that no client
        waits.

        Raises ReaderLeft, Silent, Unreachable, here and while the body is read.
        """
        exchange = _Exchange(left, time.monotonic() + self._timeouts.first)
        outer, self._here.exchange = self._here.exchange, exchange
        with self._lock:
            self._under_way += 1
        try:
            with self._opened(exchange, method, path, body, headers or {}) as response:
                exchange.deadline = time.monotonic() + self._timeouts.silence
                found = {k.decode().lower(): v.decode("latin-1") for k, v in response.headers}
                parts = self._read(exchange, response)
                yield Reply(response.status, found, parts, exchange)
        except (httpcore.ReadTimeout, httpcore.ConnectTimeout, httpcore.WriteTimeout) as error:
            raise Silent from error
        except (httpcore.NetworkError, httpcore.ProtocolError, OSError) as error:
            raise Unreachable(type(error).__name__) from error
        finally:
            self._here.exchange = outer
            with self._lock:
                self._under_way -= 1
            self._close_if_done()

    @contextmanager
    def _opened(
        self,
        exchange: _Exchange,
        method: str,
        path: str,
        body: bytes | LongBody | None,
        headers: Mapping[str, str],
    ) -> Iterator[httpcore.Response]:
        url = httpcore.URL(
            scheme=self.address.scheme.encode(),
            host=self.address.host.encode(),
            port=self.address.port,
            target=(self.address.path + path).encode(),
        )
        sent = [*self._headers.items(), *headers.items()]
        if body is not None:
            sent.append(("Content-Length", str(len(body))))
        request = httpcore.Request(
            method, url, headers=sent, content=body, extensions=self._extensions
        )
        try:
            response = self._pool.handle_request(request)
        except (httpcore.NetworkError, httpcore.RemoteProtocolError):
            # It was kept open for too long, and the server had closed it.
            if not exchange.is_reused or exchange.has_begun:
                raise
            response = self._pool.handle_request(request)
        try:
            yield response
        finally:
            response.close()

    def _read(self, exchange: _Exchange, response: httpcore.Response) -> Iterator[bytes]:
        for data in response.iter_stream():
            exchange.deadline = time.monotonic() + self._timeouts.silence
            yield data

    def retire(self) -> None:
        """Close the connections once the requests under way have ended."""
        self._is_retired = True
        self._close_if_done()

    def _close_if_done(self) -> None:
        if self._is_retired and not self._under_way:
            self._pool.close()

    def close(self) -> None:
        self._pool.close()


class _Network(httpcore.NetworkBackend):
    """Connections that know the request they are used for."""

    def __init__(self, here: _Here) -> None:
        self._here = here
        self._inner = httpcore.SyncBackend()

    def connect_tcp(self, *args: Any, **kwargs: Any) -> httpcore.NetworkStream:
        return _Stream(self._inner.connect_tcp(*args, **kwargs), self._here)

    def connect_unix_socket(self, *args: Any, **kwargs: Any) -> httpcore.NetworkStream:
        return _Stream(self._inner.connect_unix_socket(*args, **kwargs), self._here)


class _Stream(httpcore.NetworkStream):
    def __init__(self, inner: httpcore.NetworkStream, here: _Here) -> None:
        self._inner, self._here = inner, here
        self._has_answered = False

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        exchange = self._here.exchange
        assert exchange is not None
        while True:
            try:
                data = self._inner.read(max_bytes, TICK_S)
            except httpcore.ReadTimeout:
                if exchange.left():
                    raise ReaderLeft from None
                if time.monotonic() > exchange.deadline:
                    raise
                continue
            self._has_answered = exchange.has_begun = True if data else exchange.has_begun
            return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if self._here.exchange is not None:
            self._here.exchange.is_reused = self._has_answered
        self._inner.write(buffer, timeout)

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, timeout), self._here)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)
