"""How each kind of limit is counted, and how its times are written."""

from __future__ import annotations

import pytest

from extensions.openai.configuration.key_limits import KeyLimit
from extensions.openai.limits.counts import (
    AtOnce,
    CalendarMonth,
    Count,
    FixedWindow,
    MovingWindow,
    duration,
    kind_of,
)


@pytest.mark.parametrize(
    ("limit", "kind"),
    [
        (KeyLimit("requests", "at once"), AtOnce),
        (KeyLimit("requests", "minute"), MovingWindow),
        (KeyLimit("requests", "day"), MovingWindow),
        (KeyLimit("tokens", "minute"), FixedWindow),
        (KeyLimit("images", "day"), FixedWindow),
        (KeyLimit("tokens", "month"), CalendarMonth),
    ],
)
def test_requests_are_counted_in_windows_that_move(limit: KeyLimit, kind: type[Count]) -> None:
    assert kind_of(limit) is kind


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0ms"),
        (0, "0ms"),
        (0.0001, "1ms"),
        (0.85, "850ms"),
        (0.9999, "1s"),
        (1, "1s"),
        (8.64, "8.64s"),
        (59.9996, "1m0s"),
        (60, "1m0s"),
        (360, "6m0s"),
        (432.05, "7m12.05s"),
        (3600, "1h0m0s"),
        (90061, "25h1m1s"),
    ],
)
def test_durations_are_written_as_openai_does(seconds: float, text: str) -> None:
    assert duration(seconds) == text
