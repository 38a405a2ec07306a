"""The endpoint of sessions: list, read, delete."""

from __future__ import annotations

from typing import Any

from flask.testing import FlaskClient

from extensions.openai.engines.echo import EchoEngine
from extensions.openai.settings import Settings
from extensions.openai.web.app import create_app
from tests.support.reference import assert_envelope
from tests.web.test_session_turn import chat, client_of


def listed(client: FlaskClient, query: str = "", **headers: str) -> Any:
    return client.get(f"/v1/sessions{query}", headers=headers).json


def test_they_are_listed_read_and_deleted() -> None:
    client = client_of()
    for name in ("a", "b", "c"):
        chat(client, "one", session=name)
    page = listed(client, "?limit=2")
    assert [each["session"] for each in page["data"]] == ["a", "b"] and page["has_more"]
    assert listed(client, f"?after={page['last_id']}")["data"][0]["session"] == "c"
    (one,) = listed(client, "?session=b&agent=")["data"]
    assert one["object"] == "session" and one["agent"] is None
    assert one["created_at"] <= one["last_used_at"]
    read = client.get(f"/v1/sessions/{one['id']}").json
    assert read == one | {"messages": read["messages"]} and len(read["messages"]) == 2
    deleted = client.delete(f"/v1/sessions/{one['id']}").json
    assert deleted == {"id": one["id"], "object": "session.deleted", "deleted": True}
    error = assert_envelope(client.get(f"/v1/sessions/{one['id']}").json, status=404)
    assert error["code"] == "stored_object_not_found"
    chat(client, "one", session="b")
    (again,) = listed(client, "?session=b")["data"]
    assert again["id"] != one["id"]


def test_what_one_key_keeps_another_cannot_see() -> None:
    app = create_app(Settings(api_key="a", admin_key="b", store="memory"), EchoEngine())
    client = app.test_client()
    mine, other = {"Authorization": "Bearer a"}, {"Authorization": "Bearer b"}
    chat(client, "one", headers=mine)
    (id,) = (each["id"] for each in listed(client, **mine)["data"])
    assert listed(client, **other)["data"] == []
    for method in ("GET", "DELETE"):
        answer = client.open(f"/v1/sessions/{id}", method=method, headers=other)
        assert answer.status_code == 404
    assert len(listed(client, **mine)["data"]) == 1


def test_where_nothing_may_be_stored_there_are_none() -> None:
    client = client_of(store="off")
    assert listed(client)["error"]["code"] == "store_off"
