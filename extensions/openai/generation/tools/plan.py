"""Tools: what clients offer and demand, and calls that are forced by constrained decoding.

A model that may choose writes calls in its own format. Demanded calls (`required`, or by name), and calls in
a request with a grammar, are written in this server's own format, enforced by a grammar, so that they work
with any template; gpt-oss has its own format for them (`harmony.py`).
Source: OpenAI guide "Function calling".
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from ...engines.protocol import Tool
from ...errors import InvalidRequest
from ...schemas import bad_request
from ..grammar.bounds import check_lark, check_pattern
from ..grammar.check import Part
from ..grammar.constraints import ANYTHING
from ..grammar.json_schema import WHITESPACE, json_rule, surely_enforceable
from ..grammar.lark import literal
from ..grammar.regex import regex_terminal
from .enforcing.schemas import enforced_schema

MAX_CALLS = 8  # in one answer, if calls are demanded
CUSTOM_PARAMETERS: Mapping[str, Any] = {
    "type": "object",
    "properties": {"input": {"type": "string"}},
    "required": ["input"],
    "additionalProperties": False,
}


@dataclass(frozen=True, slots=True)
class InputGrammar:
    """What the input of a custom tool must match."""

    syntax: Literal["lark", "regex"]
    definition: str


@dataclass(frozen=True, slots=True)
class Offered:
    """A tool that a request offers, independent of the dialect."""

    tool: Tool
    where: str
    """Its place in the request."""
    takes: str
    """The field of it that says what it takes: the schema of its arguments, the grammar of its input."""
    is_custom: bool = False
    """Its input is text; the model sees a function with one argument, `input`."""
    input: InputGrammar | None = None
    """Of a custom tool; None: free text."""
    strict: bool = False
    """Whether its arguments must match their schema even where the model may choose to call it."""
    deferred: bool = False
    """The conversation describes it, not the prompt's list of tools."""


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """What a request demands of calls, independent of the dialect."""

    mode: Literal["none", "auto", "required"] = "auto"
    names: tuple[str, ...] | None = None
    """The tools that may be called; None: all."""
    single: bool = False
    """Whether exactly one call is demanded; the prompt still lists the other tools."""
    param: str = "tool_choice"
    """The field with the names."""


@dataclass(frozen=True, slots=True)
class ToolPlan:
    """The tools of one request, and how they are enforced."""

    shown: tuple[Tool, ...] = ()
    """The tools that the model sees."""
    custom: frozenset[str] = frozenset()
    """Those of them whose input is text; the model sees a function with one argument, `input`."""
    inputs: Mapping[str, str] = field(default_factory=dict)
    """What the input of some custom tools must match, by their names, as the right side of a rule."""
    demanded: tuple[Tool, ...] = ()
    """One of these must be called; empty: the model may choose."""
    most: int = MAX_CALLS
    """The most calls in an answer, if they are demanded."""
    strict: frozenset[str] = frozenset()
    """Functions whose arguments must match their schema even where the model may choose to call them."""
    schemas: Mapping[str, str] = field(default_factory=dict)
    """What enforced arguments must match, by the names of their tools, as the right side of a rule."""
    places: Mapping[str, str] = field(default_factory=dict)
    """Where in the request each tool says what it takes, by their names."""
    deferred: frozenset[str] = frozenset()
    """Tools that the conversation describes, so the list of tools does not."""
    legacy: bool = False
    """Request and answer are in the older form of `functions`."""

    @property
    def param(self) -> str:
        """The request's field with the tools."""
        return "functions" if self.legacy else "tools"

    @property
    def listed(self) -> tuple[Tool, ...]:
        """The prompt's list of tools."""
        if not self.deferred:
            return self.shown
        return tuple(tool for tool in self.shown if tool.name not in self.deferred)

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


def plan_tools(
    offered: Sequence[Offered], choice: ToolChoice, *, parallel: bool, legacy: bool = False
) -> ToolPlan:
    """Make the plan for a request's tools and choice; `legacy`: they came as `functions`.

    Raises InvalidRequest for two tools of one name, a choice that is none of them, and a schema or grammar
    that cannot be enforced.
    """
    places: dict[str, str] = {}
    for each in offered:
        if each.tool.name in places:
            raise bad_request.not_unique(each.where, each.tool.name)
        places[each.tool.name] = f"{each.where}.{each.takes}"
    if not offered or choice.mode == "none":
        return ToolPlan(legacy=legacy)
    inputs = {
        each.tool.name: _input_rule(each.input, places[each.tool.name])
        for each in offered
        if each.input is not None
    }
    plan = ToolPlan(
        tuple(each.tool for each in offered),
        frozenset(each.tool.name for each in offered if each.is_custom),
        inputs,
        most=MAX_CALLS if parallel else 1,
        strict=frozenset(each.tool.name for each in offered if each.strict),
        places=places,
        deferred=frozenset(each.tool.name for each in offered if each.deferred),
        legacy=legacy,
    )
    return _enforcing(_chosen(plan, choice))


def _chosen(plan: ToolPlan, choice: ToolChoice) -> ToolPlan:
    """The plan with what is demanded or left out."""
    wanted = plan.shown
    if choice.names is not None:
        wanted = tuple(_find(plan.shown, name, choice.param) for name in choice.names)
    if choice.single:
        return replace(plan, demanded=wanted, most=1)
    names = {tool.name for tool in wanted}
    return replace(
        plan,
        shown=wanted,
        inputs={name: rule for name, rule in plan.inputs.items() if name in names},
        demanded=wanted if choice.mode == "required" else (),
        strict=plan.strict & names,
    )


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


def _input_rule(grammar: InputGrammar, param: str) -> str:
    """What a custom tool's input must match, as the right side of a rule."""
    if grammar.syntax == "lark":
        check_lark(grammar.definition, param)
        return f"%lark {{\n{grammar.definition}\n}}"
    check_pattern(grammar.definition, param)
    return regex_terminal(grammar.definition)


def _find(tools: Sequence[Tool], name: str, param: str) -> Tool:
    for tool in tools:
        if tool.name == name:
            return tool
    raise bad_request.not_one_of(param, name, [tool.name for tool in tools])


def new_call_id() -> str:
    return "call_" + secrets.token_hex(12)
