"""Remembers when conversations were used that are kept no more, in case they come again."""

from __future__ import annotations

import threading

from .prompt import Prompt
from .slot_pool import History

MOST_FORGOTTEN, MOST_FORGOTTEN_TOKENS = 64, 1 << 18
"""So many prompts that are kept no more are remembered, with so many tokens: 10 MB."""


class Forgotten:
    """Histories of prompts that are kept no more. Thread-safe."""

    def __init__(self) -> None:
        self._known: list[tuple[Prompt, int, History]] = []
        """Each with its tokens, the one forgotten last at the end."""
        self._tokens = 0
        self._lock = threading.Lock()

    def add(self, prompt: Prompt, tokens: int, history: History) -> None:
        with self._lock:
            self._known.append((prompt, tokens, history))
            self._tokens += tokens
            while len(self._known) > MOST_FORGOTTEN or self._tokens > MOST_FORGOTTEN_TOKENS:
                self._tokens -= self._known.pop(0)[1]

    def take(self, prompt: Prompt, least: int) -> History:
        """The history of the conversation that a prompt goes on with; a new one if none is known. `least`: as
        for `Prompt.goes_on_with`."""
        with self._lock:
            best, most = None, 0
            for at, (known, _, _) in enumerate(self._known):
                shared = prompt.shared_with(known) if prompt.size > most else 0
                if shared > most and prompt.goes_on_with(known, least):
                    best, most = at, shared
            if best is None:
                return History()
            _, tokens, history = self._known.pop(best)
            self._tokens -= tokens
            return history
