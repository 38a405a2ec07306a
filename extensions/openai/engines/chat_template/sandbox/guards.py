"""Checks before single operations of chat templates: none may take long, or make much of little."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from typing import Any

from jinja2.runtime import LoopContext

from .meter import TemplateTooCostly, current

MAX_NUMBER = 100_000
"""As an argument of a function or filter: a width, a count."""
MAX_BITS = 4_096
MAX_JSON_INDENT = 32
FIELD = 1_000
"""The widest field of a format."""
ELEMENT = 8
"""What an element of a list counts, in characters."""
LONG_FIELD = re.compile(r"\d{4}|\*|\{[^{}]*:[^{}]*\{")
"""In a format: a field that is wider than `FIELD`, or whose width is an argument."""

_SHALLOW = frozenset({"abs", "attr", "batch", "count", "d", "default", "first", "float", "int", "items",
                      "last", "length", "list", "map", "reject", "rejectattr", "reverse", "round",
                      "select", "selectattr", "slice"})  # fmt: skip
"""Filters that do not look inside of what the elements of their value hold."""
_WIDE = frozenset(
    {"batch", "center", "indent", "ljust", "rjust", "round", "slice", "truncate", "zfill"}
)
"""Filters and methods that make as much as a number says."""
_COMPARING = frozenset({"eq", "equalto", "==", "ne", "!=", "gt", "greaterthan", ">", "ge", ">=", "lt",
                        "lessthan", "<", "le", "<=", "in"})  # fmt: skip


def size_of(value: Any) -> int:
    """The characters of a text; a list's elements count as eight each."""
    if isinstance(value, (str, bytes)):
        return len(value)
    if isinstance(value, (list, tuple, Mapping)):
        return ELEMENT * len(value)
    return ELEMENT


