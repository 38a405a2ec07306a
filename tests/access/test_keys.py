"""The key that a request must bring."""

from __future__ import annotations

import hmac
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from extensions.openai.access.key_files import KeyFiles
from extensions.openai.access.keys import Keys
from extensions.openai.access.signed_keys import Grant, sign
from extensions.openai.engines.echo import EchoEngine
from extensions.openai.errors import Unauthorized
from extensions.openai.settings import Settings
from extensions.openai.web.app import create_app
from tests.support.reference import assert_envelope

KEY, ADMIN = "sk-Grüße-1234567890", "sk-admin-0987654321"
PASSWORD, SECRET = "correct horse battery", "the secret of the keys"
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
    Keys(settings).identify(ABSENT | {header: form.format(as_header(key))})


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
        Keys(Settings(api_key=KEY)).identify(ABSENT | headers)
    assert (caught.value.status, caught.value.code) == (401, "invalid_api_key")
    assert KEY not in str(caught.value)


def test_without_a_key_of_ours_any_key_will_do() -> None:
    Keys(Settings()).identify(ABSENT)
    Keys(Settings()).identify(ABSENT | {"authorization": "Bearer anything"})


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": f"Bearer {as_header(KEY)}", "x-api-key": "another"},
        {"x-api-key": as_header(KEY), "api-key": as_header(ADMIN)},
        {"x-api-key": as_header(KEY), "authorization": "Bearer another"},
    ],
)
def test_two_keys_are_one_too_many(headers: dict[str, str]) -> None:
    with pytest.raises(Unauthorized, match="different"):
        Keys(Settings(api_key=KEY, admin_key=ADMIN)).identify(ABSENT | headers)


def test_the_same_key_twice_and_another_scheme_are_fine() -> None:
    keys = Keys(Settings(api_key=KEY))
    text = as_header(KEY)
    keys.identify({"authorization": f"Bearer {text}", "x-api-key": text, "api-key": text})
    keys.identify({"authorization": "Basic YTpi", "x-api-key": text, "api-key": ""})


@pytest.mark.parametrize(
    "given", ["x" * 200_000, "\x00\x7f", "\xff\xfe", "Ünï", "a b c", ".", "sk-.-"]
)
@pytest.mark.parametrize("password", [None, "correct horse"])
def test_odd_keys_are_wrong_keys(given: str, password: str | None, tmp_path: Path) -> None:
    settings = Settings(
        api_key=KEY, password=password, keys_secret="0123456789abcdef", data_folder=str(tmp_path)
    )
    with pytest.raises(Unauthorized, match="not one of this server"):
        Keys(settings).identify(ABSENT | {"x-api-key": given})


