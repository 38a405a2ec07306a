"""The load generator, against a server whose answers are known."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from benchmarks.load import Head, Plan, Seen, last_number, request_bytes, run
from benchmarks.trivial import TOKENS, Trivial

ONE = b'{"choices":[{"text":"a","finish_reason":"length"}],"usage":{"completion_tokens":1}}'


class Brief(asyncio.Protocol):
    """Answers each request with ONE; closes the connection after every second."""

    opened = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        Brief.opened += 1
        self._transport = transport
        self._answered = 0

    def data_received(self, data: bytes) -> None:
        self._answered += 1
        last = self._answered == 2
        close = b"Connection: close\r\n" if last else b""
        head = b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n\r\n" % (close, len(ONE))
        self._transport.write(head[:20])
        self._transport.write(head[20:] + ONE)
        if last:
            self._transport.close()


class Rude(asyncio.Protocol):
    """Hangs up."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.close()


@asynccontextmanager
async def serving(protocol: Any) -> AsyncIterator[int]:
    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def load(protocol: Any, requests: int, clients: int) -> list[Seen]:
    async with serving(protocol) as port:
        return await run(Plan(port, "/v1/completions", [{"prompt": ""}] * requests, clients))


def test_streams_are_counted_event_by_event() -> None:
    seen = asyncio.run(load(Trivial, requests=6, clients=3))
    assert len(seen) == 6
    for each in seen:
        assert (each.status, each.events, each.tokens) == (200, TOKENS, TOKENS)
        assert len(each.gaps) == TOKENS - 1
        assert 0 < each.first <= each.total


def test_connections_are_kept_as_long_as_the_server_keeps_them() -> None:
    Brief.opened = 0
    seen = asyncio.run(load(Brief, requests=4, clients=1))
    assert [(each.status, each.tokens, each.events) for each in seen] == [(200, 1, 0)] * 4
    assert Brief.opened == 2


def test_a_server_that_hangs_up_is_told() -> None:
    with pytest.raises(ConnectionError):
        asyncio.run(load(Rude, requests=1, clients=1))


def test_requests_are_written_as_http() -> None:
    plan = Plan(5001, "/v1/completions", [], 1, {"Authorization": "Bearer k"})
    head, _, body = request_bytes(plan, {"a": "é"}).partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert lines[0] == b"POST /v1/completions HTTP/1.1"
    assert b"Content-Length: %d" % len(body) in lines
    assert b"Authorization: Bearer k" in lines


def test_heads_are_read() -> None:
    head = Head(b"HTTP/1.1 503 Busy\r\nTransfer-Encoding: chunked\r\nConnection: close")
    assert (head.status, head.chunked, head.length, head.keep) == (503, True, None, False)
    head = Head(b"HTTP/1.1 200 OK\r\ncontent-length: 7")
    assert (head.status, head.chunked, head.length, head.keep) == (200, False, 7, True)


def test_the_last_usage_counts() -> None:
    def tokens(raw: bytes) -> int:
        return last_number(raw, "completion_tokens")

    assert tokens(b'{"completion_tokens":1}...{"completion_tokens": 42,"x":1}') == 42
    assert tokens(b'{"usage":null}') == 0
    assert tokens(b'"completion_tokens":null') == 0
