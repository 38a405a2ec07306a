"""Behind proxies: who is believed, and what comes of it."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask, jsonify, request
from hypothesis import given
from hypothesis import settings as settings_of_hypothesis
from hypothesis import strategies as st

from extensions.openai.access.proxies import Trust, TrustedProxies
from extensions.openai.configuration.sources import load
from extensions.openai.engines.echo import EchoEngine
from extensions.openai.settings import Settings
from extensions.openai.web.app import create_app
from tests.support.reference import assert_envelope


@pytest.mark.parametrize(
    ("trusted", "peer", "reported", "hops", "client"),
    [
        ([], "127.0.0.1", ["1.1.1.1"], 0, "127.0.0.1"),
        (["127.0.0.1"], "10.0.0.9", ["1.1.1.1"], 0, "10.0.0.9"),
        (["127.0.0.1"], "127.0.0.1", ["1.1.1.1"], 1, "1.1.1.1"),
        (["127.0.0.1"], "127.0.0.1", ["6.6.6.6", "1.1.1.1"], 1, "1.1.1.1"),
        (["127.0.0.1"], "127.0.0.1", [], 1, "127.0.0.1"),
        (
            ["127.0.0.1", "10.0.0.0/8"],
            "127.0.0.1",
            ["6.6.6.6", "1.1.1.1", "10.2.3.4"],
            2,
            "1.1.1.1",
        ),
        (["10.0.0.0/8"], "10.0.0.1", ["10.0.0.2", "10.0.0.3"], 3, "10.0.0.2"),
        (["1"], "172.17.0.1", ["6.6.6.6", "1.1.1.1"], 1, "1.1.1.1"),
        (["2"], "172.17.0.1", ["6.6.6.6", "1.1.1.1", "10.2.3.4"], 2, "1.1.1.1"),
        (["127.0.0.1"], "127.0.0.1", ["6.6.6.6", "unknown"], 1, "127.0.0.1"),
        (["127.0.0.1"], "127.0.0.1", ["1.1.1.1:4711"], 1, "1.1.1.1"),
        (["::1"], "::1", ["[2001:db8::1]:4711"], 1, "2001:db8::1"),
        (["127.0.0.1"], "::ffff:127.0.0.1", ["2001:db8::1"], 1, "2001:db8::1"),
        (["127.0.0.1"], "127.0.0.1", ["<script>", "1.1.1.1\n"], 1, "127.0.0.1"),
        (["127.0.0.1"], "", ["1.1.1.1"], 0, ""),
    ],
)
def test_the_client_is_the_last_that_nobody_trusts(
    trusted: list[str], peer: str, reported: list[str], hops: int, client: str
) -> None:
    assert Trust.of(trusted).hops(peer, reported) == (hops, client)


@pytest.fixture
def app() -> Flask:
    app = Flask(__name__)

    @app.get("/")
    def seen() -> Any:
        forwarded = [name for name in dict(request.headers) if name.startswith("X-Forwarded")]
        return jsonify(url=request.url_root, address=request.remote_addr, forwarded=forwarded)

    settings = Settings(trusted_proxies=("127.0.0.1",))
    app.wsgi_app = TrustedProxies(app.wsgi_app, settings)  # type: ignore[method-assign]
    return app


REPORTED = {
    "X-Forwarded-For": "1.1.1.1",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "llm.example:8443",
    "X-Forwarded-Prefix": "/llm/",
}


def test_what_a_trusted_proxy_says(app: Flask) -> None:
    seen = app.test_client().get("/", headers=REPORTED).json
    assert seen == {"url": "https://llm.example:8443/llm/", "address": "1.1.1.1", "forwarded": []}


def test_what_anybody_else_says(app: Flask) -> None:
    seen = (
        app.test_client().get("/", headers=REPORTED, environ_base={"REMOTE_ADDR": "10.0.0.1"}).json
    )
    assert seen == {"url": "http://localhost/", "address": "10.0.0.1", "forwarded": []}


@pytest.mark.parametrize(
    "reported",
    [
        {"X-Forwarded-Proto": "javascript"},
        {"X-Forwarded-Host": "a b"},
        {"X-Forwarded-Host": "evil.example/path"},
        {"X-Forwarded-Prefix": "//evil.example"},
        {"X-Forwarded-Prefix": "/a\"onclick=b"},
        {"X-Forwarded-Prefix": "llm"},
    ],
)  # fmt: skip
def test_nonsense_changes_nothing(app: Flask, reported: dict[str, str]) -> None:
    assert app.test_client().get("/", headers=reported).json["url"] == "http://localhost/"


def test_the_last_of_a_list_is_the_nearest_proxys(app: Flask) -> None:
    reported = {"X-Forwarded-Proto": "https, http", "X-Forwarded-Host": "evil.example, b.example"}
    assert app.test_client().get("/", headers=reported).json["url"] == "http://b.example/"


def test_pages_tell_the_address_that_the_client_uses() -> None:
    settings = load({"trusted_proxies": "127.0.0.1", "api_prefix": "/api", "api_key": "k"}, {})
    client = create_app(settings, EchoEngine()).test_client()
    page = client.get("/api/", headers=REPORTED).get_data(as_text=True)
    assert "https://llm.example:8443/llm/api/v1" in page
    docs = client.get("/api/docs", headers=REPORTED).get_data(as_text=True)
    assert "/llm/api/openapi.json" in docs


def test_the_host_that_a_proxy_tells_is_checked() -> None:
    def status(**options: Any) -> int:
        client = create_app(Settings(**options), EchoEngine()).test_client()
        return client.get("/health", headers=REPORTED).status_code

    assert status(trusted_proxies=("127.0.0.1",)) == 403
    assert status(trusted_proxies=("127.0.0.1",), allowed_hosts=("llm.example",)) == 200
    assert status() == 200, "not believed, so addressed to localhost"


def test_a_page_of_a_trusted_machine_cannot_tell_another_host() -> None:
    """DNS rebinding: its browser sends the page's own host, and X-Forwarded-Host as the page likes."""
    settings = Settings(trusted_proxies=("127.0.0.1",), allowed_hosts=("llm.example",))
    client = create_app(settings, EchoEngine()).test_client()
    for reported in ("localhost", "llm.example"):
        sent = {"Host": "evil.example:5001", "X-Forwarded-Host": reported}
        assert client.get("/v1/models", headers=sent).status_code == 403
    sent = {"Host": "localhost:5001", "X-Forwarded-Host": "llm.example"}
    assert client.get("/v1/models", headers=sent).status_code == 200


