"""Users whom a trusted proxy names in a header."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from extensions.openai.access.keys import Keys
from extensions.openai.engines.echo import EchoEngine
from extensions.openai.errors import Unauthorized
from extensions.openai.server.server import APIServer
from extensions.openai.settings import Settings, SettingsError
from extensions.openai.web.app import create_app
from tests.support.keys import headers_of
from tests.support.reference import assert_envelope
from tests.support.wire import Wire

PROXY, OTHER = "10.0.0.2", "10.0.0.3"
CHAT = "/v1/chat/completions"
BODY: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}
OPTIONS: dict[str, Any] = {
    "store": "memory",
    "trusted_user_header": "X-Forwarded-User",
    "trusted_proxies": (PROXY,),
    "trusted_user_admins": ("root",),
}


def client(tmp_path: Path, **options: Any) -> FlaskClient:
    settings = Settings(**{**OPTIONS, "data_folder": str(tmp_path), **options})
    return create_app(settings, EchoEngine()).test_client()


def ask(
    client: FlaskClient, method: str, path: str, user: str | None, peer: str = PROXY, **more: Any
) -> Any:
    headers = {**({} if user is None else {"X-Forwarded-User": user}), **more.pop("headers", {})}
    environ = {"REMOTE_ADDR": peer}
    return client.open(path, method=method, headers=headers, environ_base=environ, **more)


def whose(client: FlaskClient, user: str | None, peer: str = PROXY, **more: Any) -> Any:
    return ask(client, "GET", "/v1/internal/caller", user, peer, **more)


def test_a_user_of_the_proxy_needs_no_key(tmp_path: Path) -> None:
    here = client(tmp_path)
    answer = whose(here, "ann@example.com")
    assert answer.status_code == 200
    assert (answer.json["name"], answer.json["key_needed"]) == ("user:ann@example.com", False)
    assert answer.json["scopes"] == ["read", "write"]
    assert ask(here, "POST", CHAT, "ann", json=BODY).status_code == 200
    assert whose(here, "Jos\xc3\xa9").json["name"] == "user:José"


def test_the_key_that_a_client_sends_as_well_is_not_looked_at(tmp_path: Path) -> None:
    here = client(tmp_path, api_key="right")
    for key in ("wrong", "right"):
        answer = whose(here, "ann", headers={"Authorization": f"Bearer {key}"})
        assert answer.json["name"] == "user:ann"


@pytest.mark.parametrize("peer", [OTHER, "127.0.0.1", "", "::1", "nonsense"])
def test_from_elsewhere_the_header_is_nothing(tmp_path: Path, peer: str) -> None:
    here = client(tmp_path, api_key="right", admin_key="root")
    for user in ("ann", "root"):
        answer = whose(here, user, peer)
        assert answer.status_code == 401
        assert_envelope(answer.json, status=401)
    answer = whose(here, "root", peer, headers={"Authorization": "Bearer right"})
    assert answer.json["name"] == "api-key"


def test_what_a_client_reports_of_itself_is_nothing(tmp_path: Path) -> None:
    here = client(tmp_path)
    assert whose(here, "ann", OTHER, headers={"X-Forwarded-For": PROXY}).status_code == 401


def test_without_a_user_the_proxy_is_nobody(tmp_path: Path) -> None:
    here = client(tmp_path)  # no key at all is set
    for user in (None, ""):
        answer = whose(here, user)
        assert answer.status_code == 401, answer.json
    assert whose(here, None, "127.0.0.1").status_code == 401


def test_keys_work_beside_it(tmp_path: Path) -> None:
    settings = Settings(**{**OPTIONS, "data_folder": str(tmp_path)})
    sent = headers_of(settings, "alice")["alice"]
    here = create_app(settings, EchoEngine()).test_client()
    for peer in (PROXY, OTHER):
        assert whose(here, None, peer, headers=sent).json["name"] == "alice"


@pytest.mark.parametrize("user", ["a,b", "a b", "x" * 129, "\xff\xfe", "a;b", "a\x7f"])
def test_a_name_that_is_none(tmp_path: Path, user: str) -> None:
    answer = whose(client(tmp_path), user)
    assert answer.status_code == 401
    assert_envelope(answer.json, status=401)


def test_two_headers_name_nobody(tmp_path: Path) -> None:
    """A proxy that adds its header to the client's own."""
    headers = [("X-Forwarded-User", "root"), ("X-Forwarded-User", "ann")]
    answer = client(tmp_path).get(
        "/v1/internal/caller", headers=headers, environ_base={"REMOTE_ADDR": PROXY}
    )
    assert answer.status_code == 401


