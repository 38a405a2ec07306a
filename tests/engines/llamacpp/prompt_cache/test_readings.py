"""Readings: who reads, who follows, and who has to look again."""

from __future__ import annotations

from extensions.openai.engines.llamacpp.prompt_cache.prompt import Prompt
from extensions.openai.engines.llamacpp.prompt_cache.readings import Follower, Reading, Readings


def prompt(*ids: int) -> Prompt:
    return Prompt("a", "", ids)


def test_a_copy_published_after_looking_is_looked_for_again() -> None:
    readings = Readings()
    seen = readings.published
    first = readings.join(prompt(1, 2, 3, 4), 0, 2, seen)
    assert isinstance(first, Reading)
    first.published()
    first.close()
    assert readings.join(prompt(1, 2, 3, 5), 0, 2, seen) is None
    assert isinstance(readings.join(prompt(1, 2, 3, 5), 3, 2, readings.published), Reading)


def test_a_reading_under_way_is_followed_whatever_was_published() -> None:
    readings = Readings()
    first = readings.join(prompt(1, 2, 3, 4), 0, 2, 0)
    assert isinstance(first, Reading)
    other = readings.join(prompt(7, 8, 9, 9), 0, 2, 0)
    assert isinstance(other, Reading)
    other.published()
    follower = readings.join(prompt(1, 2, 3, 5), 0, 2, 0)
    assert isinstance(follower, Follower)
    assert follower.wanted == first.wanted == 3
    with follower:
        first.published()
        assert follower.done.is_set()
