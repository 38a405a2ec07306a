"""What one rendering of a chat template may cost: steps, text and time.

A template comes with a model file, so it may be hostile. Every loop, call, filter and operation of the
compiled template reports here (`environment.py`), and the rendering ends with `TemplateTooCostly` when a
bound is passed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from contextlib import contextmanager
from typing import Any

from jinja2.runtime import str_join
from jinja2.utils import Namespace
from markupsafe import Markup, escape

BASE_STEPS, STEPS_PER_MESSAGE = 400_000, 4_000
BASE_CHARACTERS, CHARACTERS_PER_CHARACTER, CHARACTERS_PER_MESSAGE = 16_000_000, 64, 20_000
"""Characters that all operations of a rendering may make together; a list element counts as eight."""
BASE_CPU_S, CPU_S_PER_MESSAGE = 1.0, 0.005
MAX_CALL_DEPTH = 60
"""Macros inside of macros; each takes about eight frames of Python's stack."""
MAX_NODES = 200_000
"""Values inside of one value that is written, compared or sorted, as far as no message has more."""


class TemplateTooCostly(Exception):
    """The template needs more than a rendering may cost."""


class Meter:
    """The bounds of one rendering. `messages` and `characters`: the size of what is rendered."""

    __slots__ = ("_characters", "_cpu_end", "_cpu_s", "_nodes", "_steps", "_wall_end", "depth")

    def __init__(self, messages: int = 0, characters: int = 0) -> None:
        self._steps = BASE_STEPS + STEPS_PER_MESSAGE * messages
        self._characters = BASE_CHARACTERS + CHARACTERS_PER_CHARACTER * characters
        self._characters += CHARACTERS_PER_MESSAGE * messages
        self._nodes = MAX_NODES + characters
        self._cpu_s = BASE_CPU_S + CPU_S_PER_MESSAGE * messages
        self._wall_end = time.monotonic() + self._cpu_s
        self._cpu_end = time.thread_time() + self._cpu_s
        self.depth = 0

    def step(self, steps: int = 1) -> None:
        """Count steps of the template."""
        self._steps -= steps
        if self._steps < 0:
            raise TemplateTooCostly("it takes too many steps")
        if self._steps & 63 == 0 or steps > 1:
            self.look()

    def look(self) -> None:
        """Check the time. The clock of the wall is cheap to read, and never behind that of the thread."""
        if time.monotonic() > self._wall_end:
            if time.thread_time() > self._cpu_end:
                raise TemplateTooCostly("it takes too long")
            self._wall_end = time.monotonic() + self._cpu_s / 10

    def make(self, characters: int) -> None:
        """Count text before it is made."""
        self._characters -= characters
        if self._characters < 0:
            raise TemplateTooCostly("it makes too much text")
        if characters > 1_000:
            self.look()

    def weigh(self, value: Any) -> int:
        """Count what is inside of a value that is about to be written, compared or sorted as a whole, and
        return its characters. Without it a list that holds another one twice, which holds a third one
        twice and so on, would take for ever."""
        kind = type(value)
        if kind is str:
            self.step(1 + (len(value) >> 10))
            return len(value)
        if kind in (int, float, bool, type(None)):
            return 24
        nodes, characters, left = 0, 0, [value]
        while left:
            each = left.pop()
            nodes += 1
            if isinstance(each, str):
                characters += len(each)
            elif isinstance(each, (list, tuple)):
                left += each
                nodes += len(each)
            elif isinstance(each, Mapping):
                left += each.keys()
                left += each.values()
                nodes += len(each)
            elif isinstance(each, Namespace):
                left.append(_attributes_of(each))
            elif isinstance(each, (KeysView, ValuesView, ItemsView)):
                left += each
            elif isinstance(each, range):
                nodes += len(each)
            if nodes > self._nodes or len(left) > self._nodes:
                raise TemplateTooCostly("it nests values too often")
        self.step(1 + (nodes >> 3) + (characters >> 10))
        return characters + 8 * nodes


class _Local(threading.local):
    meter: Meter | None = None


_local = _Local()


def current() -> Meter:
    """The meter of the rendering under way in this thread."""
    meter = _local.meter
    return Meter() if meter is None else meter


@contextmanager
def metered(meter: Meter) -> Iterator[None]:
    """Count what is rendered meanwhile in this thread."""
    before, _local.meter = _local.meter, meter
    try:
        yield
    finally:
        _local.meter = before


# What compiled templates call in place of Python's and Jinja's own


def concat(parts: Iterable[str]) -> str:
    """Join what a template, a macro or a block wrote."""
    parts = list(parts)
    current().make(sum(map(len, parts)))
    return "".join(parts)


def step() -> None:
    current().step()


def as_text(value: Any) -> str:
    if type(value) is str:
        return value
    current().make(current().weigh(value))
    return str(value)


def as_markup(value: Any) -> Markup:
    current().make(current().weigh(value))
    return escape(value)


def joined(values: Iterable[Any]) -> str:
    """The operator `~`."""
    values, meter = tuple(values), current()
    meter.make(sum(map(meter.weigh, values)))
    return str_join(values)


def weighed(value: Any) -> Any:
    current().weigh(value)
    return value


def _attributes_of(namespace: Namespace) -> dict[str, Any]:
    found: dict[str, Any] = object.__getattribute__(namespace, "_Namespace__attrs")
    return found
