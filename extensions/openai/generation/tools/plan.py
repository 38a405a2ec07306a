"""Tools: what clients offer and demand, and calls that are forced by constrained decoding.

A model that may choose writes calls in its own format. Demanded calls (`required`, or by name), and calls in
a request with a grammar, are written in this server's own format, enforced by a grammar, so that they work
with any template; gpt-oss has its own format for them (`harmony.py`).
Source: OpenAI guide "Function calling".
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Generator, Mapping, Sequence
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
class Outcome:
    """What came of a call that the server made."""

    text: str
    """What the model is told."""
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Runner:
    """Makes the calls of a tool here."""

    run: Callable[[str], Generator[None, None, Outcome]]
    """Gets the arguments as JSON. Yields at least every `callback_bridge.TICK_S` until the result is there;
    closing it ends the call."""
    server: str | None = None
    """The tool server's label; None: the tool is part of this server, and clients do not see its calls."""
    name: str = ""
    """What the tool server calls the tool."""


@dataclass(frozen=True, slots=True)
class Offered:
    """A tool that a request offers, independent of the dialect."""

    tool: Tool
    where: str
    """Its place in the request."""
    schema_field: str
    """Its field with the schema of its arguments, or the grammar of its input."""
    is_custom: bool = False
    """Its input is text; the model sees a function with one argument, `input`."""
    input: InputGrammar | None = None
    """A custom tool's; None: free text."""
    strict: bool = False
    """Whether its arguments must match their schema even if the call is optional."""
    deferred: bool = False
    """The conversation describes it, not the prompt's list of tools."""
    runner: Runner | None = None
    """Makes its calls in this server, so a request can neither demand nor name it; None: the client does."""


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """The calls that a request demands or allows, independent of the dialect."""

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
    """Those whose input is text; the model sees a function with one argument, `input`."""
    inputs: Mapping[str, str] = field(default_factory=dict)
    """Custom tools' grammars of their input, by name, each the right side of a rule."""
    demanded: tuple[Tool, ...] = ()
    """One of these must be called; empty: the model may choose."""
    max_calls: int = MAX_CALLS
    """In an answer, if calls are demanded."""
    strict: frozenset[str] = frozenset()
    """Functions whose arguments must match their schema even if the call is optional."""
    schemas: Mapping[str, str] = field(default_factory=dict)
    """Grammars of enforced arguments, by the tool's name, each the right side of a rule."""
    places: Mapping[str, str] = field(default_factory=dict)
    """The request's field with each tool's schema or grammar, by the tool's name."""
    deferred: frozenset[str] = frozenset()
    """Tools that the conversation describes, so the list of tools does not."""
    hidden: frozenset[str] = frozenset()
    """Tools that were offered and that this answer may not call."""
    here: Mapping[str, Runner] = field(default_factory=dict)
    """Those of `shown` whose calls the server makes, by name."""
    legacy: bool = False
    """Request and answer are in the older form of `functions`."""

    @property
    def param(self) -> str:
        """The request's field with the tools."""
        return "functions" if self.legacy else "tools"

    @property
    def without_own(self) -> ToolPlan:
        """The same without the tools that are part of this server."""
        own = [name for name, runner in self.here.items() if runner.server is None]
        if not own:
            return self
        shown = tuple(tool for tool in self.shown if tool.name not in own)
        here = {name: runner for name, runner in self.here.items() if name not in own}
        return replace(self, shown=shown, here=here)

    @property
    def callable(self) -> tuple[Tool, ...]:
        """Those of the shown tools that this answer may call."""
        return tuple(tool for tool in self.shown if tool.name not in self.hidden)

    def only_shown(self) -> ToolPlan:
        """The plan for an answer without calls, whose prompt has the tools nevertheless."""
        names = frozenset(tool.name for tool in self.shown)
        return replace(
            self,
            hidden=self.hidden | names,
            demanded=(),
            strict=frozenset(),
            inputs={},
            schemas={},
            here={},
        )

    @property
    def listed(self) -> tuple[Tool, ...]:
        """The prompt's list of tools."""
        if not self.deferred:
            return self.shown
        return tuple(tool for tool in self.shown if tool.name not in self.deferred)

    @property
    def parts(self) -> tuple[Part, ...]:
        """Each tool's schema or grammar, as a separate grammar, with its place in the request."""
        rules = {**self.schemas, **self.inputs}
        return tuple(
            (self.places.get(name, "tools"), f"start: {rule}") for name, rule in rules.items()
        )

    def grammar(self, answer: str | None = None) -> str:
        """The grammar of an answer. If calls are demanded: only calls. If not: with `answer` (a grammar of
        one rule), a text that matches it or calls; without, any text, then perhaps calls."""
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
                # The pattern may also match the brace: stop at the first possible end of the call.
                arguments, tail = f"arguments_{at}[suffix={literal('}' + CALL_CLOSING)}]", ""
            rules.append(f"call_{at}: {head} arguments_{at} {tail}")
            rules.append(f"{arguments}: {inner}")
        rules.append("call: " + " | ".join(f"call_{at}" for at in range(len(tools))))
        more = f' ("\\n" {opening} call){{0,{self.max_calls - 1}}}' if self.max_calls > 1 else ""
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


