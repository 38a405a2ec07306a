"""The key that a request must bring."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient

from extensions.openai.access.keys import identify
from extensions.openai.app import create_app
from extensions.openai.engines.echo import EchoEngine
from extensions.openai.errors import Unauthorized
from extensions.openai.settings import Settings
from tests.support.reference import assert_envelope

KEY, ADMIN = "sk-Grüße-1234567890", "sk-admin-0987654321"
ABSENT: dict[str, str | None] = {"authorization": None, "x-api-key": None, "api-key": None}


def as_header(key: str) -> str:
    """How the bytes of a key arrive in a WSGI environment."""
    return key.encode().decode("latin-1")


@pytest.mark.parametrize("key", [KEY, ADMIN])
@pytest.mark.parametrize(
    ("header", "form"),
    [
        ("authorization", "Bearer {}"),
        ("authorization", "bearer {}"),
        ("authorization", "Bearer   {} "),
        ("x-api-key", "{}"),
        ("api-key", "{}"),
    ],
)
def test_the_right_key_opens(key: str, header: str, form: str) -> None:
    settings = Settings(api_key=KEY, admin_key=ADMIN)
    identify(settings, ABSENT | {header: form.format(as_header(key))})


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": ""},
        {"authorization": "Bearer"},
        {"authorization": "Bearer "},
        {"authorization": f"Basic {KEY}"},
        {"authorization": "Bearer wrong"},
        {"authorization": f"Bearer {as_header(KEY)}x"},
        {"authorization": f"Bearer {as_header(KEY)[:-1]}"},
        {"authorization": f"Bearer {as_header(KEY).upper()}"},
        {"authorization": "Bearer \u20ac"},
        {"x-api-key": "wrong"},
        {"api-key": ""},
    ],
)
def test_anything_else_is_refused(headers: dict[str, str]) -> None:
    with pytest.raises(Unauthorized) as caught:
        identify(Settings(api_key=KEY), ABSENT | headers)
    assert (caught.value.status, caught.value.code) == (401, "invalid_api_key")
    assert KEY not in str(caught.value)


def test_without_a_key_of_ours_any_key_will_do() -> None:
    identify(Settings(), ABSENT)
    identify(Settings(), ABSENT | {"authorization": "Bearer anything"})


@pytest.fixture
def locked() -> FlaskClient:
    return create_app(Settings(api_key=KEY), EchoEngine()).test_client()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/models"),
        ("GET", "/models"),
        ("GET", "/v1/models/echo"),
        ("POST", "/v1/completions"),
        ("POST", "/v1/chat/completions"),
        ("POST", "/v1/engines/echo/completions"),
        ("POST", "/openai/deployments/echo/chat/completions"),
    ],
)
def test_pages_that_answer_for_the_model_need_the_key(
    locked: FlaskClient, method: str, path: str
) -> None:
    answer = locked.open(path, method=method, data=b"not even JSON")
    assert answer.status_code == 401
    assert assert_envelope(answer.json, status=401)["code"] == "invalid_api_key"
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert KEY not in answer.get_data(as_text=True)


@pytest.mark.parametrize("path", ["/health", "/", "/docs", "/redoc", "/openapi.json"])
def test_other_pages_are_open_and_hold_no_key(locked: FlaskClient, path: str) -> None:
    answer = locked.get(path)
    assert answer.status_code == 200
    assert KEY not in answer.get_data(as_text=True)


def test_a_key_never_shows() -> None:
    settings = Settings(api_key=KEY, admin_key=ADMIN)
    for text in (repr(settings), str(settings), settings.model_dump_json()):
        assert KEY not in text and ADMIN not in text


@pytest.mark.parametrize(
    ("keys", "given", "name", "admin"),
    [
        ({}, None, "local", True),
        ({"api_key": KEY}, KEY, "api-key", True),
        ({"api_key": KEY, "admin_key": ADMIN}, KEY, "api-key", False),
        ({"api_key": KEY, "admin_key": ADMIN}, ADMIN, "admin", True),
        ({"admin_key": ADMIN}, None, "local", False),
        ({"admin_key": ADMIN}, "sk-another", "local", False),
        ({"admin_key": ADMIN}, ADMIN, "admin", True),
    ],
)
def test_who_is_an_admin(keys: dict[str, str], given: str | None, name: str, admin: bool) -> None:
    caller = identify(Settings(**keys), ABSENT | {"x-api-key": given and as_header(given)})
    assert (caller.name, "admin" in caller.scopes) == (name, admin)
    assert {"read", "write"} <= caller.scopes
