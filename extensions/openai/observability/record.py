"""What one request has come to: for logs, metrics, limits and usage."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from ..access.caller import ANONYMOUS, Caller


@dataclass(slots=True)
class RequestRecord:
    """Filled in as the request goes on, by the one thread that works on it; then given to observers.

    Times are of `time.monotonic()`, None for what has not happened. Nothing of what was asked or answered
    is in here.
    """

    id: str = ""
    route: str = ""
    """Method and path as the reference writes them: `POST /v1/chat/completions`."""
    path: str = ""
    """Method and path of a wrong address, cut; nothing where there is a route."""
    address: str = ""
    """Where the client is: an IP address, behind trusted proxies the one that they report."""
    caller: Caller = ANONYMOUS
    user: str | None = None
    """The request's `user` field."""
    ignored: list[str] = field(default_factory=list)
    """Names of what the request holds and has no effect, for a response header."""
    answer: str | None = None
    """The id of the answer, as `chatcmpl-...`."""
    model: str | None = None
    """The name of the model that answered."""
    streamed: bool = False
    started: float = field(default_factory=time.monotonic)
    admitted: float | None = None
    """When the first choice got a slot of the engine."""
    first_token: float | None = None
    last_token: float | None = None
    ended: float | None = None
    """When the answer was with the client, or the client gone."""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    status: int = 0
    error: str | None = None
    """The `code` (or else the `type`) of the error that ended it, in a stream too."""
    param: str | None = None
    """The field that the error is about."""
    cancelled: bool = False
    """The client left before the answer was complete."""

    @property
    def milliseconds(self) -> str:
        """Since it began, as the header `openai-processing-ms` has it."""
        return str(round((time.monotonic() - self.started) * 1000))

    @property
    def answered(self) -> bool:
        """Whether a model has read its prompt, at least."""
        return self.prompt_tokens + self.completion_tokens > 0

    @property
    def token_gap(self) -> float | None:
        """Seconds from one token to the next, on average; None where there are not two."""
        if self.first_token is None or self.last_token is None or self.completion_tokens < 2:
            return None
        return (self.last_token - self.first_token) / (self.completion_tokens - 1)

    def sampled(self, tokens: int) -> None:
        """So many tokens more have come."""
        now = time.monotonic()
        if self.first_token is None:
            self.first_token = now
        self.last_token = now
        self.completion_tokens += tokens


Observer = Callable[[RequestRecord], None]
"""Told once for each request, when it has ended; must be quick and must not raise."""


def report(record: RequestRecord, observers: Iterable[Observer]) -> None:
    """Tell all observers that a request has ended now."""
    record.ended = time.monotonic()
    for observer in observers:
        observer(record)
