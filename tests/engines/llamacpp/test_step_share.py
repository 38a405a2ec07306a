"""Long texts wait for each other, short ones do not."""

from __future__ import annotations

import threading
from contextlib import ExitStack

import pytest

from extensions.openai.engines.llamacpp.step_share import SHARED_TOKENS, StepShare

PATIENCE = 40.0  # seconds, on a busy machine


class Entering:
    """A thread that goes in with so many tokens, and comes out when it is told."""

    def __init__(self, share: StepShare, tokens: int) -> None:
        self.inside, self._leave = threading.Event(), threading.Event()

        def work() -> None:
            with share.of(tokens):
                self.inside.set()
                assert self._leave.wait(PATIENCE)

        self._thread = threading.Thread(target=work)
        self._thread.start()

    def leave(self) -> None:
        self._leave.set()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()


def test_those_go_in_together_for_which_there_is_room() -> None:
    share = StepShare()
    first, second = Entering(share, SHARED_TOKENS // 2), Entering(share, SHARED_TOKENS // 2)
    assert first.inside.wait(PATIENCE) and second.inside.wait(PATIENCE)
    third = Entering(share, 1)
    first.leave()
    assert third.inside.wait(PATIENCE)
    second.leave()
    third.leave()


def test_a_text_that_is_longer_than_the_room_goes_in_alone() -> None:
    share = StepShare()
    first, long = Entering(share, 5), None
    assert first.inside.wait(PATIENCE)
    long = Entering(share, 50 * SHARED_TOKENS)
    assert not long.inside.is_set()
    first.leave()
    assert long.inside.wait(PATIENCE)
    long.leave()


def test_a_failure_leaves_room_for_the_next() -> None:
    share = StepShare()
    with ExitStack() as stack:
        stack.enter_context(pytest.raises(ValueError))
        stack.enter_context(share.of(SHARED_TOKENS))
        raise ValueError
    with share.of(SHARED_TOKENS):
        pass
