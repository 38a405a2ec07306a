"""Tools as Messages have them on the wire, and what is to be called.

Source: Anthropic API reference, "Create a Message", `tools` and `tool_choice`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Discriminator, Field, Tag

from ...engines.protocol import Tool
from ...generation.tools.plan import Offered, ToolChoice, ToolPlan, plan_tools, with_agents
from ...generation.tools.request import check_choice_has_tools
from ...schemas.validation import RequestModel

MAX_TOOLS = 1024


class ToolParam(RequestModel):
    """A tool that the client runs: its name, what it is for, and a JSON schema of its input."""

    type: Literal["custom"] | None = None
    name: Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[a-zA-Z0-9_-]+$")]
    description: str | None = None
    input_schema: dict[str, Any]
    strict: bool | None = None
    defer_loading: bool | None = None
    """The model does not see it before a `tool_reference` names it."""
    cache_control: dict[str, Any] | None = None
    eager_input_streaming: bool | None = None
    input_examples: list[dict[str, Any]] | None = None
    allowed_callers: list[str] | None = None


class HostedToolParam(RequestModel):
    """A tool that the API defines or runs itself: a web search, a shell, a computer."""

    model_config = ConfigDict(extra="ignore")

    type: str


_HOSTED = re.compile(r"\w+_20\d{6}|mcp_toolset")


def _form(value: Any) -> str | None:
    kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    if kind in (None, "custom"):
        return "<custom>"
    return "<hosted>" if isinstance(kind, str) and _HOSTED.fullmatch(kind) else None


ToolUnion = Annotated[
    Annotated[ToolParam, Tag("<custom>")] | Annotated[HostedToolParam, Tag("<hosted>")],
    Discriminator(
        _form,
        custom_error_type="unknown_member",
        custom_error_message="no type of a tool",
        custom_error_context={
            "discriminator": "'type'",
            "expected_tags": "'custom'",
        },
    ),
]


class AutoChoice(RequestModel):
    """The model decides."""

    type: Literal["auto"]
    disable_parallel_tool_use: bool | None = None


class AnyChoice(RequestModel):
    """Some tool must be called."""

    type: Literal["any"]
    disable_parallel_tool_use: bool | None = None


class NamedChoice(RequestModel):
    """This tool must be called."""

    type: Literal["tool"]
    name: str
    disable_parallel_tool_use: bool | None = None


class NoChoice(RequestModel):
    """No tool may be called."""

    type: Literal["none"]


ToolChoiceParam = Annotated[
    AutoChoice | AnyChoice | NamedChoice | NoChoice, Field(discriminator="type")
]


def plan_message_tools(
    tools: Sequence[ToolParam | HostedToolParam] | None,
    choice: AutoChoice | AnyChoice | NamedChoice | NoChoice | None,
    referenced: Collection[str],
    agents: Sequence[Offered] = (),
) -> ToolPlan:
    """What the fields ask for, besides the tools of an agent; `referenced`: the names that `tool_reference`
    blocks hold.

    Raises InvalidRequest for what cannot be done.
    """
    offered = with_agents(agents, list(_offered(tools or (), referenced)))
    wanted = _choice(choice)
    check_choice_has_tools(wanted.mode, offered, tools)
    single = isinstance(choice, (AutoChoice, AnyChoice)) and choice.disable_parallel_tool_use
    return plan_tools(offered, wanted, parallel=not single)


def _offered(
    tools: Sequence[ToolParam | HostedToolParam], referenced: Collection[str]
) -> Iterator[Offered]:
    for at, tool in enumerate(tools):
        if isinstance(tool, HostedToolParam):
            continue
        deferred = bool(tool.defer_loading)
        if not deferred or tool.name in referenced:
            plain = Tool(tool.name, tool.description, tool.input_schema)
            yield Offered(
                plain,
                f"tools[{at}]",
                "input_schema",
                strict=bool(tool.strict),
                deferred=deferred,
            )


def _choice(choice: AutoChoice | AnyChoice | NamedChoice | NoChoice | None) -> ToolChoice:
    if isinstance(choice, NamedChoice):
        return ToolChoice("required", (choice.name,), single=True, param="tool_choice.name")
    if isinstance(choice, AnyChoice):
        return ToolChoice("required")
    return ToolChoice("none" if isinstance(choice, NoChoice) else "auto")
