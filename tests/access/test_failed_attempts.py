"""Wrong keys from one address, and who has to suffer for them."""

from __future__ import annotations

import hmac
import time
from pathlib import Path
from typing import Any

import pytest

from extensions.openai.access import password
from extensions.openai.access.failed_attempts import AttemptLimiter
from extensions.openai.access.key_files import KeyFiles
from extensions.openai.access.keys import Keys
from extensions.openai.access.signed_keys import Grant
from extensions.openai.engines.echo import EchoEngine
from extensions.openai.errors import TooManyWrongKeys, Unauthorized
from extensions.openai.settings import Settings
from extensions.openai.web.app import create_app
from tests.conftest import Serve
from tests.support.reference import assert_envelope
from tests.support.wire import Answer, ask

FAR, OTHER = "203.0.113.7", "203.0.113.8"


def refused(
    failed_attempts: AttemptLimiter, address: str, given: bytes = b"x", most: int = 3
) -> bool:
    try:
        failed_attempts.check(address, given, most)
    except TooManyWrongKeys:
        return True
    return False


def test_an_address_is_refused_after_so_many_until_its_minute_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    failed_attempts = AttemptLimiter()
    for _ in range(3):
        assert not refused(failed_attempts, FAR)
        failed_attempts.add_wrong(FAR)
        now += 10
    with pytest.raises(TooManyWrongKeys) as caught:
        failed_attempts.check(FAR, b"x", 3)
    assert caught.value.headers == {"Retry-After": "30", "retry-after-ms": "30000"}
    assert not refused(failed_attempts, OTHER) and not refused(failed_attempts, FAR, most=0)
    now = 1060.0
    assert not refused(failed_attempts, FAR)
    failed_attempts.add_wrong(FAR)  # a new minute, with one
    failed_attempts.add_wrong(FAR)
    assert not refused(failed_attempts, FAR)


@pytest.mark.parametrize(
    ("one", "other", "together"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("::ffff:203.0.113.7", FAR, True),
        (FAR, OTHER, False),
    ],
)
def test_what_is_one_address(one: str, other: str, together: bool) -> None:
    failed_attempts = AttemptLimiter()
    for _ in range(3):
        failed_attempts.add_wrong(one)
    assert refused(failed_attempts, other) is together


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "127.3.2.1", "::1", "::ffff:127.0.0.1", "", "unix:"]
)
def test_this_machine_is_not_counted(address: str) -> None:
    failed_attempts = AttemptLimiter()
    for _ in range(100):
        failed_attempts.add_wrong(address)
        assert not refused(failed_attempts, address)


def test_memory_is_bounded() -> None:
    failed_attempts = AttemptLimiter(max_addresses=50, max_valid_keys=5)
    for at in range(1000):
        failed_attempts.add_wrong(f"10.0.{at // 256}.{at % 256}")
        failed_attempts.add_valid(FAR, b"%d" % at)
        addresses, valid_keys = failed_attempts.remembered
        assert addresses <= 50 and valid_keys <= 5
    assert failed_attempts.remembered == (50, 5)


KEY, WRONG = "sk-the-right-one", "sk-a-wrong-one"


def identify(keys: Keys, key: str, address: str = FAR) -> str:
    return keys.identify({"authorization": f"Bearer {key}"}, address).name


def test_behind_one_address_those_who_were_right_before_go_on() -> None:
    keys = Keys(Settings(api_key=KEY, admin_key="another", wrong_keys=3))
    assert identify(keys, KEY) == "api-key"
    for at in range(3):
        with pytest.raises(Unauthorized):
            identify(keys, f"{WRONG}{at}")
    for _ in range(3):
        assert identify(keys, KEY) == "api-key"
        for unheard in (
            "another",
            WRONG,
        ):  # a right key that has not been sent before is no exception
            with pytest.raises(TooManyWrongKeys):
                identify(keys, unheard)
    assert identify(keys, "another", OTHER) == "admin"
    assert identify(keys, "another") == "admin"  # it is known now


