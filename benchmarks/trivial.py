"""A server that does next to nothing: the same stream of events for everybody, at once.

What the load generator measures on it is the most that it can measure on any other.
"""

from __future__ import annotations

import argparse
import asyncio

EVENT = (
    b'data: {"id":"cmpl-0","created":0,"model":"m","object":"text_completion","choices":[{"text":" word",'
    b'"index":0,"logprobs":null,"finish_reason":null}]}\n\n'
)
LAST = (
    b'data: {"choices":[],"usage":{"completion_tokens":128,"prompt_tokens":1}}\n\ndata: [DONE]\n\n'
)
TOKENS = 128
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class Trivial(asyncio.Protocol):
    """Takes whatever comes for a request."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._sending: asyncio.Task[None] | None = None

    def data_received(self, data: bytes) -> None:
        if data.startswith(b"GET"):
            self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        elif data.startswith(b"POST"):
            self._sending = asyncio.get_running_loop().create_task(self._send())

    async def _send(self) -> None:
        """Each event on its own, as a server does whose model has just made it."""
        self._transport.write(HEAD)
        for _ in range(TOKENS):
            self._transport.write(_chunk(EVENT))
            await asyncio.sleep(0)
        self._transport.write(_chunk(LAST) + b"0\r\n\r\n")


async def serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Trivial, "127.0.0.1", port)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    asyncio.run(serve(parser.parse_args().port))


if __name__ == "__main__":
    main()