def with_agents(agents: Sequence[Offered], offered: Sequence[Offered]) -> list[Offered]:
    """The tools of an agent, then those of a request, which stand for the agent's of the same names."""
    named = {each.tool.name for each in offered}
    return [*(each for each in agents if each.tool.name not in named), *offered]


def plan_tools(
    offered: Sequence[Offered], choice: ToolChoice, *, parallel: bool, legacy: bool = False
) -> ToolPlan:
    """Make the plan for a request's tools and choice; `legacy`: they came as `functions`.

    Raises InvalidRequest if two tools have the same name, the choice is not one of them, or a schema or
    grammar cannot be enforced.
    """
    places: dict[str, str] = {}
    for each in offered:
        if each.tool.name in places:
            raise bad_request.not_unique(each.where, each.tool.name)
        places[each.tool.name] = f"{each.where}.{each.schema_field}"
    if not offered or choice.mode == "none":
        return ToolPlan(legacy=legacy)
    here = {each.tool.name: each.runner for each in offered if each.runner is not None}
    run_here = tuple(each.tool for each in offered if each.runner is not None)
    offered = [each for each in offered if each.runner is None]
    inputs = {
        each.tool.name: _input_rule(each.input, places[each.tool.name])
        for each in offered
        if each.input is not None
    }
    plan = ToolPlan(
        tuple(each.tool for each in offered),
        custom=frozenset(each.tool.name for each in offered if each.is_custom),
        inputs=inputs,
        max_calls=MAX_CALLS if parallel else 1,
        strict=frozenset(each.tool.name for each in offered if each.strict),
        places=places,
        deferred=frozenset(each.tool.name for each in offered if each.deferred),
        legacy=legacy,
    )
    plan = _with_schemas(_with_choice(plan, choice))
    if not here or plan.demanded:
        return plan
    return replace(plan, shown=(*run_here, *plan.shown), here=here)


def _with_choice(plan: ToolPlan, choice: ToolChoice) -> ToolPlan:
    """The plan with the choice applied."""
    wanted = plan.shown
    if choice.names is not None:
        wanted = tuple(_find(plan.shown, name, choice.param) for name in choice.names)
    if choice.single:
        return replace(plan, demanded=wanted, max_calls=1)
    names = {tool.name for tool in wanted}
    return replace(
        plan,
        shown=wanted,
        hidden=frozenset(tool.name for tool in plan.shown) - names,
        inputs={name: rule for name, rule in plan.inputs.items() if name in names},
        demanded=wanted if choice.mode == "required" else (),
        strict=plan.strict & names,
    )


def _possible_rule(tool: Tool) -> str:
    """The rule for a tool's arguments whose schema is enforced only if that is possible."""
    if not surely_enforceable(tool.parameters):
        return ANY_OBJECT
    try:
        return argument_rule(tool, "tools")
    except InvalidRequest:
        return ANY_OBJECT


def argument_rule(tool: Tool, param: str) -> str:
    """The right side of the rule for a tool's enforced arguments. Raises InvalidRequest."""
    return json_rule(enforced_schema(tool.parameters, param), param)


def _with_schemas(plan: ToolPlan) -> ToolPlan:
    """The plan with the rules for all enforced arguments.

    Raises InvalidRequest if a schema cannot be enforced.
    """
    schemas = {}
    for tool in plan.demanded or plan.shown:
        if tool.name in plan.inputs or not (plan.demanded or tool.name in plan.strict):
            continue
        schemas[tool.name] = argument_rule(tool, plan.places[tool.name])
    return replace(plan, schemas=schemas)


def _input_rule(grammar: InputGrammar, param: str) -> str:
    """The right side of the rule for a custom tool's input."""
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
