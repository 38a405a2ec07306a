"""Every endpoint refuses keys without its scope: each address of the application is tried."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from extensions.openai.access.caller import Scope
from extensions.openai.access.key_files import KeyFiles
from extensions.openai.access.signed_keys import Grant
from extensions.openai.engines.echo import EchoEngine
from extensions.openai.settings import Settings
from extensions.openai.web.app import ROUTES, create_app
from extensions.openai.web.routing.routes import PathPrefixes
from tests.support.reference import assert_error_of

SCOPES: tuple[Scope, ...] = ("read", "write", "admin")
SETS = [frozenset(some) for size in (1, 2, 3) for some in combinations(SCOPES, size)]

OPEN = {
    *("/", "/console/<path:file>", "/favicon.ico", "/health"),
    *("/docs", "/redoc", "/openapi.json"),
    *(f"{prefix}/images/files/<file_id>" for prefix in PathPrefixes.API.value),
}
"""What needs no key, once and for all to see: these pages tell nothing that is secret. A picture's address is
secret itself."""
ASSETS = "/<path:file>"


@pytest.fixture(scope="module")
def locked(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[FlaskClient, dict[Any, str]]]:
    folder = tmp_path_factory.mktemp("keys")
    settings = Settings(
        data_folder=str(folder), rpm=0, message_endpoint=True, ollama_api=True, kobold_api=True
    )
    app = create_app(settings, EchoEngine())
    files = KeyFiles(folder)
    keys = {some: files.create(Grant("", "-".join(sorted(some)), some)) for some in SETS}
    yield app.test_client(), keys


def declared() -> dict[tuple[str, str], Scope | None]:
    return {
        (route.method, address + route.path): route.scope
        for route in ROUTES
        for address in route.addresses.value
    }


def addresses(client: FlaskClient) -> list[tuple[str, str]]:
    """Every method and rule that the application knows, however it got there."""
    return sorted(
        (method, str(rule.rule))
        for rule in client.application.url_map.iter_rules()
        for method in rule.methods or ()
        if method not in ("HEAD", "OPTIONS")
    )


def ask(client: FlaskClient, method: str, rule: str, key: str | None) -> Any:
    path = re.sub(r"<(?:\w+:)?\w+>", "echo", rule)
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    answer = client.open(
        path, method=method, headers=headers, data=b"{", content_type="application/json"
    )
    answer.close()
    return answer


def test_every_address_is_declared_or_known_to_be_open(
    locked: tuple[FlaskClient, dict[Any, str]],
) -> None:
    client, _ = locked
    known = declared()
    for method, rule in addresses(client):
        if (method, rule) not in known:
            assert method == "GET" and (
                rule in OPEN or rule.removesuffix(ASSETS).endswith("/assets")
            )
    assert {path for (_, path), scope in known.items() if scope is None} <= OPEN
    assert {scope for scope in known.values() if scope} == set(SCOPES)


def test_every_address_refuses_whoever_has_no_key(
    locked: tuple[FlaskClient, dict[Any, str]],
) -> None:
    client, keys = locked
    known, wrong = declared(), keys[SETS[-1]]
    for method, rule in addresses(client):
        for key in (None, "wrong", "", wrong[:-1], wrong.replace("sk-", "sk-x", 1)):
            answer = ask(client, method, rule, key)
            if known.get((method, rule)) is None:
                assert answer.status_code not in (401, 403), rule
                continue
            assert answer.status_code == 401, f"{method} {rule} with {key!r}"
            error = assert_error_of(rule, answer.json, status=401)
            assert error.get("code", "invalid_api_key") == "invalid_api_key"
            assert answer.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("some", SETS, ids=lambda some: "-".join(sorted(some)))
def test_every_address_wants_the_scope_that_it_declares(
    locked: tuple[FlaskClient, dict[Any, str]], some: frozenset[Scope]
) -> None:
    client, keys = locked
    allowed = frozenset(SCOPES) if "admin" in some else some  # who rules may also use
    for (method, rule), scope in declared().items():
        answer = ask(client, method, rule, keys[some])
        if scope is None or scope in allowed:
            assert answer.status_code not in (401, 403), f"{method} {rule}"
            continue
        assert answer.status_code == 403, f"{method} {rule}"
        error = assert_error_of(rule, answer.json, status=403)
        assert error.get("code", "insufficient_permissions") == "insufficient_permissions"
        assert f"'{scope}'" in error["message"]


def test_a_scope_is_asked_for_before_anything_else(
    locked: tuple[FlaskClient, dict[Any, str]],
) -> None:
    """Neither the body's faults nor what exists are told to those who may not ask."""
    client, keys = locked
    reader = keys[frozenset({"read"})]
    assert ask(client, "POST", "/v1/chat/completions", reader).status_code == 403
    assert ask(client, "GET", "/v1/models/nothing", "wrong").status_code == 401


def test_preflights_need_no_key(locked: tuple[FlaskClient, dict[Any, str]], tmp_path: Path) -> None:
    client, _ = locked
    for method, rule in addresses(client):
        answer = client.options(
            re.sub(r"<(?:\w+:)?\w+>", "echo", rule),
            headers={
                "Origin": "http://localhost:3000",
                "Access-Control-Request-Method": method,
                "Access-Control-Request-Headers": "authorization",
            },
        )
        assert answer.status_code == 200, rule
        assert answer.headers["Access-Control-Allow-Origin"] == "http://localhost:3000"
