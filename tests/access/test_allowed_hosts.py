"""Who may reach the server: loopback, Host, Origin."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from extensions.openai.access.allowed_hosts import bind_addresses, check_source
from extensions.openai.access.ip_addresses import is_loopback
from extensions.openai.configuration.sources import load
from extensions.openai.engines.echo import EchoEngine
from extensions.openai.errors import Forbidden, InvalidRequest
from extensions.openai.settings import Settings, SettingsError
from extensions.openai.web.app import create_app
from tests.conftest import Serve
from tests.support.reference import assert_envelope
from tests.support.wire import Wire

EVIL_HOSTS = [
    "evil.example",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "evil.example:5001",
    "192.168.1.2",
    "0.0.0.0",
    "[2001:db8::1]",
    "[::ffff:8.8.8.8]",
    "localhost.evil",
    "127.0.0.1.nip.io",
    "2130706433",
    "127.1",
]
MALFORMED_HOSTS = [
    "",
    ".",
    "[",
    "[::1",
    "a b",
    "localhost, evil.example",
    "evil.example, localhost",
    "localhost@evil.example",
    "evil.example@localhost",
    "localhost/evil",
    "localhost:",
    "localhost:port",
    "localhost:5001:5001",
    "http://localhost",
    "localhost#",
    "local\thost",
    "localhost\x00.evil.example",
    "löcalhost",
    ".localhost",
    "a..localhost",
    "localhost..",
    "-.:5001:",
]
OWN_HOSTS = [
    "localhost",
    "LOCALHOST:5001",
    "127.0.0.1:5001",
    "127.9.9.9",
    "[::1]:5001",
    "localhost.",
    "LocalHost.:1",
    "app.localhost:5001",
    "[::ffff:127.0.0.1]",
    "[0:0:0:0:0:0:0:1]:80",
    "host.docker.internal:5001",
]
EVIL_ORIGINS = [
    "https://evil.example",
    "null",
    "NULL",
    "file://",
    "http://localhost\t.evil.example",
    "http://127.0.0.1:80:80",
    "http://[::1].evil.example",
    "http://localhost/",
    "app://localhost",
    "http://0.0.0.0",
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
        ({"listen_host": "127.0.0.1, ::1,"}, "127.0.0.1 ::1"),
        ({"listen_host": "127.0.0.1,10.0.0.1", "api_key": "k"}, "127.0.0.1 10.0.0.1"),
        ({"unix_socket": "/run/s"}, ""),
        ({"unix_socket": "/run/s", "listen_host": "::1"}, "::1"),
        ({"unix_socket": "/run/s", "listen": True, "api_key": "k"}, "0.0.0.0"),
    ],
)
def test_the_addresses_to_listen_on(options: dict[str, Any], address: str) -> None:
    assert " ".join(bind_addresses(Settings(**options))) == address


@pytest.mark.parametrize(
    ("options", "flag"),
    [
        ({"listen": True}, "--listen"),
        ({"listen_host": "0.0.0.0"}, "--listen-host"),
        ({"listen_host": "::"}, "--listen-host"),
        ({"listen_host": "192.168.0.9"}, "--listen-host"),
        ({"listen_host": "127.0.0.1,192.168.0.9"}, "--listen-host"),
        ({"listen_host": "0.0.0.0", "unix_socket": "/run/s"}, "--listen-host"),
        ({"public_api": True}, "--public-api"),
        ({"listen": True, "admin_key": "only-an-admin-key"}, "--listen"),
    ],
)
def test_without_a_key_nothing_is_opened(options: dict[str, Any], flag: str) -> None:
    with pytest.raises(SettingsError) as caught:
        bind_addresses(Settings(**options))
    assert flag in str(caught.value) and "--api-key" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("host", EVIL_HOSTS)
def test_a_foreign_host_name_is_refused(host: str) -> None:
    with pytest.raises(Forbidden):
        check_source(Settings(), host, None)
    check_source(Settings(api_key="k"), host, None)


@pytest.mark.parametrize("host", MALFORMED_HOSTS)
def test_a_malformed_host_is_refused_always(host: str) -> None:
    for settings in (Settings(), Settings(allowed_hosts=("*.evil.example",))):
        with pytest.raises(Forbidden):
            check_source(settings, host, None)
    with pytest.raises(InvalidRequest):
        check_source(Settings(api_key="k"), host, None)


@pytest.mark.parametrize("host", OWN_HOSTS)
def test_loopback_names_are_let_in(host: str) -> None:
    check_source(Settings(), host, None)


def test_a_host_name_on_the_list_is_let_in() -> None:
    settings = Settings(allowed_hosts=("Box.lan",))
    check_source(settings, "box.lan:5001", None)
    with pytest.raises(Forbidden):
        check_source(settings, "other.lan", None)


@pytest.mark.parametrize(
    ("listed", "inside", "outside"),
    [
        ("*.lan", ["box.lan", "a.b.LAN:5001", "box.lan."], ["lan", "box.lan.evil", "evillan"]),
        ("192.168.0.0/16", ["192.168.3.4", "192.168.0.1:80"], ["192.169.0.1", "192.168.evil"]),
        ("fd00::/8", ["[fd12::1]:5001"], ["[fe80::1]", "fd12.example"]),
        ("10.0.0.5", ["10.0.0.5:1"], ["10.0.0.50", "10.0.0.5.example"]),
        ("[fd00::5]", ["[fd00:0::5]"], ["[fd00::6]"]),
        ("My_Box", ["my_box:80"], ["my-box"]),
        ("*", ["anything.example", "8.8.8.8"], ["any thing"]),
    ],
)
def test_forms_of_the_list(listed: str, inside: list[str], outside: list[str]) -> None:
    settings = Settings(allowed_hosts=(listed,))
    for host in inside:
        check_source(settings, host, None)
    for host in outside:
        with pytest.raises(Forbidden):
            check_source(settings, host, None)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("allowed_hosts", "http://box.lan"),
        ("allowed_hosts", "box.lan:5001"),
        ("allowed_hosts", "b*x.lan"),
        ("allowed_hosts", "10.0.0.1/8"),
        ("cors_origins", "app.example"),
        ("cors_origins", "https://app.example/page"),
        ("trusted_proxies", "proxy.lan"),
        ("trusted_proxies", "0"),
        ("trusted_proxies", "10.0.0.1/8"),
    ],
)
def test_a_wrong_entry_stops_the_start(name: str, value: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load({name: value}, {})
    assert name in str(caught.value) and value in str(caught.value)


def test_the_name_of_docker_can_be_taken_away() -> None:
    with pytest.raises(Forbidden):
        check_source(Settings(allowed_hosts=()), "host.docker.internal", None)


@pytest.mark.parametrize(
    ("listed", "inside", "outside"),
    [
        ("https://*.example.com", ["https://a.example.com", "https://b.a.example.com"],
         ["https://example.com", "http://a.example.com", "https://a.example.com.evil",
          "https://a.example.com:1", "https://evil/.example.com"]),
        ("http://box.lan:*", ["http://box.lan:3000"], ["http://box.lan", "http://box.lan.evil:80"]),
        ("app://*", ["app://obsidian.md"], ["apps://x", "http://app"]),
        ("http://[fd00::1]:8080", ["http://[fd00::1]:8080"], ["http://f:8080", "http://0:8080"]),
        ("https://a.example", ["https://A.example"], ["https://aXexample", "https://a.example/"]),
        ("null", ["null"], ["nullify", "http://null"]),
    ],
)  # fmt: skip
def test_forms_of_origins(listed: str, inside: list[str], outside: list[str]) -> None:
    settings = load({"cors_origins": listed}, {})
    client = create_app(settings, EchoEngine()).test_client()
    for origin in inside:
        check_source(settings, "localhost", origin)
        answer = client.get("/health", headers={"Origin": origin})
        assert answer.headers["Access-Control-Allow-Origin"] == origin
    for origin in outside:
        with pytest.raises(Forbidden):
            check_source(settings, "localhost", origin)
        answer = client.get("/health", headers={"Origin": origin})
        assert "Access-Control-Allow-Origin" not in answer.headers


def test_a_program_without_origin_learns_nothing_of_the_list() -> None:
    answer = browser(cors_origins=("https://a.example",)).get("/health")
    assert "Access-Control-Allow-Origin" not in answer.headers


def test_a_page_of_the_internet_may_ask_for_this_machine_if_it_is_listed() -> None:
    asked = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Private-Network": "true",
    }
    name = "Access-Control-Allow-Private-Network"
    for origin, output in (("https://a.example", "true"), ("https://b.example", None)):
        client = browser(cors_origins=("https://a.example",), api_key="k")
        answer = client.options("/v1/models", headers={**asked, "Origin": origin})
        assert answer.headers.get(name) == output


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /v1/models HTTP/1.0\r\n\r\n", 200),
        (b"GET /v1/models HTTP/1.1\r\n\r\n", 400),
        (b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n", 400),
        (b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", 400),
        (b"GET /v1/models HTTP/1.1\r\nHost: evil.example\r\n\r\n", 403),
        (b"GET http://localhost/v1/models HTTP/1.1\r\nHost: evil.example\r\n\r\n", 400),
        (b"GET http://evil.example/v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET http://evil.example/v1/models HTTP/1.1\r\nHost: evil.example\r\n\r\n", 403),
        (b"GET http://evil.example/v1/models HTTP/1.0\r\n\r\n", 403),
        (b"GET http://LocalHost/v1/models HTTP/1.0\r\n\r\n", 200),
        (b"GET http://localhost/v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n", 200),
        (b"GET //evil.example/v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
        (b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n"
         b"X-Forwarded-Host: localhost\r\nOrigin: https://evil.example\r\n\r\n", 403),
        (b"GET /v1/models HTTP/1.1\r\nHost: evil.example\r\nX-Forwarded-Host: localhost\r\n\r\n", 403),
        (b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\n"
         b"Origin: https://evil.example\r\n\r\n", 403),
    ],
)  # fmt: skip
def test_heads_on_the_wire(serve: Serve, head: bytes, status: int) -> None:
    with Wire(serve(EchoEngine()).port) as wire:
        wire.send(head)
        answer = wire.answer(method="GET")
    assert answer.status == status
    if status != 200:
        assert_envelope(answer.json(), status=status)


@pytest.mark.parametrize("origin", EVIL_ORIGINS)
def test_a_foreign_page_is_refused(origin: str) -> None:
    with pytest.raises(Forbidden):
        check_source(Settings(), "localhost", origin)


@pytest.mark.parametrize("origin", OWN_ORIGINS)
def test_a_page_of_this_machine_is_let_in(origin: str) -> None:
    check_source(Settings(), "localhost", origin)


def browser(**options: Any) -> FlaskClient:
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
