"""Chats as turns of a session: what the model sees, and what is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from flask.testing import FlaskClient

from extensions.openai.engines.echo import EchoEngine
from extensions.openai.engines.llamacpp.engine import LlamaCppEngine
from extensions.openai.errors import StoreUnavailable
from extensions.openai.settings import Settings
from extensions.openai.state.database import Database
from extensions.openai.web.app import create_app
from tests.support.keys import headers_of
from tests.support.reference import assert_envelope

CHATS = "/v1/chat/completions"
KEY = "x-openedai-session-key"
Seen = list[list[tuple[str, str | None]]]


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    """The conversations that the model has seen; without those that were only counted."""
    found: Seen = []
    render = EchoEngine.render

    def spying(self: EchoEngine, request: Any) -> Any:
        found.append([(message.role, message.content) for message in request.messages])
        return render(self, request)

    monkeypatch.setattr(EchoEngine, "render", spying)
    return found


def client_of(**options: Any) -> FlaskClient:
    given = {"store": "memory", **options}
    return create_app(Settings(**given), EchoEngine()).test_client()


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def chat(client: FlaskClient, *messages: Any, session: str | None = "s", **more: Any) -> Any:
    headers = dict(more.pop("headers", {})) | ({} if session is None else {KEY: session})
    sent = [user(each) if isinstance(each, str) else each for each in messages]
    return client.post(CHATS, json={"model": "echo", "messages": sent, **more}, headers=headers)


def answered(client: FlaskClient, *messages: Any, **more: Any) -> dict[str, Any]:
    answer = chat(client, *messages, **more)
    assert answer.status_code == 200, answer.text
    message: dict[str, Any] = answer.json["choices"][0]["message"]
    return message


def kept(client: FlaskClient, **headers: str) -> list[list[dict[str, Any]]]:
    listed = client.get("/v1/sessions", headers=headers).json["data"]
    return [
        client.get(f"/v1/sessions/{each['id']}", headers=headers).json["messages"]
        for each in listed
    ]


@pytest.mark.parametrize("stream", [False, True])
def test_the_next_turn_has_the_ones_before_it(seen: Seen, stream: bool) -> None:
    client = client_of()
    answer = chat(client, "one", stream=stream, max_tokens=2)
    assert answer.status_code == 200 and answer.data
    chat(client, "two", stream=stream).get_data()
    (messages,) = kept(client)
    assert [message["role"] for message in messages] == ["user", "assistant"] * 2
    first = messages[1]["content"]
    assert first
    assert seen[-1] == [("user", "one"), ("assistant", first), ("user", "two")]


def test_without_the_header_nothing_is_kept_and_nothing_added(seen: Seen) -> None:
    client = client_of()
    chat(client, "one")
    chat(client, "two", session=None, user="s")
    chat(client, "three", session="")
    assert seen[-2:] == [[("user", "two")], [("user", "three")]]
    assert len(kept(client)) == 1 and len(kept(client)[0]) == 2


def test_a_client_that_sends_its_own_history_is_not_doubled(seen: Seen) -> None:
    client = client_of()
    history: list[Any] = []
    for text in ("one", "two", "three"):
        history.append(user(text))
        history.append(answered(client, *history))
        assert [content for _, content in seen[-1]] == [m["content"] for m in history[:-1]]
    (messages,) = kept(client)
    assert [m["content"] for m in messages] == [m["content"] for m in history]
    answered(client, *history[4:], "four")  # its last messages only
    assert [content for _, content in seen[-1]] == [*(m["content"] for m in history), "four"]
    answered(client, *history[:2], "other")  # it has changed what it said
    assert [m["content"] for m in kept(client)[0]][:3] == ["one", history[1]["content"], "other"]
    assert len(kept(client)[0]) == 4


def test_instructions_stand_first_and_are_not_kept(seen: Seen) -> None:
    client = client_of()
    system = {"role": "system", "content": "Be brief."}
    first = answered(client, system, "one")
    answered(client, system, "two")
    assert seen[-1] == [
        ("system", "Be brief."),
        ("user", "one"),
        ("assistant", first["content"]),
        ("user", "two"),
    ]
    assert "system" not in [message["role"] for message in kept(client)[0]]


def test_results_of_calls_belong_to_the_turn_that_made_them(seen: Seen) -> None:
    client = client_of()
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    called = {"role": "assistant", "content": None, "tool_calls": [call]}
    store = client.application.extensions["openai"].store
    from extensions.openai.state.sessions import Change, SessionKey

    key = SessionKey("local", "", "s")
    store.sessions.change(key, Change([user("one"), called]), max_messages=200)
    answered(client, {"role": "tool", "tool_call_id": "c1", "content": "7"})
    assert [role for role, _ in seen[-1]] == ["user", "assistant", "tool"]
    (turn,) = store.sessions.turns(key)
    assert [message["role"] for message in turn.messages] == [
        *("user", "assistant"),
        *("tool", "assistant"),
    ]


def test_a_session_is_of_one_key_and_one_agent(seen: Seen, tmp_path: Path) -> None:
    agents = tmp_path / "agents.yaml"
    agents.write_text(yaml.safe_dump({"agents": {"pirate": {"system": "Arr."}}}))
    options: dict[str, Any] = {"data_folder": str(tmp_path), "agents": str(agents)}
    headers = headers_of(Settings(**options), "alice", "bob")
    client = client_of(**options)
    chat(client, "one", headers=headers["alice"])
    chat(client, "two", headers=headers["bob"])
    assert seen[-1] == [("user", "two")]
    chat(client, "three", headers=headers["alice"], model="agent:pirate")
    assert seen[-1] == [("system", "Arr."), ("user", "three")]
    chat(client, "four", headers=headers["alice"], model="agent:pirate")
    assert seen[-1][1] == ("user", "three") and len(seen[-1]) == 4
    assert len(kept(client, **headers["alice"])) == 2 and len(kept(client, **headers["bob"])) == 1


def test_a_user_is_a_session_where_the_operator_says_so(seen: Seen) -> None:
    client = client_of(sessions="user")
    for text, name in (("one", "Ann"), ("two", "Bob"), ("three", "Ann")):
        chat(client, text, session=None, user=name)
    assert [text for _, text in seen[-1]][::2] == ["one", "three"]
    chat(client, "four", session="s", user="Ann")
    chat(client, "five", session=None)
    assert seen[-2:] == [[("user", "four")], [("user", "five")]]
    erased = client.delete("/v1/internal/users/Ann").json["deleted"]
    assert (erased["sessions"], erased["session_turns"]) == (1, 3)


def test_an_operator_may_add_headers_and_turn_sessions_off(seen: Seen) -> None:
    client = client_of(session_headers="X-Moltbot-Session-Key")
    for text in ("one", "two"):
        chat(client, text, session=None, headers={"x-moltbot-session-key": "m"})
    assert len(seen[-1]) == 3
    client = client_of(sessions="off")
    for text in ("one", "two"):
        chat(client, text)
    assert len(seen[-1]) == 1


def test_pictures_are_not_kept() -> None:
    client = client_of()
    part = {"type": "file", "file": {"filename": "a.txt", "file_data": "aGVsbG8="}}
    answered(client, {"role": "user", "content": [{"type": "text", "text": "See"}, part]})
    assert kept(client)[0][0]["content"] == [{"type": "text", "text": "See"}]
    answered(client, {"role": "user", "content": [part]})
    assert kept(client)[0][2]["content"] == ""
    answered(client, "and now")


def test_a_session_stays_within_the_context(seen: Seen) -> None:
    client = client_of()
    length = EchoEngine().info.context_length
    words = "word " * (length // 16)
    for at in range(24):
        assert answered(client, f"{at} {words}", max_tokens=1)
    (messages,) = kept(client)
    assert len(messages) < 48
    assert messages[-2]["content"].startswith("23 ")
    assert seen[-1][-1][1] == messages[-2]["content"]


def test_the_number_of_messages_is_bounded() -> None:
    client = client_of(session_messages=4)
    for at in range(6):
        answered(client, str(at))
    assert len(kept(client)[0]) <= 4


def test_an_answer_that_fails_adds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    client = client_of()
    answered(client, "one")
    monkeypatch.setattr(EchoEngine, "generate", lambda self, request: 1 / 0)
    assert chat(client, "two").status_code == 500
    assert len(kept(client)[0]) == 2


def test_the_same_request_again_is_one_turn() -> None:
    client = client_of()
    headers = {"Idempotency-Key": "k"}
    for _ in range(2):
        answered(client, "one", store=True, headers=headers)
    assert len(kept(client)[0]) == 2
    other = chat(client, "one", store=True, headers=headers, session="t")
    assert other.status_code == 422


def test_what_cannot_be_kept_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    client = client_of()
    answered(client, "one")

    def failing(self: Database, work: Any) -> Any:
        raise StoreUnavailable("full")

    monkeypatch.setattr(Database, "write", failing)
    answer = chat(client, "two")
    assert answer.status_code == 200 and answer.json["store"] is False
    assert "session" in answer.headers["x-openedai-ignored"]


def test_where_nothing_may_be_stored_a_session_is_refused() -> None:
    client = client_of(store="off", sessions="user")
    assert assert_envelope(chat(client, "one").json, status=404)["code"] == "store_off"
    assert chat(client, "one", session=None, user="Ann").status_code == 200


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"session": "x" * 257}, KEY),
        ({"continue_final_message": True}, "continue_final_message"),
    ],
)
def test_what_cannot_be_is_refused_by_name(more: dict[str, Any], param: str) -> None:
    last = {"role": "assistant", "content": "And"}
    answer = chat(client_of(), "one", last, **more)
    assert assert_envelope(answer.json, status=400)["param"] == param


def test_the_next_prompt_begins_as_the_last_one_did(random_model: Path) -> None:
    """So llama.cpp has it in its cache."""
    engine = LlamaCppEngine(random_model, name="random", threads=1)
    client = create_app(Settings(store="memory"), engine).test_client()
    words = "A prompt of some length, so that there is something to find again. " * 3
    usages = []
    for text in (words, "And?"):
        sent = {"model": "random", "messages": [user(text)], "max_tokens": 4, "temperature": 0}
        answer = client.post(CHATS, json=sent, headers={KEY: "cache"})
        assert answer.status_code == 200, answer.text
        usages.append(answer.json["usage"])
    engine.close()
    cached = usages[1]["prompt_tokens_details"]["cached_tokens"]
    assert cached >= 0.9 * usages[0]["prompt_tokens"] > 50
