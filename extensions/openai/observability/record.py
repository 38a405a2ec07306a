"""The record of one request, for logs, metrics, limits and usage."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from ..access.caller import ANONYMOUS, Caller


@dataclass(slots=True)
class RequestRecord:
    """Filled in by the thread that handles the request, then passed to observers.

    Times are from `time.monotonic()`, None for what has not happened. Contains no prompt and no answer.
    """

    id: str = ""
    route: str = ""
    """Method and path as the reference writes them: `POST /v1/chat/completions`."""
    path: str = ""
    """Method and path of a wrong address, truncated; empty if there is a route."""
    address: str = ""
    """The client's IP address; behind trusted proxies, the one that they report."""
    caller: Caller = ANONYMOUS
    user: str | None = None
    """The request's `user` field."""
    ignored: list[str] = field(default_factory=list)
    """Names of request fields without effect, for a response header."""
    answer: str | None = None
    """The id of the answer, such as `chatcmpl-...`."""
    model: str | None = None
    """The name of the model that answered."""
    streamed: bool = False
    started: float = field(default_factory=time.monotonic)
    admitted: float | None = None
    """When the first choice got a slot of the engine."""
    first_token: float | None = None
    last_token: float | None = None
    ended: float | None = None
    """When the answer was sent completely, or the client left."""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    status: int = 0
    error: str | None = None
    """The `code` (or else the `type`) of the error that ended it, also inside a stream."""
    param: str | None = None
    """The field that the error is about."""
    cancelled: bool = False
    """The client left before the answer was complete."""

    @property
    def milliseconds(self) -> str:
        """Milliseconds since the request began, for the header `openai-processing-ms`."""
        return str(round((time.monotonic() - self.started) * 1000))

    @property
    def answered(self) -> bool:
        """Whether a model has at least read the prompt."""
        return self.prompt_tokens + self.completion_tokens > 0

    @property
    def token_gap(self) -> float | None:
        """Average seconds between two tokens; None if there are fewer than two."""
        if self.first_token is None or self.last_token is None or self.completion_tokens < 2:
            return None
        return (self.last_token - self.first_token) / (self.completion_tokens - 1)

    def add_tokens(self, tokens: int) -> None:
        """Count newly sampled tokens."""
        now = time.monotonic()
        if self.first_token is None:
            self.first_token = now
        self.last_token = now
        self.completion_tokens += tokens


Observer = Callable[[RequestRecord], None]
"""Called once for each request, when it has ended; must be fast and must not raise."""


def notify(record: RequestRecord, observers: Iterable[Observer]) -> None:
    """Call all observers: the request ends now."""
    record.ended = time.monotonic()
    for observer in observers:
        observer(record)
