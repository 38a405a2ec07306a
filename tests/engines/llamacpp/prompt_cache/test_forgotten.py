"""What was dropped and comes again is known to come again."""

from __future__ import annotations

import pytest

from extensions.openai.engines.llamacpp.prompt_cache import forgotten as module
from extensions.openai.engines.llamacpp.prompt_cache.forgotten import Forgotten
from extensions.openai.engines.llamacpp.prompt_cache.prompt import Prompt
from extensions.openai.engines.llamacpp.prompt_cache.slot_pool import History


def history(at: int) -> History:
    return History(last=at)


def test_the_history_of_what_comes_again_is_known() -> None:
    forgotten, known = Forgotten(), history(5)
    told = tuple(range(100))
    forgotten.add(Prompt(ids=told), 100, known)
    forgotten.add(Prompt(ids=told[:90]), 90, history(6))
    assert forgotten.take(Prompt("other", ids=told), 32).last == 0, "of another space"
    assert forgotten.take(Prompt(ids=(*told[:50], 0)), 32).last == 0, "it only begins alike"
    assert forgotten.take(Prompt(ids=(*told, 1, 2)), 32) is known
    assert forgotten.take(Prompt(ids=(*told, 1, 2)), 32).last == 6


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_FORGOTTEN", 3)
    monkeypatch.setattr(module, "MOST_FORGOTTEN_TOKENS", 25)
    forgotten = Forgotten()
    for number in range(5):
        forgotten.add(Prompt(ids=(number,) * 10), 10, history(number + 1))
    found = [forgotten.take(Prompt(ids=(number,) * 10), 1).last for number in range(5)]
    assert found == [0, 0, 0, 4, 5]
