"""Streams answers whose text other extensions modify (`output_modifier`).

Hooks expect the complete text. So they are applied to the growing text so far, and the stable part of the
result is sent: complete words that the hooks left unchanged, or changed in the same way twice. Everything
sent together equals the hooks' result for the complete text, unless that changes text that was already sent.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from ...engines.protocol import Finish, Piece, Pieces, TokenLogprob
from ...errors import APIError
from ..token_splitter import StoppedText

MAX_TRY_TIME_SHARE = 0.1
"""The share of an answer's time that tries may take; the last try may exceed it."""
CHEAP_TRY_S = 0.001  # hooks that take no longer are tried at each word
MAX_HELD_CHARACTERS = 24  # text without blanks (Chinese, code) is not held back further
MAX_FUTILE_TRIES = 3  # tries that give nothing to send; then the complete text is awaited
ANCHOR_CHARACTERS = (64, 32, 16, 8)
MIN_ANCHOR_CHARACTERS = 3

Modify = Callable[[str], str]
"""Applies hooks to a text. Raises APIError."""


@dataclass(slots=True)
class _Part:
    """Text and tokens of one piece, held back."""

    end: int
    """Its end, as an offset in the answer's text."""
    text: str
    logprobs: tuple[TokenLogprob, ...]


@dataclass(slots=True)
class _Written:
    """The model's text, up to the first stop string, and the parts of it that are held back."""

    stopped: StoppedText
    text: str = ""
    _held: deque[_Part] = field(default_factory=deque)

    def add(self, piece: Piece) -> Finish | None:
        """Add a piece; return how the answer ends with it, if it does."""
        text, logprobs = self.stopped.push(piece)
        self.text += text
        self._held.append(_Part(len(self.text), text, logprobs))
        return "stop" if self.stopped.matched else piece.finish

    @property
    def has_logprobs(self) -> bool:
        return any(part.logprobs for part in self._held)

    def release(self, end: int) -> Iterator[Piece]:
        """Yield the held parts up to the offset `end`, unchanged."""
        while self._held and self._held[0].end <= end:
            part = self._held.popleft()
            if part.text or part.logprobs:
                yield Piece(part.text, logprobs=part.logprobs)

    def release_tokens(self) -> tuple[TokenLogprob, ...]:
        """The log-probabilities of all held parts, whose text hooks have changed."""
        found = tuple(token for part in self._held for token in part.logprobs)
        self._held.clear()
        return found


def modified(
    pieces: Pieces,
    modify: Modify,
    *,
    stops: Sequence[str] = (),
    attempt: Modify | None = None,
    on_rewrite: Callable[[], None] = lambda: None,
    clock: Callable[[], float] = time.monotonic,
) -> Pieces:
    """Apply hooks to an answer, which ends before the first stop string.

    `attempt`: like `modify`, for incomplete text; None: send nothing before the text is complete.
    `on_rewrite` is called if the final result changes text that was already sent. Everything except text
    (counts, reasoning, calls) passes through at once.
    """
    written = _Written(StoppedText(stops))
    live = _LiveText(written, modify if attempt is None else attempt, clock)
    for piece in pieces:
        if piece is None or piece.echo:
            yield piece
            continue
        finish = written.add(piece)
        if finish is not None:
            yield from live.finish(modify(written.text), on_rewrite)
            yield replace(piece, text="", logprobs=(), finish=finish)
            return
        first, *others = (attempt is not None and list(live.update())) or [Piece()]
        yield replace(piece, text=first.text, logprobs=first.logprobs)
        yield from others
        if not first.text:
            yield None  # no text yet: the reader may send a keep-alive


@dataclass(slots=True)
class _LiveText:
    """The hooks' results for a growing text, and the part of them that was sent."""

    written: _Written
    modify: Modify
    clock: Callable[[], float]
    _sent: str = ""
    _changed: bool = False
    """Whether the sent text differs from the model's."""
    _last: str | None = None
    _tried: int = 0
    _misses: int = 0
    _gave_up: bool = False
    _spent: float = 0.0
    _took: float = 0.0
    _started: float = field(init=False)

    def __post_init__(self) -> None:
        self._started = self.clock()

    def update(self) -> Iterator[Piece]:
        """Yield what can be sent now."""
        text = self.written.text
        stable = _stable_length(text)
        if self._gave_up or stable <= self._tried or not self._may_try():
            return
        self._tried = stable
        started = self.clock()
        result, before = self._try(text), len(self._sent)
        # If the result does not continue what was sent, wait for the complete text, for which it may.
        self._gave_up = not result.startswith(self._sent)
        parts = [] if self._gave_up else list(self._ready(text, stable, result))
        if len(self._sent) == before and common_prefix_length(result, text) < stable:
            self._misses += 1
            self._gave_up = self._gave_up or self._misses >= MAX_FUTILE_TRIES
        self._last = result
        self._took = self.clock() - started
        self._spent += self._took
        yield from parts

    def _try(self, text: str) -> str:
        try:
            return self.modify(text)
        except APIError:  # perhaps only because the text is incomplete
            return self._sent

    def _ready(self, text: str, stable: int, result: str) -> Iterator[Piece]:
        same = common_prefix_length(result, text)
        if not self._changed:
            yield from self._send_unchanged(min(same, stable))
        if self._changed or same < stable:
            ready = _stable_length(result[: common_prefix_length(result, self._last or "")])
            if ready > len(self._sent):
                self._changed = True
                yield Piece(result[len(self._sent) : ready], logprobs=self.written.release_tokens())
                self._sent = result[:ready]

    def _send_unchanged(self, end: int) -> Iterator[Piece]:
        for part in self.written.release(end):
            self._sent += part.text
            yield part

    def finish(self, result: str, on_rewrite: Callable[[], None]) -> Iterator[Piece]:
        """Yield the rest; `result` is the hooks' result for the complete text."""
        if result.startswith(self._sent):
            # Tokens are sent with their text as long as it is unchanged.
            if not self._changed and self.written.has_logprobs:
                yield from self._send_unchanged(common_prefix_length(result, self.written.text))
            rest = result[len(self._sent) :]
        else:
            on_rewrite()
            rest = _text_after(self._sent, result)
        yield Piece(rest, logprobs=self.written.release_tokens())

    def _may_try(self) -> bool:
        return self._took <= CHEAP_TRY_S or self._spent <= MAX_TRY_TIME_SHARE * (
            self.clock() - self._started
        )


def _stable_length(text: str) -> int:
    """The length of the complete words of a growing text, without the blanks after the last one."""
    end = max(text.rfind(blank) for blank in " \n\t") + 1
    return max(len(text[:end].rstrip()), len(text) - MAX_HELD_CHARACTERS)


def common_prefix_length(one: str, other: str) -> int:
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _text_after(sent: str, result: str) -> str:
    """The part of `result` after what was sent, although it does not begin with that: after the last words of
    `sent` if they occur in it, else after the common prefix."""
    if sent.startswith(result.rstrip()):
        return ""
    common = common_prefix_length(sent, result)
    for length in ANCHOR_CHARACTERS:
        length = min(length, len(sent))
        at = result.find(sent[-length:], max(0, common - length))
        if at >= 0 and length >= MIN_ANCHOR_CHARACTERS:
            return result[at + length :]
    return result[common:]
