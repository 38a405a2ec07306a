"""Figures of a whole answer: of tools and of extensions; what cannot be taken is left out."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from extensions.openai.generation.hooks.extension_hooks import Hooks
from extensions.openai.generation.hooks.plots import figures_of, may_have_figures
from extensions.openai.schemas.figures import MAX_PLOTS

FIGURE = {"data": [{"y": [1]}], "layout": {}}
MEDIA_TYPE = "application/vnd.plotly.v1+json"


def figure(name: str) -> dict[str, Any]:
    return {"data": [{"y": [1], "name": name}], "layout": {}}


def with_hook(*made: Callable[..., Any]) -> Hooks:
    named = [(f"ext{at}", SimpleNamespace(plots_of=each)) for at, each in enumerate(made)]
    return Hooks(lambda: named)


def names(figures: list[bytes]) -> list[str]:
    return [json.loads(each)["data"][0]["name"] for each in figures]


def result(*figures: Any, role: str = "tool") -> dict[str, Any]:
    contents = [json.dumps({MEDIA_TYPE: each, "text/plain": "..."}) for each in figures]
    parts = [{"type": "text", "text": text} for text in contents]
    return {"role": role, "content": contents[0] if len(contents) == 1 else parts}


def test_extensions_in_their_order() -> None:
    def second(text: str, messages: list[Any]) -> Iterator[Any]:
        yield figure(f"{text} to {messages[0]['content']}")

    hooks = with_hook(lambda text: [figure("a"), figure("b")], second, lambda text: None)
    sent = [{"role": "user", "content": "q"}]
    assert names(figures_of("answer", sent, hooks)) == ["a", "b", "answer to q"]
    assert figures_of("answer", sent, None) == figures_of(None, sent, hooks) == []
    assert may_have_figures("user", hooks) and not may_have_figures("user", Hooks(list))


def test_results_of_tools_that_the_answer_rests_on() -> None:
    sent = [
        {"role": "user", "content": "q"},
        result(figure("old")),
        {"role": "assistant", "content": None},
        result(figure("a")),
        result(figure("b"), figure("c")),
        result(figure("d"), role="function"),
        {"role": "tool", "content": f"a text about {MEDIA_TYPE}"},
        {"role": "tool", "content": json.dumps([MEDIA_TYPE])},
        {"role": "tool", "content": None},
    ]
    assert names(figures_of("x", sent, with_hook(lambda: [figure("e")]))) == [*"abcde"]
    assert names(figures_of(None, sent, None)) == [*"abcd"]
    assert figures_of("x", [*sent, {"role": "user", "content": "q"}], None) == []
    assert may_have_figures("tool", None) and not may_have_figures("user", None)


def fail(text: str) -> Any:
    raise ValueError("secret")


def fails_later(text: str) -> Iterator[Any]:
    yield figure("lost")
    raise ValueError("secret")


def endless(text: str) -> dict[str, Any]:
    value: dict[str, Any] = {}
    value["data"] = [{"x": value}]
    return value


@pytest.mark.parametrize(
    "wrong",
    [
        fail,
        fails_later,
        lambda text: 7,
        lambda text: figure("alone"),
        lambda text: ["<div>secret</div>"],
        lambda text: [{"data": [{"type": "secret"}]}],
        lambda text: [{"data": [{"x": [object()]}]}],
        lambda text: [{"data": [{"x": ["<script>"]}]}],
        lambda text: [endless(text)],
    ],
)
def test_what_fails_is_left_out_and_logged(wrong: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "openedai"):
        kept = names(figures_of("x", [], with_hook(wrong, lambda: [figure("kept")])))
    assert kept == ["kept"]
    assert "ext0" in caplog.text
    assert "secret" not in "".join(record.getMessage() for record in caplog.records)


def test_so_many_at_most() -> None:
    hooks = with_hook(lambda: [FIGURE] * (MAX_PLOTS + 5))
    assert len(figures_of("x", [], hooks)) == MAX_PLOTS
