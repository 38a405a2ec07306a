"""Which long texts share a step of llama.cpp's.

Without flash attention the attention of a step multiplies each token with all others of the step, also with
those of other texts, and throws that away. For texts of 26 tokens four in a step are best; of texts of 122
tokens each costs 59 ms of processor time beside three others, and 42 ms alone. So long texts wait here until
the ones inside leave room.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

SHARED_TOKENS = 104
"""Of the long texts that are inside together; one that is longer is alone among them."""
LONG_TOKENS = 40
"""A text of more tokens is long."""
LONG_BYTES = 4 * LONG_TOKENS
"""A text of fewer bytes is taken for a short one; to count its tokens would cost more than it saves."""


class StepShare:
    """Thread-safe."""

    def __init__(self) -> None:
        self._tokens = 0
        self._entry = threading.Lock()
        """Of the one that is next: a longer one waits in front of shorter ones."""
        self._changed = threading.Condition()

    @contextmanager
    def of(self, tokens: int) -> Iterator[None]:
        """Be inside with so many tokens of one long text. Short ones need not wait."""
        with self._entry, self._changed:
            self._changed.wait_for(
                lambda: not self._tokens or self._tokens + tokens <= SHARED_TOKENS
            )
            self._tokens += tokens
        try:
            yield
        finally:
            with self._changed:
                self._tokens -= tokens
                self._changed.notify_all()
