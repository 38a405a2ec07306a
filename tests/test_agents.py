"""Agents over the API: made, replaced, shown, deleted, and what requests have of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from flask.testing import FlaskClient

from extensions.openai import agents
from extensions.openai.access.caller import Scope
from extensions.openai.agents import MOST
from extensions.openai.engines.echo import EchoEngine
from extensions.openai.errors import StoreUnavailable
from extensions.openai.settings import Settings
from extensions.openai.state.database import Database
from extensions.openai.web.app import create_app
from tests.support.keys import headers_of
from tests.support.reference import assert_envelope

ALL = "/v1/internal/agents"
PIRATE: dict[str, Any] = {
    "description": "Speaks as pirates do",
    "system": "Answer as a pirate.",
    "sampling": {"temperature": 0.5},
    "max_tokens": 3,
    "tools": [{"type": "function", "function": {"name": "lookup"}}],
    "keys": [],
}


def client_of(**options: Any) -> FlaskClient:
    return create_app(Settings(**{"store": "memory", **options}), EchoEngine()).test_client()


def chat(client: FlaskClient, agent: str, **more: Any) -> Any:
    headers = more.pop("headers", {})
    body = {"model": f"agent:{agent}", "messages": [{"role": "user", "content": "Hi"}], **more}
    return client.post("/v1/chat/completions", json=body, headers=headers)


@pytest.fixture
def two_servers(where: str, tmp_path: Path) -> Iterator[tuple[FlaskClient, FlaskClient]]:
    """Two servers on one store."""
    options = {"store": where, "data_folder": str(tmp_path)}
    clients = client_of(**options), client_of(**options)
    yield clients
    for client in clients:
        client.application.extensions["openai"].store.close()


@pytest.mark.parametrize("where", ["sqlite", "postgresql"], indirect=True)
def test_what_is_changed_counts_at_once_on_every_server(
    two_servers: tuple[FlaskClient, FlaskClient],
) -> None:
    one, other = two_servers
    plain = {"description": "x", "system": "Answer as a pirate.", "max_tokens": 3}
    assert chat(other, "pirate").status_code == 404
    made = one.put(f"{ALL}/pirate", json=plain)
    assert made.status_code == 200, made.text
    assert chat(other, "pirate").json["usage"]["completion_tokens"] == 3
    one.put(f"{ALL}/pirate", json={**plain, "max_tokens": 2})
    assert chat(other, "pirate").json["usage"]["completion_tokens"] == 2
    assert "agent:pirate" in other.get("/v1/models").text
    assert one.delete(f"{ALL}/pirate").json == {
        "id": "agent:pirate",
        "object": "agent.deleted",
        "deleted": True,
    }
    assert chat(other, "pirate").status_code == 404
    assert "agent:pirate" not in other.get("/v1/models").text


def test_it_is_shown_as_it_was_made() -> None:
    client = client_of()
    made = client.put(f"{ALL}/pirate", json=PIRATE).json
    assert PIRATE.items() <= made.items()
    assert made["id"] == "agent:pirate" and made["source"] == "store"
    assert made["hooks"] is None and made["model"] is None
    assert client.get(f"{ALL}/pirate").json == made
    assert client.get(ALL).json == {"object": "list", "data": [made]}
    again = client.put(f"{ALL}/pirate", json={"system": "Arr."}).json
    assert again["created_at"] == made["created_at"]
    assert again["tools"] == [] and again["description"] == ""


def test_those_of_the_file_are_shown_and_changed_there_only(tmp_path: Path) -> None:
    client = client_of(store="sqlite", data_folder=str(tmp_path))
    assert client.put(f"{ALL}/pirate", json={"system": "From the store."}).status_code == 200
    file = tmp_path / "agents.yaml"
    file.write_text(yaml.safe_dump({"agents": {"pirate": PIRATE}}))
    services = client.application.extensions["openai"]
    services.reload(Settings(store="sqlite", data_folder=str(tmp_path), agents=str(file)))
    (shown,) = client.get(ALL).json["data"]
    assert shown["source"] == "file" and PIRATE.items() <= shown.items()
    assert client.get(f"{ALL}/pirate").json == shown
    for refused in (
        client.put(f"{ALL}/pirate", json={"system": "x"}),
        client.delete(f"{ALL}/pirate"),
    ):
        assert assert_envelope(refused.json, status=409)["code"] == "agent_in_file"
    services.reload(Settings(store="sqlite", data_folder=str(tmp_path)))
    assert client.get(f"{ALL}/pirate").json["system"] == "From the store."
    services.store.close()


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"sytem": "x"}, "sytem"),
        ({"system": 1}, "system"),
        ({"sampling": {"temperatur": 1}}, "sampling"),
        ({"sampling": {"temperature": 900}}, "sampling"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"tools": [PIRATE["tools"][0], PIRATE["tools"][0]]}, "tools[1]"),
        ({"hooks": "all"}, "hooks"),
        ({"keys": [""]}, "keys[0]"),
    ],
)
def test_what_cannot_be_is_refused_by_its_field(body: dict[str, Any], param: str) -> None:
    client = client_of()
    refused = client.put(f"{ALL}/pirate", json=body)
    assert assert_envelope(refused.json, status=400)["param"] == param
    assert client.get(ALL).json["data"] == []


def test_names_and_what_is_not_there() -> None:
    client = client_of()
    for name in ("a b", "-a", "x" * 65, "a%00"):
        refused = client.put(f"{ALL}/{name}", json={})
        assert assert_envelope(refused.json, status=400)["param"] == "name", name
    for method in ("get", "delete"):
        refused = getattr(client, method)(f"{ALL}/nothing")
        assert assert_envelope(refused.json, status=404)["code"] == "stored_object_not_found"


def test_there_is_an_end_to_their_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agents, "MOST", 2)
    client = client_of()
    answers = [client.put(f"{ALL}/a{at}", json={}).status_code for at in (1, 2, 3, 2)]
    assert answers == [200, 200, 400, 200] and MOST > 2


def test_keys_see_only_those_that_they_may_use(tmp_path: Path) -> None:
    options: dict[str, Any] = {"data_folder": str(tmp_path), "rpm": 0}
    headers = headers_of(Settings(**options), "alice", "bob")
    every: frozenset[Scope] = frozenset({"read", "write", "admin"})
    headers |= headers_of(Settings(**options), "chief", scopes=every)
    client = client_of(**options)
    made = client.put(f"{ALL}/secret", json={"keys": ["alice"]}, headers=headers["chief"])
    assert made.status_code == 200
    assert chat(client, "secret", headers=headers["alice"]).status_code == 200
    for who in ("bob", "chief"):
        texts = [
            chat(client, name, headers=headers[who]).text.replace(name, "NAME")
            for name in ("secret", "nothin")
        ]
        assert texts[0] == texts[1] and "model_not_found" in texts[0]
        assert "secret" not in client.get("/v1/models", headers=headers[who]).text
    assert "agent:secret" in client.get("/v1/models", headers=headers["alice"]).text
    client.put(f"{ALL}/secret", json={"keys": ["bob"]}, headers=headers["chief"])
    assert chat(client, "secret", headers=headers["alice"]).status_code == 404
    assert chat(client, "secret", headers=headers["bob"]).status_code == 200


def test_settings_that_forbid_what_it_is_make_it_wait() -> None:
    client = client_of()
    client.put(f"{ALL}/hot", json={"sampling": {"temperature": 1.5}})
    services = client.application.extensions["openai"]
    services.reload(Settings(store="memory", sampling_limits={"temperature": 1.0}))
    refused = chat(client, "hot")
    assert assert_envelope(refused.json, status=503)["code"] == "agent_unavailable"
    assert "agent:hot" not in client.get("/v1/models").text
    assert client.get(f"{ALL}/hot").status_code == 200
    services.reload(Settings(store="memory"))
    assert chat(client, "hot").status_code == 200


def test_a_store_that_fails_takes_its_agents_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = client_of()
    client.put(f"{ALL}/pirate", json=PIRATE)

    def failing(self: Database) -> Any:
        raise StoreUnavailable("gone")

    monkeypatch.setattr(Database, "read", failing)
    assert chat(client, "pirate").status_code == 503
    assert client.get("/v1/models").status_code == 200
    body = {"model": "echo", "messages": [{"role": "user", "content": "Hi"}]}
    assert client.post("/v1/chat/completions", json=body).status_code == 200


def test_without_a_store_there_are_those_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "agents.yaml"
    file.write_text(yaml.safe_dump({"agents": {"pirate": {"system": "Arr."}}}))
    client = client_of(store="off", agents=str(file))
    assert chat(client, "pirate").status_code == 200
    assert len(client.get(ALL).json["data"]) == 1
    refused = client.put(f"{ALL}/other", json={})
    assert assert_envelope(refused.json, status=404)["code"] == "store_off"


def test_asking_for_agents_makes_no_store(tmp_path: Path) -> None:
    client = client_of(store="sqlite", data_folder=str(tmp_path))
    assert client.get("/v1/models").status_code == 200
    assert chat(client, "pirate").status_code == 404
    assert client.get(ALL).json["data"] == []
    assert [*tmp_path.iterdir()] == []
