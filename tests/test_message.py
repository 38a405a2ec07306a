"""POST /message: a text for a text, in the session of a user."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from flask.testing import FlaskClient

from extensions.openai.engines.echo import EchoEngine
from extensions.openai.errors import StoreUnavailable
from extensions.openai.generation.hooks.extension_hooks import Hooks
from extensions.openai.settings import Settings
from extensions.openai.state.database import Database
from extensions.openai.web.app import create_app
from tests.support.keys import headers_of
from tests.support.reference import assert_envelope
from tests.web.test_session_turn import Seen, kept, seen

__all__ = ["seen"]


def client_of(**options: Any) -> FlaskClient:
    given = {"store": "memory", "message_endpoint": True, **options}
    return create_app(Settings(**given), EchoEngine()).test_client()


def say(client: FlaskClient, text: str, user: str = "ann", path: str = "", **headers: str) -> Any:
    sent = {"text": text, "user_id": user}
    return client.post(f"{path}/message", json=sent, headers=headers)


def test_a_text_is_answered_in_the_session_of_its_user(seen: Seen) -> None:
    client = client_of(sessions="off")
    first = say(client, "one")
    assert first.status_code == 200 and set(first.json) == {"text"} and first.json["text"]
    say(client, "two", "bob")
    assert seen[-1] == [("user", "two")]
    second = say(client, "three")
    assert seen[-1] == [("user", "one"), ("assistant", first.json["text"]), ("user", "three")]
    ann, bob = kept(client)
    assert [message["content"] for message in ann] == [
        *("one", first.json["text"]),
        *("three", second.json["text"]),
    ]
    assert len(bob) == 2
    assert client.delete("/v1/internal/users/ann").json["deleted"]["sessions"] == 1


def test_it_is_off_unless_the_operator_turns_it_on() -> None:
    error = assert_envelope(say(client_of(message_endpoint=False), "one").json, status=404)
    assert error["code"] == "endpoint_disabled" and "--message-endpoint" in error["message"]
    for options in ({"endpoints": "message"}, {"message_endpoint": True}):
        assert say(client_of(**{"message_endpoint": False, **options}), "one").status_code == 200
    assert say(client_of(disabled_endpoints="message"), "one").status_code == 404


def test_it_is_below_the_prefix() -> None:
    assert say(client_of(api_prefix="/custom"), "one", path="/custom").status_code == 200


def test_limits_of_users_hold() -> None:
    client = client_of(api_key="k", user_limits="rpm=1")
    key = {"Authorization": "Bearer k"}
    answers = [say(client, "one", user, **key).status_code for user in ("ann", "ann", "bob")]
    assert answers == [200, 429, 200]
    assert say(client, "one").status_code == 401


def test_the_hooks_of_extensions_act_on_the_whole_conversation() -> None:
    client = client_of()
    histories: list[Any] = []

    def history_modifier(history: dict[str, Any]) -> dict[str, Any]:
        histories.append([turn[0] for turn in history["internal"]])
        return history

    shout = SimpleNamespace(
        history_modifier=history_modifier,
        input_modifier=lambda text: text + "?",
        output_modifier=lambda text: text.upper(),
    )
    client.application.extensions["openai"].hooks = Hooks(lambda: [("shout", shout)])
    assert [say(client, text).json["text"] for text in ("one", "two")] == ["ONE?", "TWO?"]
    assert histories == [[], ["one"]]
    assert [each["content"] for each in kept(client)[0]] == ["one", "ONE?", "two", "TWO?"]


def test_limits_of_the_key_hold() -> None:
    client, key = client_of(api_key="k", rpm=1), {"Authorization": "Bearer k"}
    assert [say(client, "one", user, **key).status_code for user in ("ann", "bob")] == [200, 429]


def test_the_same_user_of_another_key_is_another_one(seen: Seen, tmp_path: Path) -> None:
    headers = headers_of(Settings(data_folder=str(tmp_path)), "alice", "bob")
    client = client_of(data_folder=str(tmp_path))
    for who in ("alice", "bob"):
        assert say(client, f"I am {who}", **headers[who]).status_code == 200
        assert seen[-1] == [("user", f"I am {who}")]


def test_a_header_names_the_agent(seen: Seen, tmp_path: Path) -> None:
    agents = tmp_path / "agents.yaml"
    agents.write_text(yaml.safe_dump({"agents": {"pirate": {"system": "Arr."}}}))
    client = client_of(agents=str(agents))
    assert say(client, "one", **{"x-openedai-agent-id": "pirate"}).status_code == 200
    assert seen[-1] == [("system", "Arr."), ("user", "one")]
    say(client, "two")
    assert seen[-1] == [("user", "two")]


def test_what_cannot_be_kept_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    client = client_of()
    say(client, "one")

    def failing(self: Database, work: Any) -> Any:
        raise StoreUnavailable("full")

    monkeypatch.setattr(Database, "write", failing)
    answer = say(client, "two")
    assert answer.status_code == 200 and answer.json["text"] and answer.json["store"] is False


def test_where_nothing_may_be_stored_it_is_refused() -> None:
    error = assert_envelope(say(client_of(store="off"), "one").json, status=404)
    assert error["code"] == "store_off"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"user_id": "ann"}, "text"),
        ({"text": "", "user_id": "ann"}, "text"),
        ({"text": "one"}, "user_id"),
        ({"text": "one", "user_id": ""}, "user_id"),
        ({"text": "one", "user_id": "x" * 257}, "user_id"),
        ({"text": 1, "user_id": "ann"}, "text"),
    ],
)
def test_what_cannot_be_is_refused_by_name(body: dict[str, Any], param: str) -> None:
    answer = client_of().post("/message", json=body)
    assert assert_envelope(answer.json, status=400)["param"] == param
