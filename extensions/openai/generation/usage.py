"""The usage of one answer: its tokens, counted over all choices."""

from __future__ import annotations

from dataclasses import dataclass, field

from typing_extensions import TypedDict

from ..observability.record import RequestRecord
from .events import Event


class PromptTokensDetails(TypedDict):
    """Details of the prompt's tokens."""

    cached_tokens: int


class CompletionTokensDetails(TypedDict):
    """Details of the answers' tokens."""

    reasoning_tokens: int


class Usage(TypedDict):
    """The tokens of a request: prompts once each, answers over all choices."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails
    completion_tokens_details: CompletionTokensDetails


@dataclass(slots=True)
class UsageCount:
    """Adds up the events of one request with `n` choices for each prompt."""

    n: int
    record: RequestRecord = field(default_factory=RequestRecord)
    """Records all tokens as they come."""
    _prompt: dict[int, int] = field(default_factory=dict)
    _cached: dict[int, int] = field(default_factory=dict)
    _completion: int = 0
    _reasoning: int = 0

    def add(self, event: Event) -> None:
        self._completion += event.tokens
        if event.tokens:
            self.record.add_tokens(event.tokens)
        self._reasoning += event.thought_tokens
        if event.prompt is not None:
            at = event.index // self.n
            self._prompt[at] = event.prompt.tokens
            # Further choices find the prompt of the first one in the cache: that does not count as cached.
            self._cached[at] = min(self._cached.get(at, event.prompt.cached), event.prompt.cached)
            self.record.prompt_tokens = sum(self._prompt.values())
            self.record.cached_tokens = sum(self._cached.values())

    def total(self) -> Usage:
        prompt = sum(self._prompt.values())
        return {
            "prompt_tokens": prompt,
            "completion_tokens": self._completion,
            "total_tokens": prompt + self._completion,
            "prompt_tokens_details": {"cached_tokens": sum(self._cached.values())},
            "completion_tokens_details": {"reasoning_tokens": self._reasoning},
        }
