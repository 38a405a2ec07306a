"""Sessions of Messages and Responses: the history that chats have, in the words of each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient

from extensions.openai.engines.llamacpp.engine import LlamaCppEngine
from extensions.openai.errors import StoreUnavailable
from extensions.openai.settings import Settings
from extensions.openai.state.database import Database
from extensions.openai.web.app import create_app
from tests.support.calling_engine import CallingEngine, call
from tests.support.reference import assert_envelope
from tests.web.test_session_turn import CHATS, KEY, Seen, client_of, kept, seen, user

__all__ = ["seen"]

RESPONSES, MESSAGES = "/v1/responses", "/v1/messages"
PATHS = (RESPONSES, MESSAGES)


def asked(path: str, *history: Any, **more: Any) -> dict[str, Any]:
    """A request whose conversation is these messages; a text is the user's."""
    messages = [user(each) if isinstance(each, str) else each for each in history]
    if path == RESPONSES:
        return {"model": "echo", "input": messages, **more}
    return {"model": "echo", "messages": messages, "max_tokens": 200, **more}


def say(client: FlaskClient, path: str, *history: Any, session: str = "s", **more: Any) -> Any:
    return client.post(path, json=asked(path, *history, **more), headers={KEY: session})


def text_of(path: str, whole: Any) -> str:
    content = whole["output"][0]["content"] if path == RESPONSES else whole["content"]
    return str(content[0]["text"])


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", PATHS)
def test_the_next_turn_has_the_ones_before_it(seen: Seen, path: str, stream: bool) -> None:
    client = client_of()
    for text in ("one", "two"):
        answer = say(client, path, text, stream=stream)
        assert answer.status_code == 200 and answer.get_data()
    assert seen[-1] == [("user", "one"), ("assistant", "one"), ("user", "two")]
    (messages,) = kept(client)
    assert [(each["role"], each["content"]) for each in messages] == [
        *(("user", "one"), ("assistant", "one")),
        *(("user", "two"), ("assistant", "two")),
    ]


def test_all_dialects_go_on_from_each_other(seen: Seen) -> None:
    client = client_of()
    say(client, RESPONSES, "one")
    say(client, MESSAGES, "two")
    sent = {"model": "echo", "messages": [user("three")]}
    client.post(CHATS, json=sent, headers={KEY: "s"})
    assert [text for _, text in seen[-1]] == ["one", "one", "two", "two", "three"]
    assert len(kept(client)) == 1


@pytest.mark.parametrize("path", PATHS)
def test_a_client_that_sends_its_own_history_is_not_doubled(seen: Seen, path: str) -> None:
    client = client_of()
    history: list[Any] = []
    for text in ("one", "two", "three"):
        history.append(text)
        answer = say(client, path, *history)
        history.append({"role": "assistant", "content": text_of(path, answer.json)})
    assert [text for _, text in seen[-1]] == ["one", "one", "two", "two", "three"]
    assert len(kept(client)[0]) == 6


@pytest.mark.parametrize("path", PATHS)
def test_the_next_prompt_begins_as_the_last_one_did(llamacpp: LlamaCppEngine, path: str) -> None:
    """So llama.cpp has it in its cache, an agent's system text and facts included."""
    client = create_app(Settings(store="memory"), llamacpp).test_client()
    agent = {"system": "Name the worst problem first. " * 4, "memory": True}
    assert client.put("/v1/internal/agents/a", json=agent).status_code == 200
    fact = {"agent": "a", "user": "ann", "text": "Ann has a cat."}
    assert client.post("/v1/memories", json=fact).status_code == 200
    more: dict[str, Any] = {"user": "ann", "max_output_tokens": 16}
    if path == MESSAGES:
        more = {"metadata": {"user_id": "ann"}, "max_tokens": 16}
    totals, cached = [], []
    for text in (f"A prompt of {path}, of some length. " * 3, "And?"):
        body = asked(path, text, **more) | {"model": "agent:a"}
        usage = client.post(path, json=body, headers={KEY: path}).json["usage"]
        if path == MESSAGES:
            cached.append(usage["cache_read_input_tokens"])
            totals.append(usage["input_tokens"] + cached[-1])
        else:
            cached.append(usage["input_tokens_details"]["cached_tokens"])
            totals.append(usage["input_tokens"])
    assert cached[1] >= 0.9 * totals[0] > 50


def test_instructions_stand_first_and_are_not_kept(seen: Seen) -> None:
    client = client_of()
    for path, more in (
        (RESPONSES, {"instructions": "Be brief."}),
        (MESSAGES, {"system": "Be kind."}),
    ):
        for text in ("one", "two"):
            say(client, path, text, session=path, **more)
        (system,) = more.values()
        assert seen[-1] == [
            ("system", system),
            ("user", "one"),
            ("assistant", "one"),
            ("user", "two"),
        ]
    assert "Be " not in str(kept(client))


