"""An example: a tool that this server runs for requests which name it (docs/tools.md).

The operator's file of tool servers says `clock: {extension: example_tools}`.
"""

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

params: dict[str, Any] = {"display_name": "Tools", "is_tab": False}


def now(arguments: Mapping[str, Any]) -> str:
    """The time now, in UTC."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def server_tools() -> list[dict[str, Any]]:
    """Its only tool."""
    return [
        {
            "name": "now",
            "description": "Says what time it is now, in UTC.",
            "parameters": {"type": "object", "properties": {}},
            "run": now,
        }
    ]
