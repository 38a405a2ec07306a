"""What a limit of keys says of itself, and the values that its setting may have."""

from __future__ import annotations

import pytest

from extensions.openai.configuration.key_limits import KeyLimit, Period
from extensions.openai.configuration.sources import load
from extensions.openai.settings import KEY_LIMITS, Settings, SettingsError


@pytest.mark.parametrize(
    ("name", "words", "field"),
    [
        ("rpm", "requests a minute", "requests_per_minute"),
        ("tpm", "tokens a minute", "tokens_per_minute"),
        ("concurrent", "requests at once", "concurrent_requests"),
        ("monthly_tokens", "tokens a month", "tokens_per_month"),
    ],
)
def test_words_and_names(name: str, words: str, field: str) -> None:
    limit = KEY_LIMITS[name]
    assert (limit.words, limit.field) == (words, field)


@pytest.mark.parametrize(
    ("unit", "period"), [("requests", "month"), ("images", "month"), ("tokens", "at once")]
)
def test_what_cannot_be_counted_is_refused(unit: str, period: Period) -> None:
    with pytest.raises(ValueError, match=f"{unit} {period}"):
        KeyLimit(unit, period)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *(("rpm", "1001"), ("rpm", "-1"), ("concurrent", "1025"), ("tpm", "-1"), ("tpm", "many")),
        *(("user_limits", "speed=1"), ("user_limits", "rpm=-1"), ("user_limits", "rpm=much")),
    ],
)
def test_a_wrong_number_stops_the_start(name: str, text: str) -> None:
    with pytest.raises(SettingsError, match=f"setting {name}"):
        load({}, {name: text})


def test_numbers_that_may_be() -> None:
    given = {"rpm": "1000", "concurrent": "1024", "tpm": "0", "user_limits": "rpm=3,tpm=0"}
    settings = load({}, given)
    assert (settings.rpm, settings.concurrent, settings.tpm) == (1000, 1024, 0)
    assert settings.user_limits == {"rpm": 3, "tpm": 0}
    assert Settings().rpm is None
