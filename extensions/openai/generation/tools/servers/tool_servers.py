"""All tool servers of the operator's file, and what a request gets of them."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from time import monotonic
from typing import Any, TypeVar

from ....engines.protocol import Tool
from ....limits.active_requests import ActiveRequest
from ....schemas import bad_request
from ....settings import SettingsError
from ...hooks.extension_hooks import Hooks
from ..hosted_tools import McpTool
from ..plan import Offered, Outcome, Runner
from ..running_here import SEPARATOR
from .extension_server import ExtensionServer
from .mcp_server import EventLoop, McpServer
from .rows import WHERE, ToolServerRow, read_tool_servers

log = logging.getLogger("openedai")

T = TypeVar("T")
UNUSUAL = re.compile(r"[^A-Za-z0-9_-]")
MAX_NAME_CHARACTERS = 64
CLOSE_S = 10.0  # programs have to end, which the package waits for
SURROGATES = "surrogatepass"
CUT = "\n[The rest is left out.]"
NO_OBJECT = "The arguments are no JSON object."


@dataclass(frozen=True, slots=True)
class ToolServers:
    """Thread-safe."""

    rounds: int
    _servers: dict[str, McpServer | ExtensionServer]
    _loop: EventLoop

    @classmethod
    def of(cls, path: str, hooks: Callable[[], Hooks | None]) -> ToolServers:
        """Those of the file. Raises SettingsError."""
        file, loop = read_tool_servers(path), EventLoop()
        servers: dict[str, McpServer | ExtensionServer] = {}
        for row in file.rows:
            if row.extension is not None:
                servers[row.label] = ExtensionServer(row, hooks)
            elif find_spec("mcp") is None:
                raise SettingsError(
                    f"{WHERE}: servers.{row.label} needs the package mcp: pip install 'openedai[mcp]'"
                )
            else:
                servers[row.label] = McpServer(row, loop)
        return cls(file.rounds, servers, loop)

    def offered(
        self, asked: Iterable[tuple[str, McpTool]], request: ActiveRequest
    ) -> Iterator[Offered]:
        """The tools of the servers that a request names, each with its place. Raises InvalidRequest,
        ToolServerUnavailable."""
        for where, wanted in asked:
            server = self._servers.get(wanted.server_label or "")
            if server is None or not server.row.is_open_to(request.record.caller):
                raise no_such_server(where)
            if wanted.require_approval not in (None, "never"):
                raise bad_request.unsupported(
                    f"{where}.require_approval",
                    "asks for approvals, which this server does not have; say 'never'.",
                )
            tools = self._allowed(server, wanted, where, request)
            for name, tool in zip(_names(server.row, tools), tools, strict=True):
                shown = Tool(name, tool.description, tool.parameters)
                runner = Runner(
                    partial(self._run, server, tool.name, request.record.id),
                    server.row.label,
                    tool.name,
                )
                yield Offered(shown, where, "server_label", runner=runner)

    def close(self) -> None:
        """End all connections, and the programs behind them."""
        for server in self._servers.values():
            server.leave()
        if not self._loop.close(CLOSE_S):
            log.warning("not all tool servers have ended")

    @staticmethod
    def _allowed(
        server: McpServer | ExtensionServer, wanted: McpTool, where: str, request: ActiveRequest
    ) -> list[Tool]:
        tools = list(_awaited(server.tools(), request.check_wanted))
        if server.row.tools is not None:
            tools = [tool for tool in tools if tool.name in server.row.tools]
        if wanted.allowed_names is None:
            return tools
        if not set(wanted.allowed_names) <= {tool.name for tool in tools}:
            raise bad_request.unsupported(
                f"{where}.allowed_tools",
                f"names a tool that {server.row.label} does not offer here.",
            )
        return [tool for tool in tools if tool.name in wanted.allowed_names]

    @staticmethod
    def _run(
        server: McpServer | ExtensionServer, name: str, request_id: str, arguments: str
    ) -> Generator[None, None, Outcome]:
        began = monotonic()
        given = _object(arguments)
        text, failed = NO_OBJECT, True
        try:
            if given is not None:
                text, failed = yield from server.call(name, given)
        except GeneratorExit:
            text, failed = "", True
            raise
        finally:
            log.info(
                "tool call: request %s, server %s, tool %s, %d ms, %d characters, %s",
                request_id,
                server.row.label,
                name,
                1000 * (monotonic() - began),
                len(text),
                "failed" if failed else "ok",
            )
        # A server may give halves of surrogate pairs, which no text has.
        text = text.encode("utf-16", SURROGATES).decode("utf-16", "replace")
        most = server.row.max_output
        return Outcome(text if len(text) <= most else text[:most] + CUT, failed)


def no_such_server(where: str) -> Exception:
    """The error for a label that this server has not, or not for the caller's key."""
    return bad_request.unsupported(
        f"{where}.server_label", "names no tool server that is open to this key."
    )


def _awaited(work: Generator[None, None, T], check_wanted: Callable[[], None]) -> T:
    """What the work returns; `check_wanted` may end it."""
    try:
        while True:
            next(work)
            check_wanted()
    except StopIteration as end:
        result: T = end.value
        return result
    finally:
        work.close()


def _names(row: ToolServerRow, tools: Iterable[Tool]) -> Iterable[str]:
    """The tools' names for the model, no two of which are the same, nor those of another server."""
    found: dict[str, None] = {}
    for tool in tools:
        plain = f"{row.label}{SEPARATOR}{UNUSUAL.sub('_', tool.name)}"
        name, at = plain[:MAX_NAME_CHARACTERS], 1
        while name in found:
            at += 1
            name = f"{plain[: MAX_NAME_CHARACTERS - 6]}_{at}"
        found[name] = None
    return found


def _object(arguments: str) -> dict[str, Any] | None:
    try:
        given = json.loads(arguments or "{}")
    except ValueError:
        return None
    return given if isinstance(given, dict) else None
