"""The load generator: many clients on raw sockets, in a process of its own.

A plan comes as JSON on standard input, what each request saw goes as JSON to standard output.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from collections import deque
from dataclasses import asdict, dataclass, field
from typing import Any

UNFINISHED, UNFINISHED_SPACED = b'"finish_reason":null', b'"finish_reason": null'
TIMEOUT = 300.0  # seconds that a whole plan may take


@dataclass(frozen=True, slots=True)
class Plan:
    """What to send: every client takes the next body as soon as its last answer is complete."""

    port: int
    path: str
    bodies: list[dict[str, Any]]
    clients: int
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Seen:
    """What one request saw; times in seconds since it was sent, `gaps` between its events."""

    status: int = 0
    start: float = 0.0
    """When it was sent, in seconds since the plan began."""
    first: float = 0.0
    """Until the first byte of text; of an answer that is not streamed, until the first byte."""
    total: float = 0.0
    events: int = 0
    tokens: int = 0
    """As the server's own usage has it, or else its events."""
    computed: int = -1
    """Tokens of its prompt that were not cached, by the server's own usage; -1 where it tells none."""
    prompt: int = 0
    """Tokens of its prompt, by the server's own usage."""
    gaps: list[float] = field(default_factory=list)


class Head:
    """Status and framing of a response, of its bytes up to the empty line."""

    def __init__(self, raw: bytes) -> None:
        first, *lines = raw.decode("latin-1").split("\r\n")
        self.status = int(first.split(" ", 2)[1])
        headers = dict(line.lower().split(": ", 1) for line in lines if ": " in line)
        self.chunked = headers.get("transfer-encoding") == "chunked"
        self.length = int(headers["content-length"]) if "content-length" in headers else None
        self.keep = headers.get("connection") != "close"


class Client(asyncio.Protocol):
    """One client: a request at a time, its connection kept as long as the server keeps it."""

    def __init__(self, plan: Plan, waiting: deque[bytes], seen: list[Seen], began: float) -> None:
        self._plan = plan
        self._waiting = waiting
        self._all = seen
        self._began = began
        self._transport: asyncio.Transport | None = None
        self._head: Head | None = None
        self._raw = bytearray()
        self._now: Seen | None = None
        self._sent = self._last = 0.0
        self._request = b""
        self._reused = False
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        seen = self._now
        if seen is None:
            return
        self._raw += data
        if self._head is None:
            head, mark, _ = self._raw.partition(b"\r\n\r\n")
            if not mark:
                return
            self._head = Head(bytes(head))
            seen.status = self._head.status
            if not self._head.chunked:
                seen.first = now - self._sent
        if self._head.chunked:
            events = data.count(UNFINISHED) + data.count(UNFINISHED_SPACED)
            if events:
                if not seen.events:
                    # The first event of a chat may carry no text; it is counted as the first one all
                    # the same, in every server alike.
                    seen.first = now - self._sent
                else:
                    seen.gaps.append(now - self._last)
                seen.gaps.extend([0.0] * (events - 1))
                seen.events += events
                self._last = now
            if self._raw.endswith(b"\r\n0\r\n\r\n"):
                self._complete(now)
            return
        if self._head.length is not None:
            end = self._raw.index(b"\r\n\r\n") + 4 + self._head.length
            if len(self._raw) >= end:
                self._complete(now)

    def connection_lost(self, error: Exception | None) -> None:
        if self._transport is None:  # closed from this side
            return
        self._transport = None
        if self._now is not None and self._head is not None:
            self._complete(time.perf_counter())
        elif self._now is not None and self._reused:
            # It closed the connection while the request was on its way, as a server may.
            self._open()
        elif not self.done.done():
            self.done.set_exception(ConnectionError("the server hung up before it answered"))

    def begin(self) -> None:
        """Send the first request; `done` is set when there are no more."""
        self._next()

    def _next(self) -> None:
        self._head = None
        self._raw.clear()
        if not self._waiting:
            if self._transport is not None:
                self._transport.close()
                self._transport = None
            if not self.done.done():
                self.done.set_result(None)
            return
        self._request = self._waiting.popleft()
        self._now = Seen()
        self._sent = time.perf_counter()
        self._now.start = self._sent - self._began
        if self._transport is None:
            self._open()
        else:
            self._reused = True
            self._transport.write(self._request)

    def _open(self) -> None:
        self._reused = False
        self._connecting = asyncio.get_running_loop().create_task(self._connect())

    async def _connect(self) -> None:
        try:
            await asyncio.get_running_loop().create_connection(
                lambda: self, "127.0.0.1", self._plan.port
            )
        except OSError as error:
            if not self.done.done():
                self.done.set_exception(error)

    def _complete(self, now: float) -> None:
        seen, head = self._now, self._head
        assert seen is not None and head is not None
        seen.total = now - self._sent
        # Not every server sends its usage in a stream.
        raw = bytes(self._raw)
        seen.tokens = last_number(raw, "completion_tokens") or seen.events
        if b'"cached_tokens":' in raw:
            seen.prompt = last_number(raw, "prompt_tokens")
            seen.computed = seen.prompt - last_number(raw, "cached_tokens")
        elif b'"cache_read_input_tokens":' in raw:
            seen.computed = last_number(raw, "input_tokens")
            seen.prompt = seen.computed + last_number(raw, "cache_read_input_tokens")
        self._all.append(seen)
        self._now = None
        if not head.keep and self._transport is not None:
            self._transport.close()
            self._transport = None
        self._next()


def last_number(raw: bytes, name: str) -> int:
    """The number that the last usage in an answer tells; 0 where it tells none."""
    _, mark, after = raw.rpartition(f'"{name}":'.encode())
    digits = after.lstrip()[:12]
    end = next((at for at, byte in enumerate(digits) if byte not in b"0123456789"), len(digits))
    return int(digits[:end]) if mark and end else 0


def request_bytes(plan: Plan, body: dict[str, Any]) -> bytes:
    """One HTTP request."""
    data = json.dumps(body).encode()
    lines = {
        "Host": f"127.0.0.1:{plan.port}",
        "Content-Type": "application/json",
        "Content-Length": str(len(data)),
        **plan.headers,
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"POST {plan.path} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + data


async def run(plan: Plan) -> list[Seen]:
    """Send the whole plan. Raises OSError when a server cannot be reached or hangs up."""
    waiting = deque(request_bytes(plan, body) for body in plan.bodies)
    seen: list[Seen] = []
    began = time.perf_counter()
    clients = [Client(plan, waiting, seen, began) for _ in range(plan.clients)]
    for client in clients:
        client.begin()
    await asyncio.wait_for(asyncio.gather(*(client.done for client in clients)), TIMEOUT)
    return seen


def main() -> None:
    plan = Plan(**json.load(sys.stdin))
    gc.disable()  # a pause would look like the server's
    seen = asyncio.run(run(plan))
    json.dump([asdict(each) for each in seen], sys.stdout)


if __name__ == "__main__":
    main()