def test_trust_can_be_given_and_taken_while_the_server_runs() -> None:
    app = create_app(Settings(), EchoEngine())
    services = app.extensions["openai"]
    addresses: list[str] = []
    services.observers.append(lambda record: addresses.append(record.address))
    for trusted in ((), ("127.0.0.1",), ()):
        services.reload(Settings(trusted_proxies=trusted))
        app.test_client().get("/health", headers={"X-Forwarded-For": "1.1.1.1"}).close()
    assert addresses == ["127.0.0.1", "1.1.1.1", "127.0.0.1"]


ODD = st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=40)
SENT_NAMES = ("For", "Proto", "Host", "Prefix")


@given(
    st.fixed_dictionaries({}, optional={f"X-Forwarded-{name}": ODD for name in SENT_NAMES}),
    ODD,
    ODD,
)
@settings_of_hypothesis(max_examples=300, deadline=None)
def test_no_header_is_a_fault(reported: dict[str, str], host: str, origin: str) -> None:
    answer = FUZZED.get("/v1/models", headers={**reported, "Host": host, "Origin": origin})
    assert answer.status_code in (200, 400, 403)
    if answer.status_code != 200:
        assert_envelope(answer.json, status=answer.status_code)
    answer.close()


FUZZED = create_app(Settings(trusted_proxies=("127.0.0.1",)), EchoEngine()).test_client()


@pytest.mark.parametrize("count", [1, "1"])
def test_a_count_may_be_a_number(count: object) -> None:
    assert load({"trusted_proxies": count}, {}).trusted_proxies == ("1",)
