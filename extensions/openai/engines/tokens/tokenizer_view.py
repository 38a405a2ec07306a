"""A tokenizer, as far as answers are read and constrained by it."""

from __future__ import annotations

from dataclasses import dataclass

from llguidance import LLTokenizer

from ..protocol import Capability
from .vocabulary import Vocabulary


@dataclass(frozen=True, slots=True)
class TokenizerView:
    """A tokenizer, as far as answers are read and constrained by it. Immutable."""

    vocabulary: Vocabulary
    ends: frozenset[int]
    """The tokens that end an answer."""
    matching: LLTokenizer | None
    """The same tokenizer for grammars; None where there can be none."""
    start: int | None = None
    """The token that begins a document, if it is known."""
    media: tuple[Capability, ...] = ()
    """What the model takes besides text, in the words of EngineInfo."""
    mark: str = ""
    """What stands in a prompt where media do."""
