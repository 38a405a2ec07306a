"""Memories over the API: added, listed, read, deleted, exported and erased."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml
from flask.testing import FlaskClient

from extensions.openai.engines.echo import EchoEngine
from extensions.openai.settings import Settings
from extensions.openai.web.app import create_app
from tests.support.reference import assert_envelope

ALL = "/v1/memories"


@pytest.fixture
def client(where: str, tmp_path: Path) -> Any:
    file = tmp_path / "agents.yaml"
    file.write_text(yaml.safe_dump({"agents": {"companion": {"memory": True}, "plain": {}}}))
    options: dict[str, Any] = {"store": where, "data_folder": str(tmp_path), "agents": str(file)}
    made = create_app(Settings(**options), EchoEngine()).test_client()
    yield made
    made.application.extensions["openai"].store.close()


def add(client: FlaskClient, text: str, user: str = "ann", agent: str = "companion") -> Any:
    return client.post(ALL, json={"agent": agent, "user": user, "text": text})


def test_a_fact_from_its_beginning_to_its_end(client: FlaskClient) -> None:
    made = add(client, " Ann has\n a cat. ").json
    assert made["text"] == "Ann has a cat." and made["source"] == "api"
    assert client.get(f"{ALL}/{made['id']}").json == made
    assert add(client, "Ann has a cat.").json == made
    assert client.get(ALL).json["data"] == [made]
    gone = client.delete(f"{ALL}/{made['id']}").json
    assert gone == {"id": made["id"], "object": "memory.deleted", "deleted": True}
    for method in ("get", "delete"):
        refused = getattr(client, method)(f"{ALL}/{made['id']}")
        assert assert_envelope(refused.json, status=404)["code"] == "stored_object_not_found"


def test_lists_are_filtered_and_paged(client: FlaskClient) -> None:
    ids = [add(client, str(at), user).json["id"] for at, user in enumerate(("ann", "bob", "ann"))]

    def listed(**query: Any) -> list[str]:
        return [each["id"] for each in client.get(ALL, query_string=query).json["data"]]

    assert listed() == ids and listed(order="desc") == ids[::-1]
    assert listed(user="ann") == [ids[0], ids[2]] and listed(user="eve") == []
    assert listed(agent="companion", user="bob") == [ids[1]] and listed(agent="plain") == []
    assert listed(limit=1, after=ids[0]) == [ids[1]]


def test_they_are_exported_and_erased_with_their_user(client: FlaskClient) -> None:
    for user in ("ann", "ann", "bob"):
        add(client, f"A fact of {user}'s.", user)
    add(client, "Another.", "ann")
    lines = client.get("/v1/internal/users/ann/export").data.splitlines()
    assert [orjson.loads(line)["fact"]["text"] for line in lines] == [
        "A fact of ann's.",
        "Another.",
    ]
    assert client.delete("/v1/internal/users/ann").json["deleted"]["memories"] == 2
    assert [each["user"] for each in client.get(ALL).json["data"]] == ["bob"]


@pytest.mark.parametrize("where", ["memory"], indirect=True)
@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"user": "ann", "text": "x"}, 400, "agent"),
        ({"agent": "companion", "text": "x"}, 400, "user"),
        ({"agent": "companion", "user": "ann"}, 400, "text"),
        ({"agent": "companion", "user": "ann", "text": " "}, 400, "text"),
        ({"agent": "companion", "user": "ann", "text": "x" * 301}, 400, "text"),
        ({"agent": "plain", "user": "ann", "text": "x"}, 400, "agent"),
        ({"agent": "nothing", "user": "ann", "text": "x"}, 404, "model"),
    ],
)
def test_what_cannot_be_is_refused_by_its_field(
    client: FlaskClient, body: dict[str, Any], status: int, param: str
) -> None:
    refused = client.post(ALL, json=body)
    assert assert_envelope(refused.json, status=status)["param"] == param