CALLS: dict[str, Callable[[Any], tuple[str, dict[str, Any]]]] = {
    RESPONSES: lambda whole: (
        whole["output"][0]["call_id"],
        {"type": "function_call_output", "call_id": whole["output"][0]["call_id"], "output": "7"},
    ),
    MESSAGES: lambda whole: (
        whole["content"][0]["id"],
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": whole["content"][0]["id"], "content": "7"}
            ],
        },
    ),
}


@pytest.mark.parametrize("path", PATHS)
def test_results_of_calls_find_their_calls(path: str) -> None:
    engine = CallingEngine()
    client = create_app(Settings(store="memory"), engine).test_client()
    name: dict[str, Any] = {"name": "f", "input_schema": {"type": "object"}}
    tools = [name if path == MESSAGES else {"type": "function", "name": "f"}]
    whole = say(client, path, call("f", {"a": 1}), tools=tools).json
    id, result = CALLS[path](whole)
    assert say(client, path, result, tools=tools).status_code == 200
    messages = engine.asked[-1].messages
    assert [message.role for message in messages] == ["user", "assistant", "tool"]
    assert messages[1].tool_calls[0].id == id == messages[2].tool_call_id
    assert messages[1].tool_calls[0].arguments.replace(" ", "") == '{"a":1}'
    assert [each["role"] for each in kept(client)[0]] == ["user", "assistant", "tool", "assistant"]


@pytest.mark.parametrize("path", [f"{RESPONSES}/input_tokens", f"{MESSAGES}/count_tokens"])
def test_counts_have_the_session_in_them_and_keep_nothing(path: str) -> None:
    client = client_of()
    whole = path.rpartition("/")[0]
    before = client.post(path, json=asked(whole, "two")).json["input_tokens"]
    say(client, whole, "one")
    counted = client.post(path, json=asked(whole, "two"), headers={KEY: "s"}).json["input_tokens"]
    assert counted > before
    assert len(kept(client)[0]) == 2
    usage = say(client, whole, "two").json["usage"]
    assert usage["input_tokens"] == counted


@pytest.mark.parametrize(
    ("path", "more", "param"),
    [
        (RESPONSES, {"previous_response_id": "resp_1"}, KEY),
        (RESPONSES, {"conversation": "conv_1"}, KEY),
        (RESPONSES, {"background": True}, KEY),
        (RESPONSES, {"session": "x" * 257}, KEY),
        (MESSAGES, {"session": "x" * 257}, KEY),
    ],
)
def test_what_contradicts_it_is_refused_by_name(
    path: str, more: dict[str, Any], param: str
) -> None:
    refused = say(client_of(), path, "one", **more)
    assert refused.status_code == 400 and param in refused.text
    if path == RESPONSES:
        assert assert_envelope(refused.json, status=400)["param"] == param


def test_a_message_that_is_continued_has_no_place_in_one() -> None:
    last = {"role": "assistant", "content": "And"}
    refused = say(client_of(), MESSAGES, "one", last)
    assert refused.status_code == 400 and "in a session" in refused.text


@pytest.mark.parametrize("path", PATHS)
def test_only_a_header_asks_for_one(seen: Seen, path: str) -> None:
    client = client_of(sessions="user")
    more: dict[str, Any] = (
        {"user": "ann"} if path == RESPONSES else {"metadata": {"user_id": "ann"}}
    )
    for text in ("one", "two"):
        client.post(path, json=asked(path, text, **more))
    assert seen[-1] == [("user", "two")] and kept(client) == []
    client = client_of(sessions="off")
    for text in ("one", "two"):
        say(client, path, text)
    assert seen[-1] == [("user", "two")]


@pytest.mark.parametrize("path", PATHS)
def test_what_was_said_is_erased_with_its_user(path: str) -> None:
    client = client_of()
    more: dict[str, Any] = (
        {"user": "ann"} if path == RESPONSES else {"metadata": {"user_id": "ann"}}
    )
    say(client, path, "one", **more)
    assert client.delete("/v1/internal/users/ann").json["deleted"]["session_turns"] == 1


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", PATHS)
def test_what_cannot_be_kept_is_said(
    monkeypatch: pytest.MonkeyPatch, path: str, stream: bool
) -> None:
    client = client_of()
    say(client, path, "one")

    def failing(self: Database, work: Any) -> Any:
        raise StoreUnavailable("full")

    monkeypatch.setattr(Database, "write", failing)
    answer = say(client, path, "two", stream=stream)
    assert answer.status_code == 200
    assert '"store":false' in answer.text.replace(" ", "")


@pytest.mark.parametrize("path", PATHS)
def test_where_nothing_may_be_stored_it_is_refused(path: str) -> None:
    refused = say(client_of(store="off"), path, "one")
    assert refused.status_code == 404 and "--store" in refused.text


def test_a_completion_says_that_it_has_no_turns() -> None:
    answer = client_of().post(
        "/v1/completions", json={"model": "echo", "prompt": "x"}, headers={KEY: "s"}
    )
    assert answer.status_code == 200 and KEY in answer.headers["x-openedai-ignored"]
