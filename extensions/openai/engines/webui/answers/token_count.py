"""Counts the tokens of an answer that arrives as text."""

from __future__ import annotations

from ..host import Loaded, custom_reply
from ..known_model import KnownModel


class TokenCount:
    """Counts tokens of one model, with its loader's counter if possible, else with its tokenizer."""

    def __init__(self, loaded: Loaded, known: KnownModel) -> None:
        self._loaded, self._known = loaded, known

    def of(self, text: str) -> int:
        """The number of tokens of a complete answer."""
        return self._by_loader() or (self._encoded(text) if text else 0)

    def so_far(self, counted: int, new: str) -> int:
        """The number of tokens including those of `new`, which may be several at once."""
        count = self._by_loader()
        if count:
            return max(counted, count)
        return counted + max(1, self._encoded(new) - self._encoded(""))

    def _by_loader(self) -> int:
        """The loader's count for the running answer; 0 if several answers share its counter."""
        count = getattr(self._loaded.model, "last_completion_token_count", None)
        alone = self._known.parallel(self._loaded) == 1 and not custom_reply()
        return count if isinstance(count, int) and alone else 0

    def _encoded(self, text: str) -> int:
        return len(self._known.adapter.encode(self._loaded, text))
