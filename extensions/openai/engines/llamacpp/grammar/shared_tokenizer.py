"""Which model owns llama.cpp's process-wide tokenizer for grammars.

llama.cpp keeps one llguidance tokenizer for the whole process, in a static variable without a lock, and
identifies its vocabulary by the address alone (common/llguidance.cpp: `llama_sampler_llg_new_tokenizer`).
The next model's vocabulary often gets the address of one that was freed; its grammars would then use the old
model's tokens, which aborts the process or gives wrong answers. So before the tokenizer changes owner, a
grammar is run on the *keeper* (`keeper.py`), a model that is never freed: no other model can get the address
that is then in the variable.
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
    """Lets one model at a time compile grammars. Thread-safe; `shared_tokenizer` is the process's only
    one."""

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
        self, owner: object, client_left: Callable[[], bool]
    ) -> Iterator[Callable[[], None] | None]:
        """Enter before passing a request with a grammar to `owner`'s model.

        Yields a function to call when the request's first chunk arrives: its grammar is compiled by then.
        `client_left` is called every TICK_S while another model owns the tokenizer; if it returns True, this
        yields None.
        """
        if not self._acquire(owner, client_left):
            yield None
            return
        done = threading.Event()

        def compiled() -> None:
            if not done.is_set():
                done.set()
                with self._changed:
                    self._starting -= 1
                    self._changed.notify_all()

        try:
            yield compiled
        finally:
            compiled()

    def release(self, owner: object, memory: object) -> None:
        """Call before freeing `owner`'s model, while its `memory` still exists."""
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
            else:  # never freed, so that no other model gets its address
                self._leaked.append(memory)
            self._busy = False
            self._changed.notify_all()

    def _acquire(self, owner: object, client_left: Callable[[], bool]) -> bool:
        with self._changed:
            while self._busy or (self._owner is not owner and self._starting):
                self._changed.wait(TICK_S)
                if client_left():
                    return False
            # Without an owner the tokenizer is the keeper's, or does not exist yet.
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
        """Hand llama.cpp's tokenizer to the keeper; whether that worked."""
        try:
            if self._keeper is None:
                self._keeper = self._make_keeper()
            chunks_under(EMPTY_GRAMMAR, self._keeper, prompt=0, limit=0)
        except Exception as error:
            log.warning("the keeper of grammars failed (%s): the model stays in memory", str(error))
            return False
        return True

    def _forget_keeper(self) -> None:
        """The process ends and frees the keeper."""
        with self._changed:
            self._keeper = None


shared_tokenizer = SharedTokenizer()
