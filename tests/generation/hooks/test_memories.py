"""What extensions have an agent remember of a user."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from extensions.openai.errors import StoreUnavailable
from extensions.openai.generation.agents.memory import MAX_CHARACTERS, MAX_FACTS
from extensions.openai.generation.hooks.extension_hooks import Hooks
from extensions.openai.state.database import Database
from tests.generation.agents.test_memory import AGENTS, PLACES, Home


class Given:
    """An extension, and what it was given."""

    def __init__(self, *facts: Any) -> None:
        self.facts: Any = list(facts)
        self.calls: list[tuple[str, Any]] = []

    def memories_of(self, text: str, messages: Any) -> Any:
        self.calls.append((text, messages))
        return self.facts


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def install(home: Home, *extensions: Any) -> None:
    named = [(f"e{at}", each) for at, each in enumerate(extensions)]
    home.client.application.extensions["openai"].hooks = Hooks(lambda: named)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", PLACES)
def test_a_fact_is_there_for_the_next_answer(home: Home, path: str, stream: bool) -> None:
    extension = Given("Ann has  a cat.", "Ann has a dog.")
    install(home, extension)
    for text in ("Hi", "Ho"):
        body = {"model": "agent:companion", "stream": stream, **PLACES[path](text)}
        assert home.client.post(path, json=body, buffered=True).status_code == 200
    assert home.facts() == ["Ann has a cat.", "Ann has a dog."]
    assert home.client.get("/v1/memories").json["data"][0]["source"] == "extension"
    assert home.system.endswith('1. "Ann has a cat."\n2. "Ann has a dog."')
    sent = [{"role": "user", "content": "Ho"}]
    assert extension.calls == [("Hi", [{**sent[0], "content": "Hi"}]), ("Ho", sent)]


def test_what_a_stop_string_ends_is_the_whole_answer(home: Home) -> None:
    extension = Given()
    install(home, extension)
    home.said("one two three", stop=" three")
    home.said("one two three", n=2)
    assert [text for text, _ in extension.calls] == ["one two", *["one two three"] * 2]


@pytest.mark.parametrize(
    "more", [{"user": None}, {"agent": "plain"}, {"agent": "nobody"}, {"hooks": False}]
)
def test_nothing_is_asked_where_nothing_is_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: dict[str, Any]
) -> None:
    monkeypatch.setitem(AGENTS, "nobody", {"memory": True, "hooks": []})
    home, extension = Home(tmp_path), Given("x")
    install(home, extension)
    home.said("Hi", **more)
    assert extension.calls == [] and home.facts() == []


def test_what_cannot_be_remembered_is_left_out(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(text: str) -> Any:
        raise ValueError(text)

    secret = "s" * (MAX_CHARACTERS + 1)
    broken = (SimpleNamespace(memories_of=fails), Given(secret, 7, " ", "Kept."))
    no_list = Given()
    no_list.facts = "letters"
    install(home, *broken, no_list, Given(*(f"fact {at}" for at in range(MAX_FACTS))))
    assert home.said("Hi")["content"] == "Hi"
    assert len(home.facts(limit="100")) == MAX_FACTS and home.facts()[0] == "Kept."
    for said in ("e0 failed in memories_of", "e1 is not", "e2 gave no list", "e3 is not", "full"):
        assert said in caplog.text
    assert secret not in caplog.text and "letters" not in caplog.text


def test_an_answer_goes_out_where_the_store_fails(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(home, Given("x"))

    def failing(self: Database, work: Any) -> Any:
        raise StoreUnavailable("full")

    monkeypatch.setattr(Database, "write", failing)
    assert home.said("Hi")["content"] == "Hi" and home.facts() == []


def test_the_example_remembers_names(home: Home) -> None:
    install(home, importlib.import_module("extensions.example_memories.script"))
    home.said("Hello, my name is Ann. I live in Rome.")
    home.said("my name is Ann")
    assert home.facts() == ["The user's name is Ann.", "The user lives in Rome."]
