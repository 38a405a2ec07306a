"""Whose key a request has."""

from __future__ import annotations

from pathlib import Path

from flask.testing import FlaskClient

from extensions.openai.access.key_files import KeyFiles
from extensions.openai.access.signed_keys import Grant
from extensions.openai.engines.echo import EchoEngine
from extensions.openai.settings import Settings
from extensions.openai.web.app import create_app


def test_without_keys_it_is_this_machine(client: FlaskClient) -> None:
    assert client.get("/v1/internal/caller").json == {
        "object": "caller",
        "name": "local",
        "scopes": ["read", "write", "admin"],
        "stores": True,
        "key_needed": False,
    }


def test_a_named_key_is_told_by_its_name_and_never_itself(tmp_path: Path) -> None:
    grant = Grant("", "alice", frozenset({"read"}), stores=False)
    key = KeyFiles(tmp_path).create(grant)
    client = create_app(Settings(data_folder=str(tmp_path)), EchoEngine()).test_client()
    answer = client.get("/v1/internal/caller", headers={"Authorization": f"Bearer {key}"})
    assert answer.json == {
        "object": "caller",
        "name": "alice",
        "scopes": ["read"],
        "stores": False,
        "key_needed": True,
    }
    assert key not in answer.get_data(as_text=True)
    assert client.get("/v1/internal/caller").status_code == 401


def test_where_nothing_is_stored() -> None:
    client = create_app(Settings(store="off"), EchoEngine()).test_client()
    assert client.get("/v1/internal/caller").json["stores"] is False
