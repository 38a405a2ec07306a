"""Tools: what clients offer and demand, and calls that are forced by constrained decoding.

A model that may choose writes calls in its own format. Calls that are demanded (`required`, or by name), or
that stand beside a grammar, are written in this server's own format, enforced by a grammar, so that they
come whatever the template knows; gpt-oss has a format of its own for them (`harmony.py`).
Source: OpenAI guide "Function calling".
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag

from ...engines.protocol import Tool
from ...errors import InvalidRequest
from ...schemas import bad_request
from ...schemas.validation import RequestModel
from ..grammar.bounds import check_lark, check_pattern
from ..grammar.check import Part
from ..grammar.constraints import ANYTHING, Name
from ..grammar.json_schema import WHITESPACE, json_rule, surely_enforceable
from ..grammar.lark import literal
from ..grammar.regex import regex_terminal
from .hosted_tools import HOSTED, HostedTool, form_of_tool, nested
from .schemas import enforced_schema

MAX_CALLS = 8  # that one answer is made to hold at most, where calls are demanded


class FunctionDefinition(RequestModel):
    """A function: its name, what it is for, and a JSON schema of its arguments."""

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
    """A group of functions and custom tools, which are offered as they are."""

    type: Literal["namespace"]
    name: str
    description: str | None = None
    tools: list[OwnTool] = Field(min_length=1, max_length=128)


AnyTool = Annotated[
    Annotated[FunctionTool, Tag("function")]
    | Annotated[CustomTool, Tag("custom")]
    | Annotated[Namespace, Tag("namespace")]
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
    """Which tool."""

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


ToolChoice = (
    Literal["none", "auto", "required"]
    | Annotated[
        NamedFunction | NamedCustom | AllowedToolsChoice,
        Field(discriminator="type"),
    ]
)
FunctionCallChoice = Literal["none", "auto"] | ToolName


@dataclass(frozen=True, slots=True)
class ToolPlan:
    """The tools of one request, and how they are enforced."""

    shown: tuple[Tool, ...] = ()
    """The tools that the model gets to see."""
    custom: frozenset[str] = frozenset()
    """Those of them whose input is text; the model sees a function with one argument, `input`."""
    inputs: Mapping[str, str] = field(default_factory=dict)
    """What the input of some custom tools must match, by their names, as the right side of a rule."""
    demanded: tuple[Tool, ...] = ()
    """One of these must be called; empty where the model may choose."""
    most: int = MAX_CALLS
    """How many calls an answer holds at most, where they are demanded."""
    strict: frozenset[str] = frozenset()
    """Functions whose arguments must match their schema even where the model may choose to call them."""
    schemas: Mapping[str, str] = field(default_factory=dict)
    """What enforced arguments must match, by the names of their tools, as the right side of a rule."""
    places: Mapping[str, str] = field(default_factory=dict)
    """Where in the request each tool says what it takes, by their names."""
    legacy: bool = False
    """The request came, and the answer goes, in the older form of `functions`."""

    @property
    def param(self) -> str:
        """The field that the request has them in."""
        return "functions" if self.legacy else "tools"

    @property
    def parts(self) -> tuple[Part, ...]:
        """What each tool takes, as a grammar of its own, with its place in the request."""
        rules = {**self.schemas, **self.inputs}
        return tuple(
            (self.places.get(name, "tools"), f"start: {rule}") for name, rule in rules.items()
        )

    def grammar(self, answer: str | None = None) -> str:
        """The grammar of an answer that is made of calls and of nothing else where they are demanded. Where
        they are not: of an answer in the words of another grammar (of one rule) or of calls; or of any text
        and then, maybe, calls."""
        opening, closing = literal(CALL_OPENING), literal(CALL_CLOSING)
        rules = []
        tools = self.demanded or self.shown
        for at, tool in enumerate(tools):
            field = "input" if tool.name in self.inputs else "arguments"
            head = literal(json.dumps({"name": tool.name})[:-1] + f', "{field}": ')
            tail = f"{literal('}')} {closing}"
            inner = (
                self.inputs.get(tool.name) or self.schemas.get(tool.name) or _possible_rule(tool)
            )
            arguments = f"arguments_{at}"
            if inner.startswith("/"):
                # A pattern may match the brace as well: it ends where the call first can.
                arguments, tail = f"arguments_{at}[suffix={literal('}' + CALL_CLOSING)}]", ""
            rules.append(f"call_{at}: {head} arguments_{at} {tail}")
            rules.append(f"{arguments}: {inner}")
        rules.append("call: " + " | ".join(f"call_{at}" for at in range(len(tools))))
        more = f' ("\\n" {opening} call){{0,{self.most - 1}}}' if self.most > 1 else ""
        if self.demanded:
            return "\n".join([f"start: {opening} call{more}", *rules])
        if answer is not None:
            rules.append(answer.replace("start:", "answer:", 1))
            return "\n".join([f"start: answer | {opening} call{more}", *rules])
        rules.append(f"before[suffix={opening}]: {ANYTHING}")
        rules.append(f"TEXT: {ANYTHING} & ~/(.|\\n)*{CALL_OPENING.strip()}(.|\\n)*/")
        return "\n".join([f"start: TEXT | before call{more}", *rules])


CALL_OPENING = "<tool_call>\n"
CALL_CLOSING = "\n</tool_call>"
ANY_OBJECT = "%json " + json.dumps({"type": "object", "x-guidance": WHITESPACE})


def offered_tools(
    tools: Sequence[FunctionTool | CustomTool | Namespace | HostedTool], param: str = "tools"
) -> Iterator[tuple[str, FunctionTool | CustomTool]]:
    """The tools that the model may call, with their places in the request."""
    for at, tool in enumerate(tools):
        if isinstance(tool, Namespace):
            yield from offered_tools(tool.tools, f"{param}[{at}].tools")
        elif not isinstance(tool, HostedTool):
            yield f"{param}[{at}]", tool


def plan_tools(
    tools: Sequence[FunctionTool | CustomTool | Namespace | HostedTool] | None,
    choice: object,
    *,
    parallel: bool,
    legacy: bool = False,
) -> ToolPlan:
    """What `tools` and `tool_choice` (`legacy`: `functions` and `function_call`) ask for.

    Raises InvalidRequest for what cannot be done.
    """
    param, choice_param = ("functions", "function_call") if legacy else ("tools", "tool_choice")
    offered = list(offered_tools(tools or (), param))
    if not offered:
        if choice not in (None, "none", "auto"):
            raise bad_request.unsupported(
                choice_param,
                f"is only allowed when '{param}' are specified."
                if not tools
                else f"cannot be kept: this server has none of the '{param}'.",
            )
        return ToolPlan(legacy=legacy)
    plain = [_plain(tool) for _, tool in offered]
    places: dict[str, str] = {}
    for (place, sent), tool in zip(offered, plain, strict=True):
        if tool.name in places:
            raise bad_request.not_unique(place, tool.name)
        if isinstance(sent, CustomTool):
            places[tool.name] = f"{place}.custom.format.grammar.definition"
        else:
            places[tool.name] = f"{place}{'' if legacy else '.function'}.parameters"
    if choice == "none":
        return ToolPlan(legacy=legacy)
    custom = {t.custom.name: t.custom for _, t in offered if isinstance(t, CustomTool)}
    inputs = {
        name: _input_rule(tool.format, places[name])
        for name, tool in custom.items()
        if isinstance(tool.format, GrammarInput)
    }
    plan = ToolPlan(
        tuple(plain),
        frozenset(custom),
        inputs,
        most=MAX_CALLS if parallel else 1,
        strict=frozenset(
            t.function.name for _, t in offered if isinstance(t, FunctionTool) and t.function.strict
        ),
        places=places,
        legacy=legacy,
    )
    return _enforcing(_chosen(plan, choice, choice_param))


def _chosen(plan: ToolPlan, choice: object, param: str) -> ToolPlan:
    """The plan with what `tool_choice` demands or leaves out."""
    if choice in (None, "auto"):
        return plan
    if choice == "required":
        return replace(plan, demanded=plan.shown)
    if isinstance(choice, AllowedToolsChoice):
        wanted = [_named(each) for each in choice.allowed_tools.tools]
        where = "tool_choice.allowed_tools.tools"
        allowed = tuple(_find(plan.shown, name, where) for name in wanted)
        return replace(
            plan,
            shown=allowed,
            inputs={name: rule for name, rule in plan.inputs.items() if name in wanted},
            demanded=allowed if choice.allowed_tools.mode == "required" else (),
            strict=plan.strict.intersection(wanted),
        )
    return replace(plan, demanded=(_find(plan.shown, _named(choice), param),), most=1)


def _possible_rule(tool: Tool) -> str:
    """What the arguments of a tool match whose schema need not be enforced, but may be."""
    if not surely_enforceable(tool.parameters):
        return ANY_OBJECT
    try:
        return argument_rule(tool, "tools")
    except InvalidRequest:
        return ANY_OBJECT


def argument_rule(tool: Tool, param: str) -> str:
    """What a tool's enforced arguments match, as the right side of a rule. Raises InvalidRequest."""
    return json_rule(enforced_schema(tool.parameters, param), param)


