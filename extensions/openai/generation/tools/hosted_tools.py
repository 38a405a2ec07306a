"""Tools that a provider runs itself, which agents send with every request, and groups of functions.

The members of a namespace are offered like other tools. Tools that the server would have to run (a web
search, a sandbox) are omitted from the prompt, and named in a response header.
Sources: OpenAI API reference, tools of Responses; Anthropic's server tools, whose types end with a date.
"""

from __future__ import annotations

import re
from typing import Any

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


def form_of_tool(value: Any) -> str | None:
    """The union member that a tool is; None for an unknown type."""
    if isinstance(value, RequestModel):
        value = {"type": getattr(value, "type", None)}
    if not isinstance(value, dict):
        return "function"  # whose type then reports the error
    kind = value.get("type")
    if kind in ("function", "custom", "namespace"):
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
