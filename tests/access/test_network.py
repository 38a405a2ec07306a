"""Who may reach the server: loopback, Host, Origin."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient

from extensions.openai.access.network import bind_address, check_source, is_loopback
from extensions.openai.app import create_app
from extensions.openai.engines.echo import EchoEngine
from extensions.openai.errors import Forbidden
from extensions.openai.settings import Settings, SettingsError
from tests.support.reference import assert_envelope

EVIL_HOSTS = [
    "evil.example",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "evil.example:5001",
    "192.168.1.2",
    "0.0.0.0",
    "[2001:db8::1]",
    "",
    "[",
    "a b",
]
OWN_HOSTS = [
    "localhost",
    "LOCALHOST:5001",
    "127.0.0.1:5001",
    "127.9.9.9",
    "[::1]:5001",
    "localhost.",
]
EVIL_ORIGINS = [
    "https://evil.example",
    "null",
    "http://localhost.evil.example",
    "http://127.0.0.1.evil.example",
    "http://localhost:5001.evil.example",
    "http://evil.example#http://localhost",
    "http://127.0.0.1@evil.example",
    "",
]
OWN_ORIGINS = [
    "http://localhost",
    "http://localhost:3000",
    "http://127.0.0.1:80",
    "https://[::1]:1",
]


@pytest.mark.parametrize(
    ("host", "is_own"),
    [
        ("localhost", True),
        ("app.localhost", True),
        ("127.0.0.1", True),
        ("127.255.0.1", True),
        ("::1", True),
        ("[::1]", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("example.com", False),
        ("localhost.example.com", False),
        ("", False),
    ],
)
def test_loopback(host: str, is_own: bool) -> None:
    assert is_loopback(host) is is_own


@pytest.mark.parametrize(
    ("options", "address"),
    [
        ({}, "127.0.0.1"),
        ({"listen_host": "127.0.0.2"}, "127.0.0.2"),
        ({"listen_host": "::1"}, "::1"),
        ({"listen": True, "api_key": "k"}, "0.0.0.0"),
        ({"listen": True, "listen_host": "10.0.0.1", "api_key": "k"}, "10.0.0.1"),
        ({"api_key": "k"}, "127.0.0.1"),
    ],
)
def test_the_address_to_listen_on(options: dict[str, object], address: str) -> None:
    assert bind_address(Settings(**options)) == address


@pytest.mark.parametrize(
    ("options", "flag"),
    [
        ({"listen": True}, "--listen"),
        ({"listen_host": "0.0.0.0"}, "--listen-host"),
        ({"listen_host": "::"}, "--listen-host"),
        ({"listen_host": "192.168.0.9"}, "--listen-host"),
        ({"public_api": True}, "--public-api"),
        ({"listen": True, "admin_key": "only-an-admin-key"}, "--listen"),
    ],
)
def test_without_a_key_nothing_is_opened(options: dict[str, object], flag: str) -> None:
    with pytest.raises(SettingsError) as caught:
        bind_address(Settings(**options))
    assert flag in str(caught.value) and "--api-key" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("host", EVIL_HOSTS)
def test_a_foreign_host_name_is_refused(host: str) -> None:
    with pytest.raises(Forbidden):
        check_source(Settings(), host, None)
    check_source(Settings(api_key="k"), host, None)


@pytest.mark.parametrize("host", OWN_HOSTS)
def test_loopback_names_are_let_in(host: str) -> None:
    check_source(Settings(), host, None)


def test_a_host_name_on_the_list_is_let_in() -> None:
    settings = Settings(allowed_hosts=("Box.lan",))
    check_source(settings, "box.lan:5001", None)
    with pytest.raises(Forbidden):
        check_source(settings, "other.lan", None)


@pytest.mark.parametrize("origin", EVIL_ORIGINS)
def test_a_foreign_page_is_refused(origin: str) -> None:
    with pytest.raises(Forbidden):
        check_source(Settings(), "localhost", origin)


@pytest.mark.parametrize("origin", OWN_ORIGINS)
def test_a_page_of_this_machine_is_let_in(origin: str) -> None:
    check_source(Settings(), "localhost", origin)


def browser(**options: object) -> FlaskClient:
    return create_app(Settings(**options), EchoEngine()).test_client()


@pytest.mark.parametrize(
    "path", ["/v1/models", "/health", "/", "/nowhere", "/openapi.json", "/docs"]
)
def test_every_page_checks_host_and_origin(path: str) -> None:
    client = browser()
    for headers in ({"Host": "evil.example"}, {"Origin": "https://evil.example"}):
        answer = client.get(path, headers=headers)
        assert answer.status_code == 403
        assert_envelope(answer.json, status=403)


@pytest.mark.parametrize("origin", OWN_ORIGINS)
@pytest.mark.parametrize("path", ["/v1/models", "/v1/nowhere"])
def test_a_page_of_this_machine_may_read_the_answer(origin: str, path: str) -> None:
    answer = browser().get(path, headers={"Origin": origin})
    assert answer.headers["Access-Control-Allow-Origin"] == origin
    assert "x-request-id" in answer.headers["Access-Control-Expose-Headers"].lower()


@pytest.mark.parametrize("origin", [origin for origin in EVIL_ORIGINS if origin])
@pytest.mark.parametrize("key", [None, "k"])
def test_no_foreign_page_may_read_an_answer(origin: str, key: str | None) -> None:
    headers = {"Origin": origin, "Authorization": "Bearer k"}
    for method in ("GET", "OPTIONS"):
        asked = headers | ({"Access-Control-Request-Method": "POST"} if method == "OPTIONS" else {})
        answer = browser(api_key=key).open("/v1/models", method=method, headers=asked)
        assert "Access-Control-Allow-Origin" not in answer.headers, method


@pytest.mark.parametrize(
    "listed", ["https://app.example", "https://app.example/", "HTTPS://App.example"]
)
def test_an_origin_on_the_list_may_call_and_read(listed: str) -> None:
    client = browser(cors_origins=(listed,))
    answer = client.get("/v1/models", headers={"Origin": "https://app.example"})
    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] == "https://app.example"
    assert (
        client.get("/v1/models", headers={"Origin": "https://app.example.evil"}).status_code == 403
    )


def test_a_star_lets_all_pages_in() -> None:
    answer = browser(cors_origins=("*",)).get("/v1/models", headers={"Origin": "https://a.example"})
    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] in ("*", "https://a.example")


def test_a_preflight_needs_no_key_and_allows_what_clients_send() -> None:
    asked = {
        "Origin": "http://localhost:3000",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization, content-type, x-stainless-lang",
    }
    answer = browser(api_key="k").options("/v1/chat/completions", headers=asked)
    assert answer.status_code in (200, 204)
    allowed = answer.headers["Access-Control-Allow-Headers"].lower()
    for name in ("authorization", "content-type", "x-stainless-lang"):
        assert name in allowed
    assert "POST" in answer.headers["Access-Control-Allow-Methods"]
