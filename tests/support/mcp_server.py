"""A small MCP server, made with the official package: over stdin and stdout, or at a port that it prints."""

from __future__ import annotations

import os
import socket
import sys

import anyio
import uvicorn
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError

server = MCPServer("small")


@server.tool()
def add(a: int, b: int) -> str:
    """Adds two numbers."""
    return f"It is {a + b}."


@server.tool()
def fail() -> str:
    """Does not work."""
    raise ToolError("out of paper")


@server.tool()
def letters(count: int) -> str:
    """Says as many letters."""
    return "x" * count


@server.tool()
def variable(name: str) -> str:
    """What a variable of the environment says."""
    return os.environ.get(name, "none")


@server.tool()
def key(context: Context) -> str:
    """The key that a request over HTTP came with."""
    return str((context.headers or {}).get("authorization"))


@server.tool()
def end() -> str:
    """Ends the program."""
    os._exit(1)


@server.tool()
async def wait() -> str:
    """Says nothing for long."""
    await anyio.sleep(600)
    return "late"


if __name__ == "__main__":
    if "--http" in sys.argv:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            print(listening.getsockname()[1], flush=True)
            app = server.streamable_http_app()
            uvicorn.Server(uvicorn.Config(app, log_level="error")).run([listening])
    else:
        server.run("stdio")
