"""A password as the key."""

from __future__ import annotations

import statistics
import threading
import time

import pytest
from werkzeug.security import check_password_hash

from extensions.openai.access import password as module
from extensions.openai.access.keys import Keys
from extensions.openai.access.password import Password, hashed
from extensions.openai.configuration.sources import load
from extensions.openai.errors import RateLimited, Unauthorized
from extensions.openai.settings import Settings, SettingsError

WORD = "correct horse, Grüße"


def sent(key: str) -> dict[str, str | None]:
    return {
        "authorization": f"Bearer {key.encode().decode('latin-1')}",
        "x-api-key": None,
        "api-key": None,
    }


@pytest.mark.parametrize("given", [WORD, hashed(WORD)], ids=["itself", "its hash"])
def test_it_opens(given: str) -> None:
    keys = Keys(Settings(password=given))
    for _ in range(3):
        caller = keys.identify(sent(WORD))
        assert caller.name == "password" and caller.scopes == {"read", "write", "admin"}
    with pytest.raises(Unauthorized):
        keys.identify(sent(given if given != WORD else WORD + "!"))
    assert Keys(Settings(password=given, admin_key="a")).identify(sent(WORD)).scopes == {
        *("read", "write")
    }


def test_nothing_of_it_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    held = Password(WORD)
    assert held.matches(WORD.encode())
    assert WORD not in repr(vars(held)) and WORD.encode() not in vars(held).values()


def test_who_was_right_is_remembered_and_who_was_wrong_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slow: list[str] = []

    def check(hash: str, given: str) -> bool:
        slow.append(given)
        return check_password_hash(hash, given)

    monkeypatch.setattr(module, "check_password_hash", check)
    held = Password(WORD)
    for given in (WORD, WORD, "wrong", "wrong", WORD, ""):
        assert held.matches(given.encode()) is (given == WORD)
    assert slow == [WORD, "wrong", "wrong", ""]


def test_many_who_are_right_at_once_are_checked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    slow: list[str] = []

    def check(hash: str, given: str) -> bool:
        slow.append(given)
        return check_password_hash(hash, given)

    monkeypatch.setattr(module, "check_password_hash", check)
    held, right = Password(WORD), []
    threads = [
        threading.Thread(target=lambda: right.append(held.matches(WORD.encode())))
        for _ in range(40)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert right == [True] * 40 and slow == [WORD]


def test_a_flood_of_guesses_holds_no_more_than_so_many_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    entered, go = threading.Event(), threading.Event()

    def check(hash: str, given: str) -> bool:
        entered.set()
        go.wait(30)
        return given == WORD

    monkeypatch.setattr(module, "check_password_hash", check)
    held, refused = Password(WORD, max_waiting=3), list[RateLimited]()

    def guess() -> None:
        try:
            held.matches(b"wrong")
        except RateLimited as error:
            refused.append(error)

    threads = [threading.Thread(target=guess) for _ in range(10)]
    for thread in threads:
        thread.start()
    assert entered.wait(30)
    deadline = time.monotonic() + 30
    while len(refused) < 7 and time.monotonic() < deadline:
        time.sleep(0.01)
    go.set()
    for thread in threads:
        thread.join()
    assert [error.headers["Retry-After"] for error in refused] == ["1"] * 7
    assert held.matches(WORD.encode())


def test_a_reload_changes_it_and_forgets_the_old_one() -> None:
    keys = Keys(Settings(password="the old one"))
    keys.identify(sent("the old one"))
    keys.configure(Settings(password="the new one"))
    keys.identify(sent("the new one"))
    with pytest.raises(Unauthorized):
        keys.identify(sent("the old one"))


def test_it_must_not_be_short() -> None:
    with pytest.raises(SettingsError, match="password: must have at least 8") as caught:
        load({"password": "geheim"}, {})
    assert "geheim" not in str(caught.value)


def test_wrong_keys_cost_the_same_whatever_they_look_like() -> None:
    """Medians of CPU time, which other work on the machine does not change much."""
    keys = Keys(Settings(password=WORD, api_key="k" * 40, keys_secret="0123456789abcdef"))

    def cost(key: str) -> float:
        times = []
        for _ in range(7):
            before = time.thread_time()
            with pytest.raises(Unauthorized):
                keys.identify(sent(key))
            times.append(time.thread_time() - before)
        return statistics.median(times)

    costs = [
        cost(key) for key in ("x", "k" * 39 + "x", WORD[:-1], "sk-alice-mfrgg.xyz", "z" * 3000)
    ]
    assert max(costs) < 3 * min(costs), costs
