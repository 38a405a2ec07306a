"""Where limits are counted: addresses that are none, and counts that are kept right."""

from __future__ import annotations

import time

import pytest

from extensions.openai.limits.storage import CountStorage
from extensions.openai.settings import Settings, SettingsError

NOON = 1_800_000_000.0


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("memcached://x", "redis://"),
        ("nonsense", "redis://"),
        ("mongodb://user:geheim@x", "redis://"),
        ("redis://:geheim@127.0.0.1:port", "malformed"),
    ],
)
def test_a_wrong_address_stops_the_start(url: str, says: str) -> None:
    with pytest.raises(SettingsError, match="limits_storage") as caught:
        CountStorage(Settings(limits_storage=url))
    assert says in str(caught.value) and "geheim" not in str(caught.value)


def test_an_amount_is_added_as_a_whole_or_not_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: NOON)
    storage = CountStorage(Settings())
    assert storage.add("k", 10, 60, 7) == (True, 7, NOON + 60)
    assert storage.add("k", 10, 60, 4) == (False, 7, NOON + 60)
    assert storage.add("k", 10, 60, 3) == (True, 10, NOON + 60)
    assert storage.add("k", 10, 60, 0) == (True, 10, NOON + 60)


def test_what_was_used_may_go_beyond_a_limit_and_nothing_is_given_back_too_late(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [NOON]
    monkeypatch.setattr(time, "time", lambda: now[0])
    storage = CountStorage(Settings())
    storage.add("k", 10, 60, 7)
    assert storage.adjust("k", 60, NOON + 60, 9).used == 16
    assert storage.adjust("k", 60, NOON + 60, -6).used == 10
    now[0] += 61
    assert storage.adjust("k", 60, NOON + 60, -6).used == 0
    assert storage.add("k", 10, 60, 0).used == 0


def test_a_count_begins_once_with_what_was_used_before() -> None:
    storage, asked = CountStorage(Settings()), list[int]()

    def spent() -> int:
        asked.append(1)
        return 40

    for _ in range(3):
        storage.start_with("month", 600, spent)
    assert storage.add("month", 100, 600, 0).used == 40 and asked == [1]


def test_an_entry_leaves_its_window(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [NOON]
    monkeypatch.setattr(time, "time", lambda: now[0])
    storage = CountStorage(Settings())
    assert storage.enter("k", 2, 60) == (True, 1, NOON, NOON)
    now[0] += 50
    assert storage.enter("k", 2, 60) == (True, 2, NOON, NOON + 50)
    assert storage.enter("k", 2, 60) == (False, 2, NOON, NOON + 50)
    now[0] += 11
    assert storage.enter("k", 2, 60) == (True, 2, NOON + 50, NOON + 61)
