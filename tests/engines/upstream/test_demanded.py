"""What is demanded of an answer holds for those of other servers too, whether or not they have done it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from extensions.openai.engines.remote.address import parse_address
from extensions.openai.engines.remote.http_client import HttpClient
from extensions.openai.engines.upstream.engine import UpstreamEngine
from extensions.openai.engines.upstream.rows import Upstream, UpstreamModel
from extensions.openai.generation.hooks.extension_hooks import Hooks
from tests.support.api import Api
from tests.support.fake_upstream import DONE, FakeUpstream, Scripted, chunk, event, streamed, usage

CITY = {
    "type": "object",
    "properties": {"city": {"enum": ["Rome", "Oslo"]}, "days": {"type": "integer"}},
    "required": ["city"],
    "additionalProperties": False,
}
FORMAT = {"type": "json_schema", "json_schema": {"name": "n", "schema": CITY}}
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": CITY}}
STRICT = {"type": "function", "function": {**WEATHER["function"], "strict": True}}  # type: ignore[dict-item]
TIME = {"type": "function", "function": {"name": "time"}}
DIGITS = {
    "type": "custom",
    "custom": {
        "name": "dial",
        "format": {"type": "grammar", "grammar": {"syntax": "regex", "definition": "[0-9]+"}},
    },
}


@pytest.fixture(scope="module")
def serving() -> Iterator[tuple[FakeUpstream, Api]]:
    with FakeUpstream(streamed("x")) as fake:
        address = parse_address(fake.address)
        row = Upstream("gpu", address)
        engine = UpstreamEngine(row, UpstreamModel("big", "there"), HttpClient(address, {}), "vllm")
        yield fake, Api(engine)
        engine.close()


def called(*calls: tuple[str, str], text: str = "", finish: str = "tool_calls") -> Scripted:
    """A stream with these calls, names and arguments, whose arguments come in two parts."""
    parts = [event(chunk({"content": text}))] if text else []
    for at, (name, arguments) in enumerate(calls):
        begin = {
            "index": at,
            "id": f"c{at}",
            "function": {"name": name, "arguments": arguments[:3]},
        }
        rest = {"index": at, "function": {"arguments": arguments[3:]}}
        parts += [event(chunk({"tool_calls": [begin]})), event(chunk({"tool_calls": [rest]}))]
    parts.append(event(chunk(finish=finish)))
    return Scripted([*parts, event({"choices": [], "usage": usage(5, 9)}), DONE])


def ask(serving: tuple[FakeUpstream, Api], script: Scripted, **body: Any) -> tuple[int, Any]:
    """The status, and the message or the error, which are the same in a stream."""
    fake, api = serving
    fake.script = lambda asked: script
    asked = {"model": "big", "messages": [{"role": "user", "content": "Hi"}], **body}
    answer = api.client.post("/v1/chat/completions", json=asked)
    stream = api.client.post("/v1/chat/completions", json={**asked, "stream": True})
    events = [
        json.loads(line[6:])
        for line in stream.get_data(as_text=True).split("\n")
        if line.startswith("data: {")
    ]
    if answer.status_code == 200:
        assert not any("error" in each for each in events)
        return 200, answer.json["choices"][0]["message"]
    streamed = events[-1]["error"] if events else stream.json["error"]
    assert streamed == answer.json["error"]
    return answer.status_code, streamed


@pytest.mark.parametrize(
    ("text", "fields", "named"),
    [
        ('{"city": "Rome"}', {"response_format": FORMAT}, None),
        ('\n{"days":2,"city":"Rome"}', {"response_format": FORMAT}, None),
        ('{"city": "Paris"}', {"response_format": FORMAT}, "response_format"),
        ("It is Rome.", {"response_format": FORMAT}, "response_format"),
        ("[1]", {"response_format": {"type": "json_object"}}, "response_format"),
        ('{"a": [1]}', {"response_format": {"type": "json_object"}}, None),
        ("abc", {"guided_regex": "[a-c]+"}, None),
        ("abd", {"guided_regex": "[a-c]+"}, "guided_regex"),
        ("yes", {"guided_choice": ["yes", "no"]}, None),
        ("yes!", {"guided_choice": ["yes", "no"]}, "guided_choice"),
    ],
)
def test_texts(
    serving: tuple[FakeUpstream, Api], text: str, fields: dict[str, Any], named: str | None
) -> None:
    status, found = ask(serving, streamed(text[:3], text[3:]), **fields)
    if named is None:
        assert (status, found["content"]) == (200, text)
    else:
        assert (status, found["code"]) == (502, "upstream_failed")
        assert f"'{named}" in found["message"] and text not in found["message"]


def test_what_a_limit_cut_is_not_checked(serving: tuple[FakeUpstream, Api]) -> None:
    cut = streamed('{"city": "Ro', finish="length")
    assert ask(serving, cut, response_format=FORMAT)[1]["content"] == '{"city": "Ro'
    half = called(("weather", '{"city": "Ro'), finish="length")
    assert ask(serving, half, tools=[WEATHER], tool_choice="required")[0] == 200


def test_a_thought_is_no_part_of_it(serving: tuple[FakeUpstream, Api]) -> None:
    thought = streamed("<think>It may be Paris.</think>\n", '{"city": "Rome"}')
    status, found = ask(serving, thought, response_format=FORMAT)
    assert (status, found["content"]) == (200, '{"city": "Rome"}')


def test_completions(serving: tuple[FakeUpstream, Api]) -> None:
    fake, api = serving
    asked = {"model": "big", "prompt": "A city: ", "response_format": FORMAT}
    for text, status in (('{"city":"Oslo"}', 200), ("Oslo", 502)):
        choice = {"index": 0, "text": text, "finish_reason": "stop"}
        fake.script = lambda _, choice=choice: Scripted(  # type: ignore[misc]
            [event({"choices": [choice], "usage": usage(3, 2)}), DONE]
        )
        assert api.client.post("/v1/completions", json=asked).status_code == status


GOOD, BAD = ("weather", '{"city": "Rome"}'), ("weather", '{"city": "Paris"}')
CALLS: dict[str, tuple[Scripted, dict[str, Any], str | None]] = {
    "demanded": (called(GOOD), {"tools": [WEATHER], "tool_choice": "required"}, None),
    "not made": (streamed("No."), {"tools": [WEATHER], "tool_choice": "required"}, "tools"),
    "another one": (
        called(("time", "{}")),
        {"tools": [WEATHER, TIME], "tool_choice": {"type": "function", "function": {"name": "weather"}}},
        "tools",
    ),
    "demanded of a wrong form": (
        called(BAD), {"tools": [WEATHER], "tool_choice": "required"},
        "tools[0].function.parameters",
    ),
    "broken JSON": (
        called(("weather", '{"city": ')), {"tools": [WEATHER], "tool_choice": "required"},
        "tools[0].function.parameters",
    ),
    "strict": (called(GOOD), {"tools": [STRICT]}, None),
    "strict, none made": (streamed("No."), {"tools": [STRICT]}, None),
    "strict of a wrong form": (called(BAD), {"tools": [STRICT]}, "tools[0].function.parameters"),
    "not strict": (called(BAD), {"tools": [WEATHER]}, None),
    "no arguments": (called(("time", "")), {"tools": [TIME], "tool_choice": "required"}, None),
    "a custom one": (called(("dial", '{"input": "112"}')), {"tools": [DIGITS]}, None),
    "a custom one of a wrong form": (
        called(("dial", '{"input": "one"}')), {"tools": [DIGITS]},
        "tools[0].custom.format.grammar.definition",
    ),
    "in place of a text": (called(GOOD), {"tools": [WEATHER], "response_format": FORMAT}, None),
}  # fmt: skip


@pytest.mark.parametrize("case", CALLS)
def test_calls(serving: tuple[FakeUpstream, Api], case: str) -> None:
    script, fields, named = CALLS[case]
    status, found = ask(serving, script, **fields)
    if named is None:
        assert status == 200
    else:
        assert (status, found["code"]) == (502, "upstream_failed")
        assert f"'{named}'" in found["message"] and "Paris" not in found["message"]


def test_a_prompt_that_a_hook_made_has_what_was_demanded_of_the_chat(
    serving: tuple[FakeUpstream, Api],
) -> None:
    fake, api = serving
    hook = SimpleNamespace(custom_generate_chat_prompt=lambda *_, **__: "PROMPT")
    api.app.extensions["openai"].hooks = Hooks(lambda: [("an extension", hook)])
    choice = {"index": 0, "text": '{"city": "Rome"}', "finish_reason": "stop"}
    script = Scripted([event({"choices": [choice], "usage": usage(3, 2)}), DONE])
    try:
        assert ask(serving, script, response_format=FORMAT)[1]["content"] == '{"city": "Rome"}'
        assert fake.posts[-1].body["prompt"] == "PROMPT"
        assert fake.posts[-1].body["response_format"]["type"] == "json_schema"
        status, error = ask(serving, script, tools=[WEATHER], tool_choice="required")
        assert (status, error["param"]) == (400, "tools")
    finally:
        api.app.extensions["openai"].hooks = None


def test_one_call_where_several_are_not_wanted(serving: tuple[FakeUpstream, Api]) -> None:
    two = called(GOOD, ("time", "{}"))
    assert len(ask(serving, two, tools=[WEATHER, TIME])[1]["tool_calls"]) == 2
    single = ask(serving, two, tools=[WEATHER, TIME], parallel_tool_calls=False)[1]
    assert [each["function"]["name"] for each in single["tool_calls"]] == ["weather"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/responses", {"input": "Hi", "store": False}),
        ("/v1/messages", {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 9}),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "Hi"}]}),
    ],
)
@pytest.mark.parametrize("counted", [True, False])
def test_estimates_are_said_to_be_in_every_dialect(
    serving: tuple[FakeUpstream, Api], path: str, body: dict[str, Any], counted: bool
) -> None:
    fake, api = serving
    usages = [event({"choices": [], "usage": usage(5, 1)})] if counted else []
    script = Scripted([event(chunk({"content": "x"})), event(chunk(finish="stop")), *usages, DONE])
    fake.script = lambda asked: script
    whole = api.client.post(path, json={"model": "big", **body})
    assert whole.json["usage"].get("estimated") is (None if counted else True)
    more = {"stream_options": {"include_usage": True}} if "chat" in path else {}
    stream = api.client.post(path, json={"model": "big", **body, "stream": True, **more})
    usages_told = [
        found["usage"]
        for line in stream.get_data(as_text=True).split("\n")
        if line.startswith("data: {")
        for event in [json.loads(line[6:])]
        for found in (event, event.get("response") or {}, event.get("message") or {})
        if found.get("usage")
    ]
    assert usages_told[-1].get("estimated") is (None if counted else True)
