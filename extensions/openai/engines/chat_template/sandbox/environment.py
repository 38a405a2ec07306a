"""The environment that chat templates are compiled and run in: Jinja's sandbox, with a meter.

As in Hugging Face's `apply_chat_template`: an immutable sandbox, blocks trimmed, loop controls, `tojson`
without escapes for HTML, `raise_exception`, `strftime_now`, and `{% generation %}` blocks.

The sandbox keeps a template from what is none of its business; the meter (`meter.py`) keeps it from taking
all time or memory. Jinja compiles a template to Python. `_Metering` changes that Python so that each loop and
function counts a step, and that values are counted before they are written or compared as a whole.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import lru_cache
from types import CodeType
from typing import Any, ClassVar, cast

from jinja2 import TemplateError, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.runtime import Context, LoopContext, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment

from ....system import python_ast
from . import guards, meter
from .meter import MAX_CALL_DEPTH, TemplateTooCostly, current

LEFT_OUT_FILTERS = ("filesizeformat", "forceescape", "pprint", "random", "striptags", "urlize", "wordwrap",
                    "xmlattr")  # fmt: skip
"""Filters for web pages, which no prompt needs and whose cost has no simple bound."""


class Objection(TemplateError):
    """What a template says about its messages, through `raise_exception`."""


class _Generation(Extension):
    """`{% generation %}` marks what the model was trained to say; for a prompt it changes nothing."""

    tags = {"generation"}  # noqa: RUF012  # as the base class has it

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)


class ChatEnvironment(ImmutableSandboxedEnvironment):
    """Thread-safe, as Jinja's own."""

    intercepted_binops = frozenset({"+", "-", "*", "/", "//", "**", "%"})

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=["jinja2.ext.loopcontrols", _Generation],
        )
        for name in LEFT_OUT_FILTERS:
            self.filters.pop(name, None)
        self.filters["tojson"] = guards.to_json
        for name, function in self.filters.items():
            self.filters[name] = guards.counted_filter(name, function)
        for name, function in self.tests.items():
            self.tests[name] = guards.counted_test(name, cast(Callable[..., Any], function))
        self.globals.pop("lipsum", None)
        self.globals["raise_exception"] = _object
        self.globals["strftime_now"] = _now

    # What the compiled templates call

    concat = staticmethod(meter.concat)
    step = staticmethod(meter.step)
    as_text = staticmethod(meter.as_text)
    as_markup = staticmethod(meter.as_markup)
    joined = staticmethod(meter.joined)
    weighed = staticmethod(meter.weighed)

    @staticmethod
    def sliced(value: Any) -> Any:
        """A value that is about to be cut."""
        current().make(guards.size_of(value))
        return value

    # What the sandbox asks

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        # Numbers and bytes can make large values of small ones, and prompts need neither.
        if isinstance(obj, (int, float, complex, bytes)) or attr in ("encode", "expandtabs"):
            return False
        return super().is_safe_attribute(obj, attr, value)

    def getitem(self, obj: Any, argument: Any) -> Any:
        if isinstance(argument, tuple):
            current().weigh(argument)  # which is hashed
        return super().getitem(obj, argument)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        guards.check_operation(operator, left, right)
        return super().call_binop(context, operator, left, right)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        plain = super().wrap_str_format(value)
        return None if plain is None else guards.counted_format(value.__self__, plain)

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        counted = current()
        counted.step()
        if not isinstance(__obj, (Macro, LoopContext)):
            guards.check_call(__obj, args, kwargs)
        if counted.depth >= MAX_CALL_DEPTH:
            raise TemplateTooCostly("it calls itself too often")
        counted.depth += 1
        try:
            return super().call(__context, __obj, *args, **kwargs)
        finally:
            counted.depth -= 1

    def _compile(self, source: str, filename: str) -> CodeType:
        tree = _Metering().visit(python_ast.parse(source, filename))
        return compile(ast.fix_missing_locations(tree), filename, "exec")


class _Metering(ast.NodeTransformer):
    """Makes the Python that Jinja generates report to the meter."""

    CALLS: ClassVar[Mapping[str, str]] = {
        "str": "as_text",
        "escape": "as_markup",
        "str_join": "joined",
        "markup_join": "joined",
    }

    def visit_For(self, node: ast.For) -> ast.AST:
        self.generic_visit(node)
        node.body.insert(0, _STEP)
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        self.generic_visit(node)
        node.body.insert(0, _STEP)
        return node

    def visit_Name(self, node: ast.Name) -> ast.AST:
        replacement = self.CALLS.get(node.id)
        if replacement is None or not isinstance(node.ctx, ast.Load):
            return node
        return _attribute(replacement)

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        self.generic_visit(node)
        operands = [node.left, *node.comparators]
        if all(isinstance(op, (ast.Is, ast.IsNot)) for op in node.ops):
            return node
        # Equal to a text or a number is what has no inside.
        if all(isinstance(op, (ast.Eq, ast.NotEq)) for op in node.ops) and any(
            isinstance(operand, ast.Constant) for operand in operands
        ):
            return node
        node.left, *node.comparators = (_weighed(operand) for operand in operands)
        return node

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.slice, ast.Slice):
            node.value = _call("sliced", node.value)
        return node

    def visit_Dict(self, node: ast.Dict) -> ast.AST:
        self.generic_visit(node)
        node.keys = [key and _weighed(key) for key in node.keys]
        return node


def _attribute(name: str) -> ast.expr:
    return ast.Attribute(ast.Name("environment", ast.Load()), name, ast.Load())


def _call(name: str, *arguments: ast.expr) -> ast.expr:
    return ast.Call(_attribute(name), list(arguments), [])


def _weighed(operand: ast.expr) -> ast.expr:
    return operand if isinstance(operand, ast.Constant) else _call("weighed", operand)


_STEP = ast.Expr(_call("step"))


def _object(message: Any = "") -> str:
    raise Objection(str(message)[:2_000])


def _now(form: str) -> str:
    if len(form) > 1_000:
        raise TemplateTooCostly("it makes too much text")
    return datetime.now().strftime(form)


@lru_cache(maxsize=1)
def environment() -> ChatEnvironment:
    """The one environment of all templates."""
    return ChatEnvironment()
