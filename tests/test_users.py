"""What is stored of an end user: handed out and erased by an admin."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from flask.testing import FlaskClient

from extensions.openai.engines.echo import EchoEngine
from extensions.openai.settings import Settings
from extensions.openai.web.app import create_app
from tests.state.conftest import gone
from tests.support.keys import headers_of
from tests.support.reference import assert_envelope
from tests.test_stored_completions import CHATS, body, client_of

USERS = "/v1/internal/users"
ADMIN = {"Authorization": "Bearer the admin key"}


def keyed(tmp_path: Path) -> tuple[FlaskClient, dict[str, dict[str, str]]]:
    folder = str(tmp_path)
    settings = Settings(data_folder=folder, store="memory", admin_key="the admin key", rpm=0)
    headers = headers_of(settings, "alice", "bob")
    client = create_app(settings, EchoEngine()).test_client()
    for sent in headers.values():
        for more in ({"user": "u"}, {"safety_identifier": "u"}, {"user": "v"}, {}):
            assert client.post(CHATS, json=body(**more), headers=sent).status_code == 200
    return client, headers


def lines(answer: Any) -> list[Any]:
    assert answer.status_code == 200, answer.text
    assert answer.content_type.startswith("application/jsonl")
    return [json.loads(line) for line in answer.text.splitlines()]


def left(client: FlaskClient, headers: dict[str, str]) -> int:
    return len(client.get(CHATS, headers=headers).json["data"])


def test_export(tmp_path: Path) -> None:
    client, _ = keyed(tmp_path)
    found = lines(client.get(f"{USERS}/u/export", headers=ADMIN))
    people = [(each["end_user"], each["safety_identifier"]) for each in found]
    assert people == [("u", None), (None, "u")] * 2
    assert found[0]["kind"] == "chats" and found[0]["messages"] == body()["messages"]
    assert found[0]["completion"]["object"] == "chat.completion"
    of_one = lines(client.get(f"{USERS}/u/export?api_key_id=bob", headers=ADMIN))
    assert of_one == found[2:]
    assert lines(client.get(f"{USERS}/w/export", headers=ADMIN)) == []


def test_erase(tmp_path: Path) -> None:
    client, headers = keyed(tmp_path)
    receipt = client.delete(f"{USERS}/u?api_key_id=alice", headers=ADMIN).json
    assert receipt.pop("id").startswith("erasure_") and receipt.pop("erased_at") > 0
    expected = {
        "object": "erasure",
        "user": "u",
        "api_key_id": "alice",
        "deleted": gone(chats=2, responses=0),
    }
    assert receipt == expected
    assert (left(client, headers["alice"]), left(client, headers["bob"])) == (2, 4)
    for deleted in (2, 0):
        receipt = client.delete(f"{USERS}/u", headers=ADMIN).json
        assert receipt["deleted"] == gone(chats=deleted, responses=0)
    assert (left(client, headers["alice"]), left(client, headers["bob"])) == (2, 2)


def test_only_admins(tmp_path: Path) -> None:
    client, headers = keyed(tmp_path)
    for method, path in (("DELETE", f"{USERS}/u"), ("GET", f"{USERS}/u/export")):
        refused = client.open(path, method=method, headers=headers["alice"])
        assert_envelope(refused.json, status=403)
    assert left(client, headers["alice"]) == 4


@pytest.mark.parametrize("user", ["a/b", "ü", "a b", "export", "x" * 300, "a/export"])
def test_any_name(user: str) -> None:
    client = client_of()
    client.post(CHATS, json=body(user=user))
    path = f"{USERS}/{quote(user, safe='')}"
    assert len(lines(client.get(f"{path}/export"))) == 1
    assert client.delete(path).json["deleted"] == gone(chats=1, responses=0)


def test_the_name_of_no_key(tmp_path: Path) -> None:
    client, _ = keyed(tmp_path)
    refused = client.delete(f"{USERS}/u?api_key_id=carol", headers=ADMIN)
    assert assert_envelope(refused.json, status=400)["param"] == "api_key_id"


def test_off() -> None:
    refused = client_of(store="off").delete(f"{USERS}/u")
    assert assert_envelope(refused.json, status=404)["code"] == "store_off"
