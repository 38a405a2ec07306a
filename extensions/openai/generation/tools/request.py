"""Tools in a chat's request: functions, custom tools, namespaces, and the choice among them.

Source: OpenAI API reference, "Create chat completion", `tools` and `tool_choice`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag

from ...engines.protocol import Tool
from ...schemas import bad_request
from ...schemas.validation import RequestModel
from ..grammar.constraints import Name
from .hosted_tools import HOSTED, HostedTool, McpTool, form_of_tool, nested
from .plan import (
    CUSTOM_PARAMETERS,
    InputGrammar,
    Offered,
    ToolChoice,
    ToolPlan,
    plan_tools,
    with_agents,
)


class FunctionDefinition(RequestModel):
    """A function: its name, its purpose, and a JSON schema of its arguments."""

    name: Name
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class FunctionTool(RequestModel):
    """A function that the model may call."""

    type: Literal["function"]
    function: FunctionDefinition


class TextInput(RequestModel):
    """The input of a custom tool is free text."""

    type: Literal["text"]


class GrammarDefinition(RequestModel):
    """A grammar for the input of a custom tool."""

    syntax: Literal["lark", "regex"]
    definition: str


class GrammarInput(RequestModel):
    """The input of a custom tool matches a grammar."""

    type: Literal["grammar"]
    grammar: GrammarDefinition


class CustomDefinition(RequestModel):
    """A tool whose input is text."""

    name: Name
    description: str | None = None
    format: Annotated[TextInput | GrammarInput, Field(discriminator="type")] | None = None


class CustomTool(RequestModel):
    """A custom tool that the model may call."""

    type: Literal["custom"]
    custom: CustomDefinition


OwnTool = Annotated[FunctionTool | CustomTool, Field(discriminator="type"), BeforeValidator(nested)]


class Namespace(RequestModel):
    """A group of functions and custom tools, which are offered like other tools."""

    type: Literal["namespace"]
    name: str
    description: str | None = None
    tools: list[OwnTool] = Field(min_length=1, max_length=128)


AnyTool = Annotated[
    Annotated[FunctionTool, Tag("function")]
    | Annotated[CustomTool, Tag("custom")]
    | Annotated[Namespace, Tag("namespace")]
    | Annotated[McpTool, Tag("mcp")]
    | Annotated[HostedTool, Tag("hosted")],
    Discriminator(
        form_of_tool,
        custom_error_type="unknown_member",
        custom_error_message="no type of a tool",
        custom_error_context={
            "discriminator": "'type'",
            "expected_tags": "'function', 'custom', 'namespace', " + ", ".join(map(repr, HOSTED)),
        },
    ),
    BeforeValidator(nested),
]


class ToolName(RequestModel):
    """The name of a tool."""

    name: str


class NamedFunction(RequestModel):
    """This function must be called."""

    type: Literal["function"]
    function: ToolName


class NamedCustom(RequestModel):
    """This custom tool must be called."""

    type: Literal["custom"]
    custom: ToolName


NamedTool = Annotated[NamedFunction | NamedCustom, Field(discriminator="type")]


class AllowedTools(RequestModel):
    """Only some of the tools, for this answer."""

    mode: Literal["auto", "required"]
    tools: list[NamedTool] = Field(min_length=1, max_length=128)


class AllowedToolsChoice(RequestModel):
    """Only some of the tools, for this answer."""

    type: Literal["allowed_tools"]
    allowed_tools: AllowedTools


ChatToolChoice = (
    Literal["none", "auto", "required"]
    | Annotated[
        NamedFunction | NamedCustom | AllowedToolsChoice,
        Field(discriminator="type"),
    ]
)
FunctionCallChoice = Literal["none", "auto"] | ToolName


def plan_chat_tools(
    tools: Sequence[FunctionTool | CustomTool | Namespace | HostedTool] | None,
    choice: object,
    *,
    parallel: bool,
    legacy: bool = False,
    agents: Sequence[Offered] = (),
) -> ToolPlan:
    """Plan `tools` and `tool_choice` (`legacy`: `functions` and `function_call`), besides the tools of an
    agent.

    Raises InvalidRequest if they cannot be fulfilled.
    """
    param, choice_param = ("functions", "function_call") if legacy else ("tools", "tool_choice")
    offered = with_agents(agents, list(offered_tools(tools or (), param, legacy=legacy)))
    check_choice_has_tools(choice, offered, tools, param, choice_param)
    return plan_tools(offered, _choice(choice, choice_param), parallel=parallel, legacy=legacy)


def check_choice_has_tools(
    choice: object,
    offered: Sequence[Offered],
    tools: Sequence[object] | None,
    param: str = "tools",
    choice_param: str = "tool_choice",
) -> None:
    """Raise InvalidRequest if calls are demanded and there are no tools."""
    if choice in (None, "none", "auto") or any(each.runner is None for each in offered):
        return
    raise bad_request.unsupported(
        choice_param,
        f"is only allowed when '{param}' are specified."
        if not tools
        else f"cannot be kept: this server has none of the '{param}'.",
    )


def offered_tools(
    tools: Sequence[FunctionTool | CustomTool | Namespace | HostedTool],
    param: str = "tools",
    *,
    legacy: bool = False,
) -> Iterator[Offered]:
    """The tools that the model may call."""
    for at, tool in enumerate(tools):
        place = f"{param}[{at}]"
        if isinstance(tool, Namespace):
            yield from offered_tools(tool.tools, f"{place}.tools")
        elif isinstance(tool, FunctionTool):
            schema_field = "parameters" if legacy else "function.parameters"
            yield _offered_function(tool.function, place, schema_field)
        elif isinstance(tool, CustomTool):
            yield _offered_custom(tool.custom, place)


def _offered_function(function: FunctionDefinition, where: str, schema_field: str) -> Offered:
    """A function; without a schema, it has no parameters."""
    schema = function.parameters or {"type": "object", "properties": {}}
    tool = Tool(function.name, function.description, schema)
    return Offered(tool, where, schema_field, strict=bool(function.strict))


def _offered_custom(custom: CustomDefinition, where: str) -> Offered:
    tool = Tool(custom.name, custom.description, CUSTOM_PARAMETERS)
    schema_field = "custom.format.grammar.definition"
    if not isinstance(custom.format, GrammarInput):
        return Offered(tool, where, schema_field, is_custom=True)
    grammar = custom.format.grammar
    return Offered(
        tool, where, schema_field, True, InputGrammar(grammar.syntax, grammar.definition)
    )


def _choice(choice: object, param: str) -> ToolChoice:
    if isinstance(choice, AllowedToolsChoice):
        names = tuple(_named(each) for each in choice.allowed_tools.tools)
        where = "tool_choice.allowed_tools.tools"
        return ToolChoice(choice.allowed_tools.mode, names, param=where)
    if choice in ("none", "auto", "required"):
        return ToolChoice(choice)
    if choice is None:
        return ToolChoice()
    return ToolChoice("required", (_named(choice),), single=True, param=param)


def _named(choice: object) -> str:
    if isinstance(choice, NamedCustom):
        return choice.custom.name
    if isinstance(choice, NamedFunction):
        return choice.function.name
    assert isinstance(choice, ToolName)
    return choice.name
