"""Tools as Responses have them on the wire, and what is to be called.

Source: OpenAI API reference, "Create a model response", `tools` and `tool_choice`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from ...engines.protocol import Tool
from ...generation.tools.hosted_tools import HOSTED, HostedTool, McpTool, form_of_tool
from ...generation.tools.plan import (
    CUSTOM_PARAMETERS,
    InputGrammar,
    Offered,
    ToolChoice,
    ToolPlan,
    plan_tools,
    with_agents,
)
from ...generation.tools.request import check_choice_has_tools
from ...schemas import bad_request
from ...schemas.validation import RequestModel

MAX_TOOLS = 1024
Name = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[a-zA-Z0-9_-]+$")]


class FunctionTool(RequestModel):
    """A function that the model may call."""

    type: Literal["function"]
    name: Name
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None
    output_schema: dict[str, Any] | None = None
    defer_loading: bool | None = None
    """Without effect: there is no search for tools, so the model sees all of them."""
    allowed_callers: list[str] | None = None


class TextFormat(RequestModel):
    """The input of a custom tool is free text."""

    type: Literal["text"]


class GrammarFormat(RequestModel):
    """The input of a custom tool matches a grammar."""

    type: Literal["grammar"]
    syntax: Literal["lark", "regex"]
    definition: str


class CustomTool(RequestModel):
    """A tool whose input is text."""

    type: Literal["custom"]
    name: Name
    description: str | None = None
    format: Annotated[TextFormat | GrammarFormat, Field(discriminator="type")] | None = None
    defer_loading: bool | None = None
    allowed_callers: list[str] | None = None


OwnTool = Annotated[FunctionTool | CustomTool, Field(discriminator="type")]


class NamespaceTool(RequestModel):
    """A group of functions and custom tools; its calls bear its name."""

    type: Literal["namespace"]
    name: str = Field(min_length=1, max_length=128)
    description: str | None = None
    tools: list[OwnTool] = Field(min_length=1, max_length=MAX_TOOLS)


ToolParam = Annotated[
    Annotated[FunctionTool, Tag("<function>")]
    | Annotated[CustomTool, Tag("<custom>")]
    | Annotated[NamespaceTool, Tag("<namespace>")]
    | Annotated[McpTool, Tag("<mcp>")]
    | Annotated[HostedTool, Tag("<hosted>")],
    Discriminator(
        lambda value: None if (form := form_of_tool(value)) is None else f"<{form}>",
        custom_error_type="unknown_member",
        custom_error_message="no type of a tool",
        custom_error_context={
            "discriminator": "'type'",
            "expected_tags": "'function', 'custom', 'namespace', " + ", ".join(map(repr, HOSTED)),
        },
    ),
]
AnyTool = FunctionTool | CustomTool | NamespaceTool | McpTool | HostedTool


class NamedTool(RequestModel):
    """This tool must be called, or may be."""

    type: Literal["function", "custom"]
    name: str
    namespace: str | None = None


class AllowedTools(RequestModel):
    """Only some of the tools, for this answer."""

    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"]
    tools: list[NamedTool] = Field(min_length=1, max_length=MAX_TOOLS)


ToolChoiceParam = (
    Literal["none", "auto", "required"]
    | Annotated[NamedTool | AllowedTools, Field(discriminator="type")]
)


def plan_response_tools(
    tools: Sequence[AnyTool] | None,
    choice: object,
    *,
    parallel: bool,
    agents: Sequence[Offered] = (),
) -> ToolPlan:
    """What is asked for, with those of an agent. Raises InvalidRequest for what cannot be done."""
    names = ToolNames.of(tools)
    offered = with_agents(agents, list(_offered(tools or (), "tools", names)))
    check_choice_has_tools(choice, offered, tools)
    return plan_tools(offered, _choice(choice, names), parallel=parallel)


@dataclass(frozen=True, slots=True)
class ToolNames:
    """The names of tools as the model sees them: their own, behind that of their namespace (`crm__find`)
    where several tools have the same one."""

    _known: Mapping[tuple[str, str | None], str]
    """By name and namespace."""
    _meant: Mapping[str, tuple[str, str | None]]

    @classmethod
    def of(cls, tools: Sequence[AnyTool] | None) -> ToolNames:
        members = list(_members(tools or ()))
        uses = Counter(name for name, _ in members)
        known = {
            (name, namespace): name
            if namespace is None or uses[name] == 1
            else f"{_UNUSUAL.sub('_', namespace).rstrip('_')}__{name}"
            for name, namespace in members
        }
        return cls(known, {shown: member for member, shown in known.items()})

    def for_model(self, name: str, namespace: str | None) -> str:
        return self._known.get((name, namespace), name)

    def from_model(self, name: str) -> tuple[str, str | None]:
        """Name and namespace."""
        return self._meant.get(name, (name, None))


_UNUSUAL = re.compile(r"[^a-zA-Z0-9_-]")
NO_TOOLS = ToolNames({}, {})


def _members(tools: Sequence[AnyTool]) -> Iterator[tuple[str, str | None]]:
    """Names and namespaces of all functions and custom tools."""
    for tool in tools:
        if isinstance(tool, NamespaceTool):
            yield from ((member.name, tool.name) for member in tool.tools)
        elif not isinstance(tool, HostedTool):
            yield tool.name, None


def echoed(tools: Sequence[AnyTool] | None) -> list[dict[str, Any]]:
    """The tools that the model knows, as the response tells them."""
    return [_echo(tool) for tool in tools or () if not is_left_out(tool)]


def is_left_out(tool: AnyTool) -> bool:
    return isinstance(tool, HostedTool) and tool.is_left_out


def _echo(tool: AnyTool) -> dict[str, Any]:
    shown = tool.model_dump(exclude_none=True)
    if isinstance(tool, NamespaceTool):
        shown["tools"] = [_echo(member) for member in tool.tools]
    elif isinstance(tool, FunctionTool):
        shown |= {
            "description": tool.description,
            "parameters": tool.parameters,
            "strict": bool(tool.strict),
        }
    return shown


def _offered(
    tools: Sequence[AnyTool], param: str, names: ToolNames, namespace: str | None = None
) -> Iterator[Offered]:
    for at, tool in enumerate(tools):
        where = f"{param}[{at}]"
        if isinstance(tool, NamespaceTool):
            yield from _offered(tool.tools, f"{where}.tools", names, tool.name)
        elif isinstance(tool, FunctionTool):
            schema = tool.parameters or {"type": "object", "properties": {}}
            name = names.for_model(tool.name, namespace)
            plain = Tool(name, tool.description, schema)
            yield Offered(plain, where, "parameters", strict=bool(tool.strict))
        elif isinstance(tool, CustomTool):
            name = names.for_model(tool.name, namespace)
            plain = Tool(name, tool.description, CUSTOM_PARAMETERS)
            grammar = tool.format if isinstance(tool.format, GrammarFormat) else None
            wanted = None if grammar is None else InputGrammar(grammar.syntax, grammar.definition)
            yield Offered(plain, where, "format.definition", True, wanted)


def _choice(choice: object, names: ToolNames) -> ToolChoice:
    if isinstance(choice, NamedTool):
        name = names.for_model(choice.name, choice.namespace)
        return ToolChoice("required", (name,), single=True, param="tool_choice.name")
    if isinstance(choice, AllowedTools):
        allowed = tuple(names.for_model(tool.name, tool.namespace) for tool in choice.tools)
        return ToolChoice(choice.mode, allowed, param="tool_choice.tools")
    if choice == "none" or choice == "auto" or choice == "required":
        return ToolChoice(choice)
    assert choice is None, bad_request.kind_of(choice)
    return ToolChoice()
