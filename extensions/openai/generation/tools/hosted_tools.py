"""Tools that a provider runs itself, which agents send with every request, and groups of functions.

The members of a namespace are offered like other tools. Tools that the server would have to run (a web
search, a sandbox) are omitted from the prompt, and named in a response header.
Sources: OpenAI API reference, tools of Responses; Anthropic's server tools, whose types end with a date.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Literal

from pydantic import ConfigDict

from ...schemas.validation import RequestModel

HOSTED = (
    "apply_patch",
    "bash",
    "code_execution",
    "code_interpreter",
    "computer",
    "computer_use",
    "file_search",
    "image_generation",
    "local_shell",
    "mcp",
    "memory",
    "shell",
    "text_editor",
    "tool_search",
    "web_fetch",
    "web_search",
)
_HOSTED = re.compile(rf"({'|'.join(HOSTED)})([_-]preview)?([_-]\d{{4}}[_-]?\d\d[_-]?\d\d)?")


class HostedTool(RequestModel):
    """A tool that this server does not have: a web search, a sandbox, a computer."""

    model_config = ConfigDict(extra="ignore")

    type: str

    @property
    def is_left_out(self) -> bool:
        return True


class McpToolNames(RequestModel):
    """Some of a server's tools."""

    model_config = ConfigDict(extra="ignore")

    tool_names: list[str] | None = None


class McpTool(HostedTool):
    """The tools of one of the operator's tool servers, by its label. A server at an address of the client's
    is left out."""

    type: Literal["mcp"]
    server_label: str | None = None
    server_url: str | None = None
    connector_id: str | None = None
    tunnel_id: str | None = None
    allowed_tools: list[str] | McpToolNames | None = None
    require_approval: Any = None

    @property
    def is_left_out(self) -> bool:
        address = self.server_url or self.connector_id or self.tunnel_id
        return self.server_label is None or address is not None

    @property
    def allowed_names(self) -> list[str] | None:
        """The only ones that the request wants; None: all."""
        given = self.allowed_tools
        return given.tool_names if isinstance(given, McpToolNames) else given


def tools_of_servers(tools: Iterable[object] | None) -> list[tuple[str, McpTool]]:
    """Those of a request's tools that are of this server's tool servers, with their places."""
    return [
        (f"tools[{at}]", tool)
        for at, tool in enumerate(tools or ())
        if isinstance(tool, McpTool) and not tool.is_left_out
    ]


def form_of_tool(value: Any) -> str | None:
    """The union member that a tool is; None for an unknown type."""
    if isinstance(value, RequestModel):
        value = {"type": getattr(value, "type", None)}
    if not isinstance(value, dict):
        return "function"  # whose type then reports the error
    kind = value.get("type")
    if kind in ("function", "custom", "namespace", "mcp"):
        return str(kind)
    return "hosted" if isinstance(kind, str) and _HOSTED.fullmatch(kind) else None


def nested(value: Any) -> Any:
    """A function or custom tool in the form of chats; agents also send the flat form of Responses."""
    if not isinstance(value, dict):
        return value
    kind = value.get("type")
    if kind not in ("function", "custom") or kind in value or "name" not in value:
        return value
    inner = {name: each for name, each in value.items() if name != "type"}
    input_format = inner.get("format")
    if kind == "custom" and isinstance(input_format, dict) and "definition" in input_format:
        grammar = {name: each for name, each in input_format.items() if name != "type"}
        inner["format"] = {"type": input_format.get("type"), "grammar": grammar}
    return {"type": kind, kind: inner}
