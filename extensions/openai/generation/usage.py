"""The usage of one answer: its tokens, counted over all choices."""

from __future__ import annotations

from dataclasses import dataclass, field

from typing_extensions import NotRequired, TypedDict

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
    estimated: NotRequired[bool]
    """True: the server of the model counts no tokens, so these are estimated from the texts."""


@dataclass(slots=True)
class UsageCount:
    """Adds up the events of one request with `n` choices for each prompt."""

    n: int
    record: RequestRecord = field(default_factory=RequestRecord)
    """Records all tokens as they come."""
    _prompt: dict[int, int] = field(default_factory=dict)
    _cached: dict[int, int] = field(default_factory=dict)
    _estimates: set[int] = field(default_factory=set)
    """The choices whose tokens are estimated."""
    _before: tuple[int, int] = (0, 0)
    """Tokens of prompts that were read before, and those of them from the cache."""
    _completion: int = 0
    _reasoning: int = 0

    def add(self, event: Event) -> None:
        self._completion += event.tokens
        if event.tokens:
            self.record.add_tokens(event.tokens)
        self._reasoning += event.thought_tokens
        if event.prompt is not None:
            if event.prompt.is_estimate:
                self._estimates.add(event.index)
            elif self._estimates:
                self._estimates.discard(event.index)
            at = event.index // self.n
            self._prompt[at] = event.prompt.tokens
            # Further choices find the prompt of the first one in the cache: that does not count as cached.
            self._cached[at] = min(self._cached.get(at, event.prompt.cached), event.prompt.cached)
            self.record.prompt_tokens = self._before[0] + sum(self._prompt.values())
            self.record.cached_tokens = self._before[1] + sum(self._cached.values())

    def set_aside(self) -> None:
        """What was counted belongs to something else that the request needed: its choices come behind."""
        prompt, cached = self._before
        self._before = prompt + sum(self._prompt.values()), cached + sum(self._cached.values())
        self._prompt, self._cached = {}, {}

    @property
    def choices(self) -> int:
        """How many choices there are so far; those of another generation come behind them."""
        return len(self._prompt) * self.n

    def total(self) -> Usage:
        prompt = self._before[0] + sum(self._prompt.values())
        cached = self._before[1] + sum(self._cached.values())
        usage: Usage = {
            "prompt_tokens": prompt,
            "completion_tokens": self._completion,
            "total_tokens": prompt + self._completion,
            "prompt_tokens_details": {"cached_tokens": cached},
            "completion_tokens_details": {"reasoning_tokens": self._reasoning},
        }
        if self._estimates:
            usage["estimated"] = True
        return usage