def test_admin_is_who_is_listed(tmp_path: Path) -> None:
    here = client(tmp_path)
    assert whose(here, "root").json["scopes"] == ["read", "write", "admin"]
    assert ask(here, "GET", "/v1/internal/keys", "root").status_code == 200
    for user in ("ann", "ROOT", "admin", "local"):
        assert ask(here, "GET", "/v1/internal/keys", user).status_code == 403, user


def test_each_user_has_its_own_data(tmp_path: Path) -> None:
    here = client(tmp_path)
    stored = ask(here, "POST", CHAT, "ann", json={**BODY, "store": True}).json["id"]
    assert ask(here, "GET", f"{CHAT}/{stored}", "ann").status_code == 200
    for user in ("bob", "root"):
        assert ask(here, "GET", f"{CHAT}/{stored}", user).status_code == 404


def test_a_named_key_of_that_name_is_another_one(tmp_path: Path) -> None:
    settings = Settings(**{**OPTIONS, "data_folder": str(tmp_path)})
    sent = headers_of(settings, "ann")["ann"]
    here = create_app(settings, EchoEngine()).test_client()
    stored = ask(here, "POST", CHAT, "ann", json={**BODY, "store": True}).json["id"]
    assert ask(here, "GET", f"{CHAT}/{stored}", None, headers=sent).status_code == 404


def test_each_user_has_limits_and_usage_of_its_own(tmp_path: Path) -> None:
    here = client(tmp_path, rpm=2)
    for user, status in (("ann", 200), ("ann", 200), ("ann", 429), ("bob", 200)):
        answer = ask(here, "POST", CHAT, user, json=BODY)
        assert answer.status_code == status
        answer.close()
    usage = here.application.extensions["openai"].usage_store
    assert usage.spent("user:ann", None, 0) > usage.spent("user:bob", None, 0) > 0


def test_pages_of_other_origins_are_refused(tmp_path: Path) -> None:
    here = client(tmp_path, cors_origins=("https://good.example",))
    for origin, status in (
        ("https://evil.example", 403),
        ("null", 403),
        ("https://ai.example", 200),
        ("https://good.example", 200),
    ):
        headers = {"Origin": origin, "Host": "ai.example"}
        answer = ask(here, "POST", CHAT, "ann", json=BODY, headers=headers)
        assert answer.status_code == status, origin
    open_to_all = client(tmp_path, cors_origins=("*",))
    headers = {"Origin": "https://evil.example", "Host": "ai.example"}
    answer = ask(open_to_all, "POST", CHAT, "ann", json=BODY, headers=headers)
    assert answer.status_code == 403 and answer.json["error"]["code"] == "origin_not_allowed"


def test_work_that_outlives_its_request(tmp_path: Path) -> None:
    options = {**OPTIONS, "data_folder": str(tmp_path)}
    keys = Keys(Settings(**options))
    root = keys.identify({}, PROXY, "root")
    assert keys.identify_again(root).scopes == root.scopes
    later = Keys(Settings(**{**options, "trusted_user_admins": ()}))
    assert later.identify_again(root).scopes == {"read", "write"}
    with pytest.raises(Unauthorized):
        Keys(Settings(data_folder=str(tmp_path))).identify_again(root)


