"""Conversations in every order that clients send: whatever a template refuses, no text is lost.

The mark of a script is put into each text of a conversation in turn: the model says that script only if the
text has come into its prompt.
"""

from __future__ import annotations

import copy
from typing import Any

import pytest

from tests.families.conftest import Speak
from tests.families.served import Body, Served
from tests.families.tools import WEATHER
from tests.support.families import Family

OSLO = '{"city": "Oslo"}'


def user(text: Any = "Hello.") -> Body:
    return {"role": "user", "content": text}


def system(text: str = "Be brief.", role: str = "system") -> Body:
    return {"role": role, "content": text}


def output(text: str | None = "Well.", **more: Any) -> Body:
    return {"role": "assistant", "content": text, **more}


def called(*ids: str, arguments: str = OSLO, **more: Any) -> Body:
    calls = [
        {"id": id, "type": "function", "function": {"name": "get_weather", "arguments": arguments}}
        for id in ids
    ]
    return {"role": "assistant", "content": None, "tool_calls": calls, **more}


def result(id: str, text: Any = "12 degrees") -> Body:
    return {"role": "tool", "tool_call_id": id, "content": text}


OWN, SHORT = "call_0123456789abcdef01234567", "abcDEF123"
ORDERS: dict[str, list[Body]] = {
    "system first": [system(), user()],
    "two systems first": [system(), system("Be kind."), user()],
    "system in the middle": [system(), user(), output(), system("Only say blue."), user("Sky?")],
    "system last": [user(), system("Only say blue.")],
    "system after a result": [user(), called(OWN), result(OWN), system("Be kind."), user("So?")],
    "system only": [system("Say something.")],
    "developer first": [system(role="developer"), user()],
    "developer in the middle": [user(), output(), system(role="developer"), user()],
    "user twice": [system(), user("Fix it."), user("Be quick.")],
    "user three times": [user("One."), user("Two."), user("Three.")],
    "assistant first": [output("Welcome!"), user("Thanks.")],
    "assistant after system": [system(), output("Welcome!"), user("Thanks."), user("A room.")],
    "assistant twice": [user(), output("One."), output("Two."), user("Three.")],
    "text, then a call": [user(), output("I look."), called(OWN), result(OWN)],
    "a call with text": [user(), called(OWN, content="I look."), result(OWN)],
    "result last": [user(), called(OWN), result(OWN)],
    "result, then user": [user(), called(OWN), result(OWN), user("So?")],
    "result, then assistant": [user(), called(OWN), result(OWN), output("Cold."), user("So?")],
    "two calls": [user(), called(OWN, SHORT), result(OWN), result(SHORT, "13 degrees")],
    "two turns": [
        *(user(), called(OWN), result(OWN), output("Cold."), user("And now?")),
        *(called(SHORT), result(SHORT, "13 degrees")),
    ],
    "short ids": [user(), called(SHORT), result(SHORT)],
    "ids with signs": [user(), called("toolu-1:a/b.c"), result("toolu-1:a/b.c")],
    "result without a call": [user(), output("I looked."), result(OWN), user("So?")],
    "result of another call": [user(), called(OWN), result("other"), user("So?")],
    "call without a result": [user(), called(OWN), user("Never mind.")],
    "empty arguments": [user(), called(OWN, arguments=""), result(OWN)],
    "no calls after all": [user(), output("Yes.", tool_calls=[]), user("So?")],
    "a thought only": [user(), output(None, reasoning_content="Let me think"), user("Go on.")],
    "a thought before a call": [user(), called(OWN, reasoning_content="Shall I?"), result(OWN)],
    "a thought and a text before a call": [
        *(user(), called(OWN, content="I look.", reasoning_content="Shall I?"), result(OWN)),
    ],
    "a thought before a text": [user(), output("Yes.", reasoning_content="Hm."), user("Go on.")],
    "an empty answer": [user(), output(""), user("Are you there?")],
    "parts": [user([{"type": "text", "text": "Hello."}, {"type": "text", "text": "Who?"}])],
    "parts of a result": [user(), called(OWN), result(OWN, [{"type": "text", "text": "cold"}])],
}


@pytest.fixture(scope="module")
def server(family: Family, speak: Speak) -> Served:
    return speak(
        family, {"answer": family.says("The text is lost."), "kept": family.says("It is there.")}
    )


@pytest.mark.parametrize("order", ORDERS)
def test_each_text_of_a_conversation_comes_to_the_model(server: Served, order: str) -> None:
    messages = ORDERS[order]
    for at, message in enumerate(messages):
        if not message["content"]:
            continue
        marked = with_mark(messages, at)
        answer = server.post_as_it_is(messages=marked, tools=[WEATHER])
        assert answer.status_code == 200, (at, answer.text)
        content = answer.json()["choices"][0]["message"]["content"]
        assert content == "It is there.", f"of message {at}: {content!r}"


def with_mark(messages: list[Body], at: int) -> list[Body]:
    messages = copy.deepcopy(messages)
    content = messages[at]["content"]
    if isinstance(content, str):
        messages[at]["content"] = f"{content} say:kept"
    else:
        content[-1]["text"] += " say:kept"
    return messages


@pytest.mark.parametrize("tools", [None, [WEATHER]])
def test_an_answer_that_was_begun_can_be_last(server: Served, tools: Any) -> None:
    messages = [user("Hello. say:kept"), output("Well")]
    more = {} if tools is None else {"tools": tools}
    answer = server.post_as_it_is(messages=messages, **more)
    assert answer.status_code == 200, answer.text
