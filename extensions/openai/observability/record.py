"""The record of one request, for logs, metrics, limits and usage."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
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
    usage: str | None = "completions"
    """How usage counts it (`completions`, `embeddings`, ...); None: not at all."""
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
    traceparent: str | None = None
    """The trace that the client's header names (W3C), where traces are sent."""
    streamed: bool = False
    started: float = field(default_factory=time.monotonic)
    admitted: float | None = None
    """When the first choice got a slot of the engine."""
    first_token: float | None = None
    last_token: float | None = None
    ended: float | None = None
    """When the answer was sent completely, or the client left."""
    progress: Mapping[str, int] | None = None
    """How far a long prompt is read, while it is: tokens in `total`, in the `cache`, `processed` (with those
    of the cache), and milliseconds in `time_ms`."""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    amount: int = 0
    """Seconds of a sound, characters that were spoken, or pictures: what usage counts in place of tokens."""
    heard: list[tuple[str, int]] = field(default_factory=list)
    """Sounds that were written down for a chat: the model that did it, and the sound's seconds."""
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
        return self.prompt_tokens + self.completion_tokens + self.amount > 0

    @property
    def token_gap(self) -> float | None:
        """Average seconds between two tokens; None if there are fewer than two."""
        if self.first_token is None or self.last_token is None or self.completion_tokens < 2:
            return None
        return (self.last_token - self.first_token) / (self.completion_tokens - 1)

    def note_progress(self, progress: Mapping[str, int]) -> None:
        """A prompt is read so far; of several prompts the one that is furthest counts."""
        if self.progress is None or progress["processed"] >= self.progress["processed"]:
            self.progress = progress

    def add_tokens(self, tokens: int) -> None:
        """Count newly sampled tokens."""
        now = time.monotonic()
        if self.first_token is None:
            self.first_token = now
        self.last_token = now
        self.completion_tokens += tokens


RECENT = 1000


PROBES = ("GET /health", "GET /v1/internal/")
"""Of load balancers, and of the console, which asks what this server has."""


class RecentRecords:
    """The latest requests that have ended: those that are no GET, and those that failed. Thread-safe."""

    def __init__(self) -> None:
        self._kept: deque[tuple[int, RequestRecord]] = deque(maxlen=RECENT)
        self._lock = threading.Lock()

    @property
    def ended(self) -> int:
        """The number of the latest one."""
        return self._kept[-1][0] if self._kept else 0

    def observe(self, record: RequestRecord) -> None:
        """Keep it; what polls the server would drive all others out."""
        if record.route.startswith(PROBES):
            return
        if record.error or not record.route.startswith("GET "):
            with self._lock:
                self._kept.append((self.ended + 1, record))

    def since(self, number: int) -> list[tuple[int, RequestRecord]]:
        """Those that ended after the one with this number, the latest first."""
        with self._lock:
            kept = list(self._kept)
        return [each for each in reversed(kept) if each[0] > number]


Observer = Callable[[RequestRecord], None]
"""Called once for each request, when it has ended; must be fast and must not raise."""


def notify(record: RequestRecord, observers: Iterable[Observer]) -> None:
    """Call all observers: the request ends now."""
    record.ended = time.monotonic()
    for observer in observers:
        observer(record)
