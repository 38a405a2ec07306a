"""What precedes the messages of a client that sends all of a conversation, a part of it, or a new message."""

from __future__ import annotations

from typing import Any

import pytest

from extensions.openai.generation.chat.session_history import instructions, preceding


def messages(*said: str) -> list[dict[str, Any]]:
    """`u` and `a` at the beginning say whose it is."""
    roles = {"u": "user", "a": "assistant", "s": "system", "t": "tool"}
    return [{"role": roles[text[0]], "content": text} for text in said]


HISTORY = messages("u1", "a1", "u2", "a2", "u3", "a3")


@pytest.mark.parametrize(
    ("sent", "precede"),
    [
        (["u4"], 6),
        (["u1"], 6),  # said again, not sent again
        (["u4", "u5"], 6),
        (["t1"], 6),
        (["u1", "a1", "u2", "a2", "u3", "a3", "u4"], 0),
        (["u2", "a2", "u3", "a3", "u4"], 2),  # the client's last messages
        (["a3", "u4"], 5),
        (["u1", "a1", "u2", "a2", "u3"], 0),  # the last answer is to be made again
        (["u1", "a1", "u9"], 0),  # the client has changed what it said
        (["u2", "a9", "u3"], 2),
        (["u8", "a8", "u9"], 0),  # another conversation
        ([], 6),
    ],
)
def test_what_the_session_adds(sent: list[str], precede: int) -> None:
    assert preceding(HISTORY, messages(*sent)) == precede


def test_of_what_was_said_twice_the_longer_and_later_is_meant() -> None:
    twice = messages("u1", "a1", "u1", "a2", "u1", "a1")
    assert preceding(twice, messages("u1", "a2", "u1", "a1", "u2")) == 2
    assert preceding(twice, messages("u1", "a1", "u2")) == 4


@pytest.mark.parametrize(
    "given",
    [
        {"role": "assistant", "content": " a3\n"},
        {"role": "assistant", "content": [{"type": "text", "text": "a3"}]},
        {"role": "assistant", "content": "a3", "reasoning_content": "hm", "name": "x"},
    ],
)
def test_what_clients_change_of_an_answer_does_not_matter(given: dict[str, Any]) -> None:
    assert preceding(HISTORY, [given, *messages("u4")]) == 5


def test_calls_are_told_apart() -> None:
    call = {"id": "c", "function": {"name": "f", "arguments": "{}"}}
    other = {"id": "c", "type": "custom", "custom": {"name": "g", "input": ""}}
    history = [*messages("u1"), {"role": "assistant", "content": None, "tool_calls": [call]}]
    result = messages("t1")
    mine = {"role": "assistant", "tool_calls": [call], "content": ""}
    assert preceding(history, [mine, *result]) == 1
    assert preceding(history, [mine | {"tool_calls": [other]}, *result]) == 0


def test_instructions_at_the_beginning_are_of_the_request() -> None:
    assert instructions(messages("s1", "s2", "u1", "s3")) == 2
    assert instructions(messages("u1")) == 0
    assert instructions(messages("s1")) == 1
