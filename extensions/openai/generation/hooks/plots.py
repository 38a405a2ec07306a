"""The figures of a whole answer: those in the results of tools that it rests on, then those of extensions.

A tool gives a figure as Jupyter's kernels do: its result is JSON with a member that has the media type as its
name. An extension has the hook `plots_of(text, messages)`, which only this server calls.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import orjson

from ...errors import ExtensionFailed, InvalidRequest
from ...schemas.figures import MAX_PLOTS, MEDIA_TYPE, NewPlot, written
from ...schemas.validation import check
from .extension_hooks import Hooks, guarded

log = logging.getLogger("openedai")

HOOK = "plots_of"
RESULTS = ("tool", "function")
"""Roles of messages with the results of tools."""


def may_have_figures(last_role: str, hooks: Hooks | None) -> bool:
    """Whether `figures_of` may find any, by the role of the last message that was sent."""
    return last_role in RESULTS or (hooks is not None and bool(hooks.having(HOOK)))


def figures_of(
    text: str | None, messages: Sequence[Mapping[str, Any]], hooks: Hooks | None
) -> list[bytes]:
    """Figures for the answer `text` to `messages`, as they are stored. One that cannot be taken is left out
    and logged without what is in it: the answer is complete, and not to be lost for it."""
    return list(islice(_figures(text, messages, hooks), MAX_PLOTS))


def _figures(
    text: str | None, messages: Sequence[Mapping[str, Any]], hooks: Hooks | None
) -> Iterator[bytes]:
    yield from _taken("a tool", _of_tools(messages))
    for name, module in () if hooks is None or text is None else hooks.having(HOOK):
        try:
            made = list(guarded(name, HOOK, getattr(module, HOOK))(text, messages) or ())
        except ExtensionFailed:  # it is in the log
            continue
        except TypeError:
            log.error("the extension %s gave no list in its %s", name, HOOK)
            continue
        yield from _taken(f"the extension {name}", made)


def _of_tools(messages: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Of the results behind the last message that is none."""
    figures: list[Any] = []
    for message in reversed(messages):
        if message["role"] not in RESULTS:
            break
        figures[:0] = _in_result(message.get("content"))
    return figures


def _in_result(content: Any) -> list[Any]:
    """The figures in a result: a text, or parts of which some are texts."""
    parts = content if isinstance(content, list) else [{"text": content}]
    texts = [part["text"] for part in parts if isinstance(part.get("text"), str)]
    return [figure for text in texts if MEDIA_TYPE in text for figure in _member(text)]


def _member(text: str) -> list[Any]:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return []  # a text that only names the media type
    return [value[MEDIA_TYPE]] if isinstance(value, dict) and MEDIA_TYPE in value else []


def _taken(giver: str, figures: Iterable[Any]) -> Iterator[bytes]:
    for figure in figures:
        try:
            yield written(check(NewPlot, {"figure": figure}, strict=True).figure)
        except InvalidRequest as error:
            log.warning("a figure of %s is left out (%s: %s)", giver, error.param, error.code)