def test_equal_failures_do_equal_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same comparisons with the same secrets, whatever a wrong key looks like."""
    secret = b"0123456789abcdef"
    good = sign(Grant("id", "alice", frozenset({"read"})), secret)
    keys = Keys(Settings(api_key=KEY, admin_key=ADMIN, keys_secret=secret.decode()))
    wrong = [
        "x",
        ".",
        "sk-",
        KEY[:-1],
        KEY + "x",
        ADMIN[:-1],
        good[:-1],
        good[:-1] + "!",
        "z" * 5000,
    ]
    compare, done = hmac.compare_digest, list[int]()

    def counted(one: bytes, other: bytes) -> bool:
        done.append(1)
        return compare(one, other)

    monkeypatch.setattr(hmac, "compare_digest", counted)
    work = set()
    for key in wrong:
        done.clear()
        with pytest.raises(Unauthorized, match="not one of this server"):
            keys.identify(ABSENT | {"x-api-key": as_header(key)})
        work.add(len(done))
    assert work == {3}, "the admin key, the shared key, the signature"


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
    settings = Settings(api_key=KEY, admin_key=ADMIN, password=PASSWORD, keys_secret=SECRET)
    for text in (repr(settings), str(settings), settings.model_dump_json()):
        assert not [each for each in (KEY, ADMIN, PASSWORD, SECRET) if each in text]


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
def test_who_is_an_admin(keys: dict[str, Any], given: str | None, name: str, admin: bool) -> None:
    caller = Keys(Settings(**keys)).identify(ABSENT | {"x-api-key": given and as_header(given)})
    assert (caller.name, "admin" in caller.scopes) == (name, admin)
    assert {"read", "write"} <= caller.scopes


def test_a_rotated_key_owns_what_the_old_one_did(tmp_path: Path) -> None:
    settings = Settings(data_folder=str(tmp_path))
    files = KeyFiles.of(settings)

    def owner(key: str) -> str:
        return Keys(settings).identify(ABSENT | {"authorization": f"Bearer {key}"}).owner

    grant = Grant("", "alice", frozenset({"read"}))
    first = files.create(grant)
    before = owner(first)
    second, _ = files.rotate("alice", lambda old: replace(old.grant, id=""), grace=60)
    third, _ = files.rotate("alice", lambda old: replace(old.grant, id=""), grace=60)
    assert before == owner(first) == owner(second) == owner(third)
    files.revoke("alice")
    assert owner(files.create(grant)) != before


def test_owners_of_keys_without_a_name() -> None:
    keys = Keys(Settings(api_key=KEY, admin_key=ADMIN, password=PASSWORD))
    owners = {
        keys.identify(ABSENT | {"authorization": f"Bearer {as_header(key)}"}).owner
        for key in (KEY, ADMIN, PASSWORD)
    }
    assert owners == {"api-key", "admin", "password"}
    assert Keys(Settings()).identify(ABSENT).owner == "local"


@pytest.mark.parametrize(
    ("header", "output"),
    [
        (None, "You didn't provide an API key."),
        ("the-key", "The Authorization header has no Bearer key."),
        ("Basic dTpw", "The Authorization header has no Bearer key."),
        ("Bearer ", "The Authorization header has no Bearer key."),
    ],
)
def test_a_client_learns_how_to_send_a_key(header: str | None, output: str) -> None:
    client = create_app(Settings(api_key="the-key"), EchoEngine()).test_client()
    headers = {} if header is None else {"Authorization": header}
    error = assert_envelope(client.get("/v1/models", headers=headers).json, status=401)
    assert error["message"] == f"{output} Send it as: Authorization: Bearer YOUR_KEY"


def test_a_key_s_limits_go_before_those_of_the_settings(tmp_path: Path) -> None:
    given = {"rpm": 0, "tpm": 5}
    key = KeyFiles(tmp_path).create(
        Grant("", "alice", frozenset({"read"}), limits=given, user_limits={"rpm": 3})
    )
    folder = str(tmp_path)

    def limits(**settings: Any) -> tuple[dict[str, int], dict[str, int]]:
        caller = Keys(Settings(data_folder=folder, **settings)).identify({"api-key": key})
        return (
            {name: most for name, most in caller.limits.items() if most or name in given},
            dict(caller.user_limits),
        )

    assert limits() == (given, {"rpm": 3})
    assert limits(rpm=60, tpm=7, concurrent=2, user_limits={"rpm": 9, "tpm": 8}) == (
        given | {"concurrent": 2},
        {"rpm": 3, "tpm": 8},
    )


@pytest.mark.parametrize(("setting", "rpm"), [(None, 60), (0, 0), (7, 7)])
def test_a_named_key_that_says_nothing(tmp_path: Path, setting: int | None, rpm: int) -> None:
    key = KeyFiles(tmp_path).create(Grant("", "alice", frozenset({"read"})))
    settings = Settings(data_folder=str(tmp_path), rpm=setting)
    caller = Keys(settings).identify({"api-key": key})
    assert caller.limits["rpm"] == rpm and caller.is_limited is bool(rpm)
