"""Named keys over the API."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from pydantic import SecretStr

from extensions.openai.engines.echo import EchoEngine
from extensions.openai.settings import Settings
from extensions.openai.web.app import create_app
from tests.support.reference import assert_envelope

KEYS = "/v1/internal/keys"


@pytest.fixture
def client(tmp_path: Path) -> FlaskClient:
    settings = Settings(data_folder=str(tmp_path), admin_key=SecretStr("admin"), rpm=0)
    client = create_app(settings, EchoEngine()).test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = "Bearer admin"
    return client


def make(client: FlaskClient, **body: Any) -> Any:
    answer = client.post(KEYS, json={"name": "alice", **body})
    assert answer.status_code == 200, answer.get_data(as_text=True)
    return answer.json


def asks(client: FlaskClient, key: str, method: str = "GET", path: str = "/v1/models") -> int:
    answer = client.open(path, method=method, headers={"Authorization": f"Bearer {key}"}, json={})
    return answer.status_code


def test_a_key_is_made_and_its_text_shown_once(client: FlaskClient) -> None:
    end = int(time.time()) + 1000
    made = make(client, scopes=["read"], expires_at=end, limits={"rpm": 5}, stores=False, weight=3)
    assert made["key"].startswith("sk-alice-") and made["valid"] and made["ends_at"] == end
    assert (made["scopes"], made["limits"], made["stores"]) == (["read"], {"rpm": 5}, False)
    assert asks(client, made["key"]) == 200
    assert asks(client, made["key"], "POST", "/v1/chat/completions") == 403
    listed = client.get(KEYS)
    assert made["key"] not in listed.get_data(as_text=True)
    assert listed.json["data"] == [{name: made[name] for name in made if name != "key"}]


def test_its_limits_hold(client: FlaskClient) -> None:
    key = make(client, limits={"rpm": 1})["key"]
    assert [asks(client, key) for _ in range(2)] == [200, 429]


def test_a_rotated_key_takes_the_place_of_the_old_one(client: FlaskClient) -> None:
    old = make(client, limits={"rpm": 9})
    new = client.post(f"{KEYS}/alice/rotate").json
    assert (asks(client, old["key"]), asks(client, new["key"])) == (401, 200)
    assert new["limits"] == {"rpm": 9} and new["id"] != old["id"]
    assert [each["valid"] for each in client.get(KEYS).json["data"]] == [True, False]
    graced = client.post(f"{KEYS}/alice/rotate", json={"grace_seconds": 60}).json
    assert (asks(client, new["key"]), asks(client, graced["key"])) == (200, 200)


def test_a_revoked_key_ends_at_once(client: FlaskClient) -> None:
    key = make(client)["key"]
    answer = client.delete(f"{KEYS}/alice")
    assert answer.json == {"object": "key.revoked", "name": "alice", "count": 1}
    assert asks(client, key) == 401
    (listed,) = client.get(KEYS).json["data"]
    assert listed["valid"] is False and listed["ends_at"] == 0


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"name": "a b"}, "name"),
        ({"name": "Admin"}, "name"),
        ({"name": "bob", "scopes": []}, "scopes"),
        ({"name": "bob", "scopes": ["root"]}, "scopes[0]"),
        ({"name": "bob", "limits": {"rps": 1}}, "limits.rps"),
        ({"name": "bob", "user_limits": {"rpm": 10**12}}, "user_limits.rpm"),
        ({"name": "alice"}, "name"),
    ],
)
def test_what_cannot_be_is_refused(client: FlaskClient, body: Any, param: str) -> None:
    make(client)
    answer = client.post(KEYS, json=body)
    assert answer.status_code == 400
    assert assert_envelope(answer.json, status=400)["param"] == param
    assert len(client.get(KEYS).json["data"]) == 1


def test_a_name_without_a_key_is_a_404(client: FlaskClient) -> None:
    for answer in (client.delete(f"{KEYS}/bob"), client.post(f"{KEYS}/bob/rotate")):
        assert answer.status_code == 404
        assert answer.json["error"]["message"] == "There is no key bob."


def test_files_that_cannot_be_written_are_a_503_without_their_place(
    client: FlaskClient, tmp_path: Path
) -> None:
    make(client)
    (tmp_path / "keys.json").write_text("damaged")
    for answer in (client.get(KEYS), client.post(KEYS, json={"name": "bob"})):
        assert answer.status_code == 503 and answer.json["error"]["code"] == "keys_unreadable"
        assert str(tmp_path) not in answer.get_data(as_text=True)


def test_the_first_key_locks_a_server_that_had_none(tmp_path: Path) -> None:
    client = create_app(Settings(data_folder=str(tmp_path)), EchoEngine()).test_client()
    made = client.post(KEYS, json={"name": "root", "scopes": ["admin"]}).json
    assert client.get("/v1/models").status_code == 401
    assert asks(client, made["key"], path=KEYS) == 200