def _enforcing(plan: ToolPlan) -> ToolPlan:
    """The plan with the rules of all arguments that it enforces.

    Raises InvalidRequest for a schema that cannot be enforced.
    """
    schemas = {}
    for tool in plan.demanded or plan.shown:
        if tool.name in plan.inputs or not (plan.demanded or tool.name in plan.strict):
            continue
        schemas[tool.name] = argument_rule(tool, plan.places[tool.name])
    return replace(plan, schemas=schemas)


def _input_rule(wanted: GrammarInput, param: str) -> str:
    """What a custom tool's input must match, as the right side of a rule."""
    grammar = wanted.grammar
    if grammar.syntax == "lark":
        check_lark(grammar.definition, param)
        return f"%lark {{\n{grammar.definition}\n}}"
    check_pattern(grammar.definition, param)
    return regex_terminal(grammar.definition)


def _named(choice: object) -> str:
    if isinstance(choice, NamedCustom):
        return choice.custom.name
    if isinstance(choice, NamedFunction):
        return choice.function.name
    assert isinstance(choice, ToolName)
    return choice.name


def _find(tools: Sequence[Tool], name: str, param: str) -> Tool:
    for tool in tools:
        if tool.name == name:
            return tool
    raise bad_request.not_one_of(param, name, [tool.name for tool in tools])


def _plain(tool: FunctionTool | CustomTool) -> Tool:
    if isinstance(tool, FunctionTool):
        function = tool.function
        schema: Mapping[str, Any] = function.parameters or {"type": "object", "properties": {}}
        return Tool(function.name, function.description, schema)
    custom = tool.custom
    return Tool(custom.name, custom.description, CUSTOM_PARAMETERS)


CUSTOM_PARAMETERS: Mapping[str, Any] = {
    "type": "object",
    "properties": {"input": {"type": "string"}},
    "required": ["input"],
    "additionalProperties": False,
}


def new_call_id() -> str:
    return "call_" + secrets.token_hex(12)
