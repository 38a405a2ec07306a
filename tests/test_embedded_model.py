"""The embedded model in llama.cpp: greets, calls tools, ends its turns, cuts text alike."""

from __future__ import annotations

import json
import random
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from scripts.train_model import structured_cases
from tests.support.api import Api

xllamacpp = pytest.importorskip("xllamacpp")
tokenizers = pytest.importorskip("tokenizers")

FOLDER = Path(__file__).resolve().parents[1] / "models" / "openedai-tiny"
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


def test_llama_cpp_cuts_text_like_the_tokenizer_file(engine: Engine) -> None:
    tokenizer = tokenizers.Tokenizer.from_file(str(FOLDER / "tokenizer.json"))
    rng = random.Random(9)
    bits = [
        "'s",
        "'LL",
        " ",
        "  ",
        "\n",
        "\r\n",
        "a",
        "É",
        "12",
        "!?",
        "👋",
        "あ",
        "don't",
        "\u3000",
    ]
    texts = ["".join(rng.choice(bits) for _ in range(rng.randint(1, 20))) for _ in range(120)]
    texts += ["<|im_start|>user\nhi<|im_end|>", "<tool_call>\n{}\n</tool_call>", "👩‍👩‍👧 日本語"]
    for text in texts:
        body = json.dumps({"content": text, "parse_special": True}).encode()
        url = f"{engine.listening_address}/tokenize"
        request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=10) as reply:
            assert json.load(reply)["tokens"] == tokenizer.encode(text).ids, text


def test_structured_answers_end_at_the_temperature_that_clients_leave(tiny: Api) -> None:
    """Schemas, functions, patterns and choices that are not trained on; the whole evaluation is in
    scripts/train_model."""
    asked = list(structured_cases.cases())[::4]
    ended = 0
    for case in asked:
        choice = tiny.chat(case.prompt, max_tokens=200, seed=5, **case.body)["choices"][0]
        ended += choice["finish_reason"] in ("stop", "tool_calls")
    assert ended >= 0.95 * len(asked)