def counted_filter(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """A filter that reports to the meter."""
    check = _FILTERS.get(name)
    deep = name not in _SHALLOW

    @wraps(function)
    def counted(*args: Any, **kwargs: Any) -> Any:
        meter = current()
        meter.step()
        meter.look()
        at = 1 if hasattr(function, "jinja_pass_arg") else 0
        value, others = args[at], args[at + 1 :]
        if name in _WIDE:
            _check_numbers(others, kwargs)
        if deep and not isinstance(value, str):
            if hasattr(type(value), "__next__") and not isinstance(value, LoopContext):
                value = list(value)
            meter.make(meter.weigh(value))
        if check is not None:
            value = check(value, others, kwargs)
        result = function(*args[:at], value, *others, **kwargs)
        meter.make(size_of(result))
        return result

    return counted


def counted_test(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """A test that reports to the meter."""
    deep = name in _COMPARING

    @wraps(function)
    def counted(*args: Any) -> Any:
        meter = current()
        meter.step()
        if deep:
            for arg in args:
                meter.weigh(arg)
        return function(*args)

    return counted


def check_call(function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    """Before a function that is not the template's own."""
    meter = current()
    meter.look()
    owner, name = getattr(function, "__self__", None), getattr(function, "__name__", "")
    if name in _WIDE:
        _check_numbers(args, kwargs)
    inside = sum(map(meter.weigh, args)) + sum(map(meter.weigh, kwargs.values()))
    meter.make(size_of(owner) + inside)
    if isinstance(owner, str):
        check = _METHODS.get(name)
        if check is not None:
            check(owner, args, kwargs)


def check_operation(operator: str, left: Any, right: Any) -> None:
    """Before an operation of two values."""
    meter = current()
    meter.step()
    if operator == "+":
        if isinstance(left, (str, list, tuple)):
            meter.make(size_of(left) + size_of(right))
    elif operator == "*":
        for value, times in ((left, right), (right, left)):
            if isinstance(value, (str, bytes, list, tuple)) and isinstance(times, int):
                meter.make(size_of(value) * max(0, times))
        _check_bits(left, right, lambda a, b: a + b)
    elif operator == "**":
        _check_bits(left, right, lambda a, _: a * min(abs(right), MAX_BITS + 1))
    elif operator == "%" and isinstance(left, str):
        _check_format(left, right)


def counted_format(form: str, function: Callable[..., str]) -> Callable[..., str]:
    """`str.format` that reports to the meter."""

    @wraps(function)
    def counted(*args: Any, **kwargs: Any) -> str:
        _check_format(form, (*args, *kwargs.values()))
        return function(*args, **kwargs)

    return counted


def to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """The filter of `apply_chat_template`: Jinja's own escapes what HTML would take for markup."""
    width = len(indent) if isinstance(indent, str) else indent or 0
    if width > MAX_JSON_INDENT or any(len(each) > MAX_JSON_INDENT for each in separators or ()):
        raise TemplateTooCostly("it makes too much text")
    if width:
        current().make(current().weigh(value) * width * _depth(value))
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def _depth(value: Any) -> int:
    """How deeply lists and objects are nested."""
    depth, level = 1, [value]
    while level:
        inner: list[Any] = []
        for each in level:
            if isinstance(each, (list, tuple)):
                inner += each
            elif isinstance(each, Mapping):
                inner += each.values()
        depth, level = depth + 1, inner
    return depth


def _check_numbers(args: Iterable[Any], kwargs: Mapping[str, Any]) -> None:
    for arg in (*args, *kwargs.values()):
        if isinstance(arg, int) and abs(arg) > MAX_NUMBER:
            raise TemplateTooCostly(f"it has the number {arg:.6g} as an argument")


def _check_bits(left: Any, right: Any, bits: Callable[[int, int], int]) -> None:
    both = isinstance(left, int) and isinstance(right, int)
    if both and bits(left.bit_length(), right.bit_length()) > MAX_BITS:
        raise TemplateTooCostly("it makes too large a number")


def _check_format(form: str, arguments: Any) -> None:
    meter = current()
    if LONG_FIELD.search(form):
        raise TemplateTooCostly("it has a field that is too wide")
    fields = form.count("%") + form.count("{")
    meter.make(len(form) + fields * (FIELD + meter.weigh(arguments)))


def _check_join(value: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    between = args[0] if args else kwargs.get("d", "")
    current().make(len(value) * max(ELEMENT, size_of(between)))
    return value


def _check_replace(value: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    given = [*args, *kwargs.values()]
    if len(given) >= 2:
        text = value if isinstance(value, str) else str(value)
        old, new = str(given[0]), str(given[1])
        current().make(len(text) + text.count(old) * len(new))
    return value


def _check_indent(value: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    width = args[0] if args else kwargs.get("width", 4)
    wide = len(width) if isinstance(width, str) else int(width)
    text = value if isinstance(value, str) else str(value)
    current().make(len(text) + (len(text.splitlines()) + 1) * wide)
    return value


def _check_list(value: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    if isinstance(value, str):
        current().make(ELEMENT * len(value))
    return value


def _check_sum(value: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    attribute = kwargs.get("attribute", args[0] if args else None)
    start = kwargs.get("start", args[1] if len(args) > 1 else 0)
    if not isinstance(start, (int, float)) or (
        attribute is None and not all(isinstance(each, (int, float)) for each in value)
    ):
        raise TypeError("only numbers can be added up")
    return value


def _check_filter_format(value: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    _check_format(str(value), kwargs or args)
    return value


def _check_split(text: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    separator = args[0] if args else kwargs.get("sep")
    pieces = text.count(separator) if isinstance(separator, str) and separator else len(text) // 8
    current().make(ELEMENT * pieces)


def _check_translate(text: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    current().make(len(text) * (1 + sum(map(current().weigh, args))))


def _check_join_method(text: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    if args and not hasattr(args[0], "__len__"):
        raise TypeError("only a list can be joined")
    if args:
        current().make(len(text) * len(args[0]))


_FILTERS: Mapping[str, Callable[[Any, tuple[Any, ...], Mapping[str, Any]], Any]] = {
    "join": _check_join,
    "replace": _check_replace,
    "indent": _check_indent,
    "list": _check_list,
    "sum": _check_sum,
    "format": _check_filter_format,
}
_METHODS: Mapping[str, Callable[[str, tuple[Any, ...], Mapping[str, Any]], Any]] = {
    "join": _check_join_method,
    "replace": _check_replace,
    "split": _check_split,
    "rsplit": _check_split,
    "splitlines": _check_split,
    "translate": _check_translate,
}
