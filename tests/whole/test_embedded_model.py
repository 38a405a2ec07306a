"""The embedded model is whole, and answers in llama.cpp as the README shows."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.process import ROOT

xllamacpp = pytest.importorskip("xllamacpp")

FOLDER = ROOT / "models" / "openedai-tiny"
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Get the weather in a city",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}},
                "required": ["city"],
            },
        },
    }
]
Engine = Any
Ask = Callable[..., list[dict[str, Any]]]


def test_the_files_are_those_of_the_card() -> None:
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([\w.-]+)` \| (\d+) \| `([0-9a-f]{64})` \|$", card, re.MULTILINE)
    assert {name for name, _, _ in rows} == {
        path.name for path in FOLDER.iterdir() if path.is_file() and path.name != "README.md"
    }
    for name, size, digest in rows:
        data = (FOLDER / name).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (int(size), digest), name


def test_the_card_says_that_it_is_tiny() -> None:
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert "tiny demonstration model" in card and "--model" in card and "held-out" in card


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    """llama.cpp with the committed GGUF file, in this process."""
    params = xllamacpp.CommonParams()
    (path,) = FOLDER.glob("*.gguf")
    params.model.path = str(path)
    params.n_ctx = 4096
    params.verbosity = 0
    params.warmup = False
    params.cpuparams.n_threads = 2
    yield xllamacpp.Server(params)


@pytest.fixture(scope="module")
def ask(engine: Engine) -> Ask:
    """Ask the chat endpoint greedily and collect what it sends back."""

    def call(messages: list[dict[str, Any]], **more: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        body = {"messages": messages, "temperature": 0, "max_tokens": 200, **more}

        def keep(event: Any) -> bool:
            for part in event if isinstance(event, list) else [event]:
                found.append(json.loads(part) if isinstance(part, str) else part)
            return False

        engine.handle_chat_completions(body, keep)
        return found

    return call


def _choice(events: list[dict[str, Any]]) -> dict[str, Any]:
    assert len(events) == 1
    choice: dict[str, Any] = events[0]["choices"][0]
    return choice


@pytest.mark.parametrize(
    ("prompt", "wanted"),
    [
        ("What can you do?", "I am a tiny demonstration model."),  # the README's request
        ("Hello!", "Hello"),
        ("Who are you?", "OpenedAI Tiny"),
        ("What is the base URL?", "http://127.0.0.1:5001/v1"),
        ("Say this is a test", "This is a test"),
        ("What is the capital of France?", "Paris"),
        ("How do you say thank you in Japanese?", "ありがとう"),
    ],
)
def test_answers_and_ends_its_turn(ask: Ask, prompt: str, wanted: str) -> None:
    choice = _choice(ask([{"role": "user", "content": prompt}]))
    assert wanted in choice["message"]["content"]
    assert choice["finish_reason"] == "stop"


def test_an_emoji_comes_through_whole(ask: Ask) -> None:
    answer = _choice(ask([{"role": "user", "content": "Hello!"}]))["message"]["content"]
    assert "👋" in answer and "�" not in answer


@pytest.mark.parametrize("city", ["Paris", "New York"])
def test_a_tool_call_is_structured(ask: Ask, city: str) -> None:
    messages = [{"role": "user", "content": f"What is the weather in {city}?"}]
    choice = _choice(ask(messages, tools=TOOLS))
    (call,) = choice["message"]["tool_calls"]
    assert call["function"]["name"] == "get_weather"
    assert json.loads(call["function"]["arguments"]) == {"city": city}
    assert not choice["message"]["content"]
    assert choice["finish_reason"] == "tool_calls"


def test_a_streamed_tool_call_is_structured(ask: Ask) -> None:
    messages = [{"role": "user", "content": "What is the weather in Paris?"}]
    events = ask(messages, tools=TOOLS, stream=True)
    deltas = [c["delta"] for event in events for c in event["choices"]]
    calls = [call for delta in deltas for call in delta.get("tool_calls") or []]
    assert calls[0]["function"]["name"] == "get_weather"
    arguments = "".join(call["function"].get("arguments") or "" for call in calls)
    assert json.loads(arguments) == {"city": "Paris"}
    assert not any(delta.get("content") for delta in deltas)


def test_the_answer_uses_the_tool_result(ask: Ask) -> None:
    function = {"name": "get_weather", "arguments": '{"city": "Paris"}'}
    messages = [
        {"role": "user", "content": "What is the weather in Paris?"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "a", "type": "function", "function": function}],
        },
        {"role": "tool", "tool_call_id": "a", "content": '{"temperature": 21, "sky": "sunny"}'},
    ]
    choice = _choice(ask(messages, tools=TOOLS))
    assert "sunny" in choice["message"]["content"] and "21" in choice["message"]["content"]
    assert choice["finish_reason"] == "stop"


def test_tools_are_left_alone_for_a_greeting(ask: Ask) -> None:
    choice = _choice(ask([{"role": "user", "content": "Hello!"}], tools=TOOLS))
    assert "Hello" in choice["message"]["content"] and not choice["message"].get("tool_calls")


def test_answers_after_a_long_history(ask: Ask) -> None:
    messages: list[dict[str, Any]] = []
    while len(messages) < 130:
        messages += [
            {"role": "user", "content": "Where are the docs?"},
            {"role": "assistant", "content": "The docs are at /docs, also at /redoc."},
            {"role": "user", "content": "What is the capital of Italy?"},
            {"role": "assistant", "content": "The capital of Italy is Rome."},
        ]
    events = ask([*messages, {"role": "user", "content": "What is the base URL?"}])
    assert events[0]["usage"]["prompt_tokens"] > 1500
    choice = _choice(events)
    assert "127.0.0.1:5001" in choice["message"]["content"]
    assert choice["finish_reason"] == "stop"