def test_only_guesses_count(tmp_path: Path) -> None:
    """Neither who sends none, nor who has one that was revoked or has expired, guesses."""
    files = KeyFiles(tmp_path)
    revoked = files.create(Grant("", "alice", frozenset({"read"})))
    expired = files.create(Grant("", "bob", frozenset({"read"}), expires=1))
    files.revoke("alice")
    keys = Keys(Settings(data_folder=str(tmp_path), wrong_keys=2))
    for _ in range(5):
        for headers in ({}, {"api-key": revoked}, {"api-key": expired}):
            with pytest.raises(Unauthorized):
                keys.identify(headers, FAR)


def test_a_reload_changes_the_limit_and_keeps_the_counts() -> None:
    keys = Keys(Settings(api_key=KEY, wrong_keys=1))
    with pytest.raises(Unauthorized):
        identify(keys, WRONG)
    with pytest.raises(TooManyWrongKeys):
        identify(keys, WRONG)
    keys.configure(Settings(api_key=KEY, wrong_keys=0))
    with pytest.raises(Unauthorized):
        identify(keys, WRONG)
    keys.configure(Settings(api_key=KEY, wrong_keys=1))
    with pytest.raises(TooManyWrongKeys):
        identify(keys, WRONG)


def test_refusals_cost_the_same_for_right_and_wrong_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit no key is compared with any: what is right cannot be told from what is not."""
    keys = Keys(Settings(api_key=KEY, password="a long password", wrong_keys=1))
    with pytest.raises(Unauthorized):
        identify(keys, WRONG)
    compared: list[str] = []
    monkeypatch.setattr(hmac, "compare_digest", lambda *_: compared.append("digest"))
    monkeypatch.setattr(password, "check_password_hash", lambda *_: compared.append("password"))
    output = set()
    for key in (KEY, "a long password", WRONG, "x" * 4000):
        with pytest.raises(TooManyWrongKeys) as caught:
            identify(keys, key)
        output.add(caught.value.message)
    assert not compared and len(output) == 1
    keys.configure(Settings(api_key=KEY, password="a long password", wrong_keys=0))
    with pytest.raises(Unauthorized):
        identify(keys, WRONG)
    assert set(compared) == {"digest", "password"}, "else"


def through_proxy(port: int, client: str, key: str) -> Answer:
    headers = {"Authorization": f"Bearer {key}", "X_Forwarded_For": client}
    return ask(port, "GET", "/v1/models", **headers)


def test_on_the_wire_behind_a_trusted_proxy(serve: Serve) -> None:
    options: dict[str, Any] = {"api_key": KEY, "wrong_keys": 3, "trusted_proxies": ["127.0.0.1"]}
    port = serve(EchoEngine(), **options).port
    assert [through_proxy(port, FAR, WRONG).status for _ in range(5)] == [401] * 3 + [429] * 2
    # What the client itself tells is not believed.
    answer = through_proxy(port, f"9.9.9.9, {FAR}", WRONG)
    error = assert_envelope(answer.json())
    assert answer.status == 429 and error["code"] == "too_many_wrong_keys"
    assert 1 <= int(answer.headers["retry-after"]) <= 60
    assert through_proxy(port, OTHER, WRONG).status == 401
    assert through_proxy(port, OTHER, KEY).status == 200
    assert through_proxy(port, FAR, KEY).status == 200


def test_without_a_proxy_this_machine_may_be_wrong_as_often_as_it_likes(serve: Serve) -> None:
    port = serve(EchoEngine(), api_key=KEY, wrong_keys=1).port
    for _ in range(5):
        assert through_proxy(port, FAR, WRONG).status == 401
    assert through_proxy(port, FAR, KEY).status == 200


def test_a_server_without_a_key_takes_any() -> None:
    client = create_app(Settings(wrong_keys=1), EchoEngine()).test_client()
    for _ in range(5):
        answer = client.get(
            "/v1/models",
            headers={"Authorization": f"Bearer {WRONG}"},
            environ_base={"REMOTE_ADDR": FAR},
        )
        assert answer.status_code == 200
