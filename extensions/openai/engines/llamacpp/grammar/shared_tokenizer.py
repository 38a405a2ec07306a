"""Which model's tokens llama.cpp's grammars are made of, across changes of the model.

llama.cpp keeps one llguidance tokenizer for the whole process, in a static variable without a lock, and
recognises its vocabulary by the address alone (common/llguidance.cpp: `llama_sampler_llg_new_tokenizer`).
The next model's vocabulary often gets the address of one that was freed; its grammars would then be made of
the old model's tokens, which aborts the process or gives wrong answers. So before the owner of that tokenizer
changes, a grammar of the *keeper* (`keeper.py`) is run: a model that is never freed, so that the address in
the variable is never one that another model can get.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ...callback_bridge import TICK_S
from ..client import Complete
from .keeper import load_keeper
from .trial import EMPTY_GRAMMAR, chunks_under

log = logging.getLogger("openedai")


class SharedTokenizer:
    """Lets one model at a time have its grammars made. Thread-safe; `shared_tokenizer` is the process's."""

    def __init__(self, make_keeper: Callable[[], Complete] | None = None) -> None:
        self._make_keeper = make_keeper or (lambda: load_keeper(self._forget_keeper))
        self._changed = threading.Condition()
        self._owner: object | None = None
        self._starting = 0
        self._busy = False
        self._keeper: Complete | None = None
        self._leaked: list[object] = []

    @contextmanager
    def owned_by(
        self, owner: object, has_left: Callable[[], bool]
    ) -> Iterator[Callable[[], None] | None]:
        """Enter before a request with a grammar is given to `owner`'s model.

        Gives a function to call as soon as the request's first chunk is there: its grammar is made by then.
        `has_left` is called every TICK_S while another model owns the tokenizer; where it answers True the
        client has left, and None is given.
        """
        if not self._acquire(owner, has_left):
            yield None
            return
        done = threading.Event()

        def made() -> None:
            if not done.is_set():
                done.set()
                with self._changed:
                    self._starting -= 1
                    self._changed.notify_all()

        try:
            yield made
        finally:
            made()

    def release(self, owner: object, memory: object) -> None:
        """Call before `owner`'s model is freed, while its `memory` is still there."""
        with self._changed:
            self._changed.wait_for(lambda: not self._busy)
            if self._owner is not owner:
                return
            self._changed.wait_for(lambda: self._starting == 0, timeout=10 * TICK_S)
            self._busy = True
        is_handed_over = self._hand_to_keeper()
        with self._changed:
            if is_handed_over:
                self._owner = None
            else:  # never to be freed, so that its address is given to no other
                self._leaked.append(memory)
            self._busy = False
            self._changed.notify_all()

    def _acquire(self, owner: object, has_left: Callable[[], bool]) -> bool:
        with self._changed:
            while self._busy or (self._owner is not owner and self._starting):
                self._changed.wait(TICK_S)
                if has_left():
                    return False
            # With no owner the tokenizer is the keeper's, or there was none yet.
            is_change = self._owner not in (None, owner)
            self._busy = is_change
            self._starting += 1
        if is_change:
            self._hand_to_keeper()
        with self._changed:
            self._owner, self._busy = owner, False
            self._changed.notify_all()
        return True

    def _hand_to_keeper(self) -> bool:
        """Give llama.cpp's tokenizer to the keeper; whether that was possible."""
        try:
            if self._keeper is None:
                self._keeper = self._make_keeper()
            chunks_under(EMPTY_GRAMMAR, self._keeper, prompt=0, limit=0)
        except Exception as error:
            log.warning("no keeper of grammars (%s): the model's memory is kept", str(error))
            return False
        return True

    def _forget_keeper(self) -> None:
        """The process ends; the keeper's memory goes with it."""
        with self._changed:
            self._keeper = None


shared_tokenizer = SharedTokenizer()