def test_the_proxies_may_change(tmp_path: Path) -> None:
    here = client(tmp_path)
    services = here.application.extensions["openai"]
    services.reload(services.settings.model_copy(update={"trusted_proxies": (OTHER,)}))
    assert whose(here, "ann", OTHER).status_code == 200
    assert whose(here, "ann", PROXY).status_code == 401
    services.reload(services.settings.model_copy(update={"trusted_proxies": ("1",)}))
    assert whose(here, "ann", OTHER).status_code == 401


def test_what_one_has_stored_is_exported_and_erased(tmp_path: Path) -> None:
    here = client(tmp_path)
    for user in ("ann", "bob"):
        sent = {**BODY, "store": True, "user": "u"}
        assert ask(here, "POST", CHAT, user, json=sent).status_code == 200
    export, erase = "/v1/internal/users/u/export", "/v1/internal/users/u"
    found = ask(here, "GET", f"{export}?api_key_id=user:ann", "root")
    assert found.status_code == 200 and len(found.text.splitlines()) == 1
    receipt = ask(here, "DELETE", f"{erase}?api_key_id=user:ann", "root").json
    assert (receipt["api_key_id"], receipt["deleted"]["chats"]) == ("user:ann", 1)
    assert ask(here, "GET", CHAT, "ann").json["data"] == []
    assert len(ask(here, "GET", CHAT, "bob").json["data"]) == 1


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"trusted_proxies": ()}, "--trusted-proxies"),
        ({"trusted_proxies": ("1",)}, "--trusted-proxies"),
        ({"trusted_proxies": (PROXY, "2")}, "--trusted-proxies"),
        ({"public_api": True, "api_key": "k"}, "--public-api"),
    ],
)
def test_where_everybody_could_name_a_user_the_server_does_not_start(
    tmp_path: Path, options: dict[str, Any], named: str
) -> None:
    with pytest.raises(SettingsError, match=named):
        client(tmp_path, **options)


@pytest.mark.parametrize("name", ["", "X Forwarded", "X_User", "X-User:", "-"])
def test_a_header_that_is_none_stops_the_start(name: str) -> None:
    with pytest.raises(ValueError, match="header"):
        Settings(trusted_user_header=name)


def test_on_the_wire_a_body_is_read_for_a_user_only(tmp_path: Path) -> None:
    options = {**OPTIONS, "data_folder": str(tmp_path), "trusted_proxies": ("127.0.0.1",)}
    settings = Settings(**{**options, "api_port": 0, "drain_timeout": 0.0})
    server = APIServer(create_app(settings, EchoEngine()), settings)
    server.start()
    try:
        long = json.dumps(BODY).encode() + b" " * 200_000
        for headers, status in (
            ({"X-Forwarded-User": "ann"}, 200),
            ({}, 401),
            ({"X_Forwarded_User": "ann"}, 401),
        ):
            with Wire(server.port) as wire:
                wire.request("POST", CHAT, long, headers)
                assert wire.answer().status == status, headers
    finally:
        server.stop(5.0)


def test_a_unix_socket_is_of_this_machine(tmp_path: Path) -> None:
    """Whom the folder's permissions let in may name a user, where 127.0.0.1 is trusted."""
    path = str(tmp_path / "s")
    for trusted, status in (("127.0.0.1", 200), (PROXY, 401)):
        options = {**OPTIONS, "data_folder": str(tmp_path), "trusted_proxies": (trusted,)}
        settings = Settings(**{**options, "unix_socket": path, "drain_timeout": 0.0})
        server = APIServer(create_app(settings, EchoEngine()), settings)
        server.start()
        try:
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(40.0)
            sock.connect(path)
            with Wire(0, sock=sock) as wire:
                wire.request("GET", "/v1/internal/caller", headers={"X-Forwarded-User": "ann"})
                assert wire.answer().status == status
        finally:
            server.stop(5.0)
