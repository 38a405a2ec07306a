"""Tools that tests offer."""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]


def function(name: str, parameters: Any = None, **more: Any) -> Schema:
    """A function as clients send it; `parameters`: a schema, or the properties of an object."""
    if parameters is None:
        parameters = {}
    if "type" not in parameters:
        parameters = {"type": "object", "properties": parameters}
    given = {"name": name, "description": f"Does {name}.", "parameters": parameters, **more}
    return {"type": "function", "function": given}


WEATHER = function("get_weather", {"city": {"type": "string"}})
TIME = function("get_time", {"zone": {"type": "string"}})
LIST = function("list_files")
WRITE = function("write_file", {"path": {"type": "string"}, "content": {"type": "string"}})
SEARCH = function(
    "search",
    {
        "filter": {
            "type": "object",
            "properties": {
                "tags": {"type": "array", "items": {"type": "string"}},
                "depth": {"type": "object", "properties": {"max": {"type": "integer"}}},
            },
        },
        "exact": {"type": "boolean"},
        "weight": {"type": "number"},
        "after": {"type": ["string", "null"]},
    },
)
TOOLS = [WEATHER, TIME, LIST, WRITE, SEARCH]
