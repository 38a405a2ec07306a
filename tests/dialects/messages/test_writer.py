"""The events of a message, made of the events of a generation."""

from __future__ import annotations

from typing import Any

import pytest

from extensions.openai.dialects.messages.signatures import ThoughtSigner
from extensions.openai.dialects.messages.writer import MessageFold, MessageWriter, message_events
from extensions.openai.engines.echo import EchoEngine
from extensions.openai.engines.protocol import PromptUsage, ToolCallDelta
from extensions.openai.generation.events import Event
from extensions.openai.generation.plan import Generation
from extensions.openai.generation.usage import UsageCount
from extensions.openai.state.keyring import Keyring

SIGNER = ThoughtSigner(Keyring([b"k" * 32]), "local")


def written(*events: Event | None, **options: Any) -> list[Any]:
    generation = Generation(iter_events(events), EchoEngine().info, UsageCount(1))
    writer = MessageWriter(generation, SIGNER, **{"max_tokens": 100, **options})
    return list(message_events(generation, writer))


def iter_events(events: Any) -> Any:
    yield from events


def folded(events: list[Any]) -> Any:
    fold = MessageFold()
    for event in events:
        if event is not None:
            fold.add(event)
    return fold.whole()


def kinds(events: list[Any]) -> list[str]:
    return [
        event["delta"]["type"] if event["type"] == "content_block_delta" else event["type"]
        for event in events
    ]


TEXT = [
    Event(0, "Hel", tokens=1, prompt=PromptUsage(10, 4)),
    None,
    Event(0, "lo", tokens=1),
    Event(0, tokens=1, finish="stop"),
]


def test_a_text() -> None:
    events = written(*TEXT)
    assert events.pop(4) is None
    assert kinds(events) == [
        *("message_start", "content_block_start", "ping", "text_delta", "text_delta"),
        *("content_block_stop", "message_delta", "message_stop"),
    ]
    start = events[0]["message"]
    assert start["content"] == [] and start["stop_reason"] is None
    assert start["usage"]["input_tokens"] == 6 and start["usage"]["cache_read_input_tokens"] == 4
    assert events[1] == {
        "type": "content_block_start",
        "index": 0,
        "content_block": {"type": "text", "text": "", "citations": None},
    }
    assert events[-2]["delta"] == {"stop_reason": "end_turn", "stop_sequence": None}
    assert events[-2]["usage"]["output_tokens"] == 3
    assert folded(events)["content"] == [{"type": "text", "text": "Hello", "citations": None}]


def call(index: int, name: str | None = None, arguments: str = "") -> Event:
    return Event(0, tool_calls=(ToolCallDelta(index, arguments, None, name),))


def test_a_thought_a_text_and_two_calls() -> None:
    events = written(
        Event(0, reasoning="Look", tokens=1, thought_tokens=1),
        Event(0, reasoning=".", tokens=1, thought_tokens=1),
        Event(0, "So.", tokens=1),
        call(0, "f", '{"a": '),
        call(0, arguments="1}"),
        call(1, "g", "{}"),
        Event(0, tokens=1, finish="tool_calls"),
    )
    assert kinds(events)[:6] == [
        *("message_start", "content_block_start", "ping", "thinking_delta", "thinking_delta"),
        "signature_delta",
    ]
    whole = folded(events)
    thought, text, first, second = whole["content"]
    assert thought["thinking"] == "Look." and text["text"] == "So."
    assert SIGNER.thought(thought["thinking"], thought["signature"]) == "Look."
    assert (first["name"], first["input"], second["name"], second["input"]) == (
        "f",
        {"a": 1},
        "g",
        {},
    )
    assert first["id"].startswith("toolu_") and first["id"] != second["id"]
    assert whole["stop_reason"] == "tool_use"
    assert whole["usage"]["output_tokens_details"] == {"thinking_tokens": 2}
    starts = [event for event in events if event["type"] == "content_block_start"]
    assert [event["index"] for event in starts] == [0, 1, 2, 3]
    assert starts[2]["content_block"]["input"] == {}


def test_a_thought_that_the_client_does_not_want_to_read() -> None:
    events = written(
        Event(0, reasoning="Look."), Event(0, "So."), Event(0, finish="stop"), hides_thoughts=True
    )
    assert "thinking_delta" not in kinds(events)
    thought = folded(events)["content"][0]
    assert thought["thinking"] == "" and SIGNER.thought("", thought["signature"]) == "Look."


@pytest.mark.parametrize(
    ("event", "reason", "stop"),
    [
        (Event(0, finish="stop"), "end_turn", None),
        (Event(0, tokens=100, finish="length"), "max_tokens", None),
        (Event(0, tokens=99, finish="length"), "model_context_window_exceeded", None),
        (Event(0, finish="stop", stop_string="END"), "stop_sequence", "END"),
        # A stop string of the operator's is none of the request's.
        (Event(0, finish="stop", stop_string="\nYou:"), "end_turn", None),
    ],
)
def test_why_it_ended(event: Event, reason: str, stop: str | None) -> None:
    whole = folded(written(Event(0, "x"), event, stops=("END",)))
    assert (whole["stop_reason"], whole["stop_sequence"]) == (reason, stop)


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ('{"a": "x', {}),
        ('{"a": 1, "b', {"a": 1}),
        ("", {}),
        ("{", {}),
        ("[1]", {}),
        ("no JSON", {}),
    ],
)
def test_the_input_of_a_call_that_was_cut(arguments: str, wanted: Any) -> None:
    whole = folded(written(call(0, "f", arguments), Event(0, tokens=100, finish="length")))
    assert whole["content"][0]["input"] == wanted
    assert whole["stop_reason"] == "max_tokens"


def test_nothing_at_all() -> None:
    events = written(Event(0, tokens=1, finish="stop"))
    assert kinds(events) == ["message_start", "message_delta", "message_stop"]
    assert folded(events)["content"] == []
