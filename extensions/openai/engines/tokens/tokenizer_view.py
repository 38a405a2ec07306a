"""The parts of a tokenizer that are needed to read and constrain answers."""

from __future__ import annotations

from dataclasses import dataclass

from llguidance import LLTokenizer

from ..protocol import Capability
from .vocabulary import Vocabulary


@dataclass(frozen=True, slots=True)
class TokenizerView:
    """The parts of a tokenizer that are needed to read and constrain answers. Immutable."""

    vocabulary: Vocabulary
    ends: frozenset[int]
    """The tokens that end an answer."""
    matching: LLTokenizer | None
    """The same tokenizer for llguidance; None if grammars do not work with it."""
    start: int | None = None
    """The token that begins a document, if known."""
    media: tuple[Capability, ...] = ()
    """The model's inputs besides text."""
    mark: str = ""
    """The placeholder for media in a prompt."""
