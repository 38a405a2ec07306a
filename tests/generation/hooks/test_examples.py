"""The example extensions by themselves. With a host around them: tests/engines, tests/webui_checkout."""

from __future__ import annotations

import importlib
from typing import Any

import pytest

from extensions.openai.engines.echo import EchoEngine
from extensions.openai.generation.hooks.extension_hooks import Hooks
from extensions.openai.generation.hooks.plots import figures_of
from tests.support.api import Api


@pytest.fixture
def rewrite() -> Any:
    return importlib.import_module("extensions.example_rewrite.script")


@pytest.fixture
def notes() -> Any:
    return importlib.import_module("extensions.example_notes.script")


@pytest.fixture
def plots() -> Any:
    return importlib.import_module("extensions.example_plots.script")


@pytest.fixture
def redact() -> Any:
    return importlib.import_module("extensions.example_redact.script")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("Write to jane.doe+x@mail.example.com, please.", "Write to [mail], please."),
        ("4111 1111 1111 1111 or 4111-1111-1111-1111", "[card] or [card]"),  # a card for tests
        ("4111 1111 1111 1112 is none", "4111 1111 1111 1112 is none"),
        ("DE89 3704 0044 0532 0130 00 and GB82WEST12345698765432.", "[iban] and [iban]."),
        ("Call +49 (0)30 1234-567 now", "Call [phone] now"),
        ("from 192.168.0.17, version 1.2.3", "from [address], version 1.2.3"),
        ("a @ b, 12:30, 2026-11-29, 1234567", "a @ b, 12:30, 2026-11-29, 1234567"),
    ],
)
def test_personal_data_is_replaced(redact: Any, before: str, after: str) -> None:
    assert redact.input_modifier(before, {}, is_chat=True) == after
    assert redact.output_modifier(before) == after
    turns = history([before, before])
    assert redact.history_modifier(turns)["internal"] == [[after, after]]


def test_the_guard_works_through_the_api(redact: Any) -> None:
    """The echo engine says what the model was given."""
    api = Api(EchoEngine())
    api.app.extensions["openai"].hooks = Hooks(lambda: [("example_redact", redact)])
    messages = [{"role": "user", "content": "I am jane@example.com, who are you?"}]
    answer = api.chat(messages)["choices"][0]["message"]["content"]
    assert answer == "I am [mail], who are you?"
    assert (
        api.folded("chat/completions", messages=messages)["choices"][0]["message"]["content"]
        == answer
    )
    assert api.complete("+49 30 1234567 rings")["choices"][0]["text"] == "[phone] rings"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("The capital of FR?", "The capital of France?"),
        ("FR, FR and FRESH", "France, France and FRESH"),
        ("", ""),
    ],
)
def test_input_is_rewritten_by_whole_words(rewrite: Any, before: str, after: str) -> None:
    assert rewrite.input_modifier(before, {}, is_chat=True) == after
    # Webuis of 2023 give the text alone.
    assert rewrite.input_modifier(before) == after


def test_output_is_rewritten(rewrite: Any) -> None:
    assert rewrite.output_modifier("It is Paris.", {}) == "It is **Paris**."
    assert rewrite.output_modifier("It is Par", {}) == "It is Par"


def test_words_come_from_the_settings(rewrite: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(rewrite.params, "output", {})
    assert rewrite.output_modifier("Paris", {}) == "Paris"
    monkeypatch.setitem(rewrite.params, "output", {"a.b": r"\1"})
    assert rewrite.output_modifier("a.b acb", {}) == r"\1 acb"


def history(*turns: list[str]) -> dict[str, Any]:
    return {"internal": [*turns], "visible": [*turns], "metadata": {}}


def test_notes_go_in_front_once(notes: Any) -> None:
    always, rome = "The code is 4711.", "I went to Rome in May."
    first = notes.history_modifier(history())
    assert [turn[0] for turn in first["internal"]] == [always]
    assert first["visible"] == first["internal"] and first["metadata"] == {}
    second = notes.history_modifier(history(["Do you know rome?", "Yes."]))
    assert [turn[0] for turn in second["internal"]] == [always, rome, "Do you know rome?"]
    # The UI keeps what it is given, and gives it back with the next turn.
    assert notes.history_modifier(second) == second


TABLE = """Here it is:

| City | People | Share | Note |
|:-----|-------:|------:|------|
| **Rome** | 2,800,000 | 4.7 % | old |
| a<b | 2100000 | -3% | `new` |

That is all."""


def test_a_table_becomes_a_figure(plots: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    cities = {"type": "bar", "x": ["Rome", "a&lt;b"]}
    figure = {
        "data": [
            cities | {"name": "People", "y": [2_800_000.0, 2_100_000.0]},
            cities | {"name": "Share", "y": [4.7, -3.0]},
        ],
        "layout": {"xaxis": {"title": {"text": "City"}}},
    }
    assert plots.plots_of(TABLE) == [figure]
    assert plots.plots_of(f"{TABLE}\n\n{TABLE}") == [figure, figure]
    assert figures_of(TABLE, [], Hooks(lambda: [("plots", plots)]))  # the server takes it
    monkeypatch.setitem(plots.params, "type", "scatter")
    assert plots.plots_of(TABLE)[0]["data"][0]["type"] == "scatter"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no | table",
        "| A | B |\n| 1 | 2 |",
        "| A | B |\n|---|---|",
        "| A | B |\n|---|---|\n| x | much |",
        "| A | B |\n|---|---|\n| x | 1 |\n| y | 1,2 |",
        "| A |\n|---|\n| 1 |",
        "a\n---\nb",
    ],
)
def test_what_is_no_table_of_numbers(plots: Any, text: str) -> None:
    assert plots.plots_of(text) == []
