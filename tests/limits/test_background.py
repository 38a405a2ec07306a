"""Answers in the background: how many, and that they are known to be under way."""

from __future__ import annotations

import threading
from collections.abc import Mapping

import pytest

from extensions.openai.errors import RateLimited, StoreUnavailable
from extensions.openai.limits.background import BackgroundAnswers


class Answer:
    """One that notes when it is stopped."""

    is_stored = True

    def __init__(self) -> None:
        self.stopped = threading.Event()

    def news(self) -> bytes | None:
        return b"more"

    def stop(self) -> None:
        self.stopped.set()


def test_each_owner_has_a_number_of_its_own() -> None:
    answers = BackgroundAnswers[Answer](set)
    first = Answer()
    answers.add("me", "a", first, 1)
    for most in (0, 1):
        with pytest.raises(RateLimited):
            answers.add("me", "b", Answer(), most)
    answers.add("you", "b", Answer(), 1)
    assert answers.find("me", "a") is first
    assert answers.find("me", "b") is answers.find("you", "a") is None
    answers.remove("me", "a")
    answers.add("me", "b", Answer(), 1)
    assert answers.find("me", "a") is None


def test_they_are_renewed_as_long_as_they_are_there() -> None:
    asked: list[list[str]] = []
    again = threading.Event()

    def renew(news: Mapping[str, bytes | None]) -> set[str]:
        asked.append(list(news))
        assert set(news.values()) <= {b"more"}
        if len(asked) == 1:
            raise StoreUnavailable("full")
        if len(asked) == 3:
            again.set()
        return {"a"}

    before = set(threading.enumerate())
    answers = BackgroundAnswers[Answer](renew, renewal=0.01)
    kept, ended = Answer(), Answer()
    answers.add("me", "a", kept, 2)
    answers.add("me", "b", ended, 2)
    unknown = Answer()
    unknown.is_stored = False
    answers.add("you", "c", unknown, 1)
    assert again.wait(50) and ended.stopped.wait(50) and not kept.stopped.is_set()
    assert {"a", "b"} in map(set, asked) and not unknown.stopped.is_set()
    for owner, id in (("me", "a"), ("me", "b"), ("you", "c")):
        answers.remove(owner, id)
    (leases,) = set(threading.enumerate()) - before
    leases.join(50)
    assert not leases.is_alive()
    again.clear()
    asked.clear()
    answers.add("me", "a", kept, 2)  # and from the start
    assert again.wait(50)
    answers.remove("me", "a")
