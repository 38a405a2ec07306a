"""A server that speaks the Model Context Protocol, by the official package.

All of them live in one event loop, in a thread of its own. A connection is made by the first request that
names the server, and made again by the next one if it breaks.
Source: modelcontextprotocol.io, "Tools"; the package `mcp`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import threading
from collections.abc import AsyncGenerator, Coroutine, Generator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ....engines.callback_bridge import TICK_S
from ....engines.protocol import Tool
from ....errors import ToolServerUnavailable
from .rows import ToolServerRow

if TYPE_CHECKING:
    from mcp import Client
    from mcp.types import CallToolResult

log = logging.getLogger("openedai")

T = TypeVar("T")
MAX_PAGES = 100  # of a list of tools
AFTER_CANCEL_S = 1.0


class EventLoop:
    """An event loop in a thread of its own, which the first use starts. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def start(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=self._loop.run_forever, name="openai-tool-servers", daemon=True
                )
                self._thread.start()
            return asyncio.run_coroutine_threadsafe(work, self._loop)

    def close(self, seconds: float) -> bool:
        """Wait so long for its work to end, and end what is left; whether nothing was left."""
        with self._lock:
            loop, thread, self._loop = self._loop, self._thread, None
        if loop is None or thread is None:
            return True
        ended = asyncio.run_coroutine_threadsafe(_ended(seconds), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
        return ended


async def _ended(seconds: float) -> bool:
    late = asyncio.all_tasks() - {asyncio.current_task()}
    if late:
        _, late = await asyncio.wait(late, timeout=seconds)
    for task in late:
        task.cancel()
    if late:
        await asyncio.wait(late, timeout=AFTER_CANCEL_S)
    return not late


class McpServer:
    """One of them. Thread-safe; its coroutines run in the loop."""

    def __init__(self, row: ToolServerRow, loop: EventLoop) -> None:
        self.row, self._loop = row, loop
        self._holder: asyncio.Task[None] | None = None
        self._client: asyncio.Future[Client] | None = None

    def tools(self) -> Generator[None, None, tuple[Tool, ...]]:
        """Its tools, by its own names. Yields until they are there. Raises ToolServerUnavailable."""
        try:
            return (yield from self._wait(self._list()))
        except Exception as error:  # whatever a server of others does
            log.warning("the tool server %s does not answer: %s", self.row.label, _kind(error))
            self.leave()  # one that hangs would do so for ever
            raise ToolServerUnavailable(self.row.label) from None

    def call(self, name: str, arguments: dict[str, Any]) -> Generator[None, None, tuple[str, bool]]:
        """The result of a call, and whether it failed. Yields until it is there; closing cancels it."""
        try:
            return (yield from self._wait(self._call(name, arguments)))
        except Exception as error:
            log.warning("the tool server %s failed in a call: %s", self.row.label, _kind(error))
            return "The tool failed: its server does not answer.", True

    def leave(self) -> None:
        """Begin to end the connection, and the program behind it."""
        if self._holder is not None:
            self._loop.start(self._leave())

    def _wait(self, work: Coroutine[Any, Any, T]) -> Generator[None, None, T]:
        running = self._loop.start(asyncio.wait_for(work, self.row.timeout))
        try:
            while True:
                try:
                    return running.result(TICK_S)
                except NotYet:
                    if running.done():
                        return running.result()
                yield
        finally:
            running.cancel()

    async def _list(self) -> tuple[Tool, ...]:
        try:
            return await self._pages()
        except asyncio.CancelledError:
            raise
        except Exception:  # a connection from before may be broken
            await self._leave()
            return await self._pages()

    async def _pages(self) -> tuple[Tool, ...]:
        client, cursor, found = await self._connected(), None, []
        for _ in range(MAX_PAGES):
            page = await client.list_tools(cursor=cursor, cache_mode="bypass")
            found += [Tool(each.name, each.description, each.input_schema) for each in page.tools]
            cursor = page.next_cursor
            if cursor is None:
                break
        return tuple(found)

    async def _call(self, name: str, arguments: dict[str, Any]) -> tuple[str, bool]:
        from mcp import MCPError
        from mcp.types import CONNECTION_CLOSED

        client = await self._connected()
        try:
            result = await client.call_tool(name, arguments)
        except MCPError as error:
            if error.code == CONNECTION_CLOSED:
                raise
            return error.message, True
        return text_of(result), bool(result.is_error)

    async def _connected(self) -> Client:
        if self._client is None:
            self._client = asyncio.get_running_loop().create_future()
            self._holder = asyncio.create_task(self._hold(self._client))
        # A request that leaves must not end a connection that others wait for.
        return await asyncio.shield(self._client)

    async def _hold(self, made: asyncio.Future[Client]) -> None:
        """Keep the connection until this task is cancelled: the package leaves one where it entered it."""
        try:
            async with connected(self.row) as client:
                made.set_result(client)
                await asyncio.Event().wait()
        except BaseException as error:
            if not made.done():
                made.set_exception(error if isinstance(error, Exception) else ConnectionError())
                made.exception()  # nobody may be waiting any more
            if isinstance(error, asyncio.CancelledError):
                raise

    async def _leave(self) -> None:
        holder, self._holder, self._client = self._holder, None, None
        if holder is not None:
            holder.cancel()
            await asyncio.wait([holder])


@asynccontextmanager
async def connected(row: ToolServerRow) -> AsyncGenerator[Client, None]:
    from mcp import Client, StdioServerParameters
    from mcp.client.stdio import stdio_client
    from mcp.client.streamable_http import streamable_http_client

    # It would quote what a server writes.
    logging.getLogger("mcp").setLevel(logging.CRITICAL + 1)
    # What a program writes besides may say what it was asked.
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        async with AsyncExitStack() as held:
            if row.url is not None:
                from httpx2 import AsyncClient

                http = AsyncClient(headers=dict(row.headers), timeout=row.timeout, trust_env=False)
                await held.enter_async_context(http)
                transport = streamable_http_client(row.url, http_client=http)
            else:
                program, *arguments = row.command
                parameters = StdioServerParameters(
                    command=program, args=arguments, env=dict(row.environment)
                )
                transport = stdio_client(parameters, nowhere)
            yield await held.enter_async_context(Client(transport, cache=None))


def text_of(result: CallToolResult) -> str:
    """What the model is told: texts as they are, of all else what it is."""
    parts = []
    for block in result.content:
        text = getattr(block, "text", None) or getattr(
            getattr(block, "resource", None), "text", None
        )
        parts.append(text if isinstance(text, str) else f"[{block.type}]")
    if not parts and result.structured_content is not None:
        parts.append(json.dumps(result.structured_content, ensure_ascii=False))
    return "\n".join(parts)


def _kind(error: BaseException) -> str:
    """What an error is, without its text: that may hold what was asked."""
    while isinstance(inner := getattr(error, "exceptions", None), tuple) and inner:
        error = inner[0]
    return type(error).__name__
