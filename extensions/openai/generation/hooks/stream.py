"""Answers whose text other extensions modify (`output_modifier`), sent while they are written.

A hook is made for whole texts. So it is tried on the text so far as that grows, and what it makes of it is
sent as far as it seems settled: complete words that the hook left as they are, or made the same of twice.
All that is sent is together what the hook makes of the whole text, unless that changes what was sent before.
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
"""Of the time that an answer takes, at most so much is for tries; what the last one takes comes on top."""
CHEAP_TRY_S = 0.001  # what takes no longer is tried at each word
MAX_HELD_CHARACTERS = 24  # what has no blanks (Chinese, code) is not held up to its end
MAX_FUTILE_TRIES = 3  # tries that change a text and give nothing to send, until it is waited for
ANCHOR_CHARACTERS = (64, 32, 16, 8)
MIN_REPEATED_CHARACTERS = 3

Modify = Callable[[str], str]
"""What hooks make of a text. Raises APIError."""


@dataclass(slots=True)
class _Part:
    """Text and tokens of one piece, held back."""

    begin: int
    """The character of the answer's text that it begins at, ..."""
    end: int
    """... and the one behind it."""
    text: str
    logprobs: tuple[TokenLogprob, ...]


@dataclass(slots=True)
class _Written:
    """What the model has written, up to the first stop string, and what of it is held back."""

    stopped: StoppedText
    text: str = ""
    _held: deque[_Part] = field(default_factory=deque)

    def add(self, piece: Piece) -> Finish | None:
        """One more piece; how the answer ends with it, if it does."""
        text, logprobs = self.stopped.push(piece)
        begin, self.text = len(self.text), self.text + text
        self._held.append(_Part(begin, len(self.text), text, logprobs))
        return "stop" if self.stopped.matched else piece.finish

    @property
    def judged(self) -> bool:
        """Whether there are log-probabilities."""
        return any(part.logprobs for part in self._held)

    def release(self, end: int) -> Iterator[Piece]:
        """The pieces whose text ends there or before, as they were."""
        while self._held and self._held[0].end <= end:
            part = self._held.popleft()
            if part.text or part.logprobs:
                yield Piece(part.text, logprobs=part.logprobs)

    def tokens(self) -> tuple[TokenLogprob, ...]:
        """Those that are held, without their text, which has become another one."""
        found = tuple(token for part in self._held for token in part.logprobs)
        self._held.clear()
        return found


def modified(
    pieces: Pieces,
    modify: Modify,
    *,
    stops: Sequence[str] = (),
    attempt: Modify | None = None,
    contradicted: Callable[[], None] = lambda: None,
    clock: Callable[[], float] = time.monotonic,
) -> Pieces:
    """An answer, which ends before the first stop string, with what hooks make of its text.

    `attempt`: the same as `modify`, for texts that are not whole; None: nothing is sent before the text is
    whole. `contradicted` is called where hooks change, in the end, what was sent already. What is no text
    (counts, thoughts, calls) passes by at once.
    """
    written = _Written(StoppedText(stops))
    tries = _Tries(written, modify if attempt is None else attempt, clock)
    for piece in pieces:
        if piece is None or piece.echo:
            yield piece
            continue
        finish = written.add(piece)
        if finish is not None:
            yield from tries.rest(modify(written.text), contradicted)
            yield replace(piece, text="", logprobs=(), finish=finish)
            return
        first, *others = (attempt is not None and list(tries.step())) or [Piece()]
        yield replace(piece, text=first.text, logprobs=first.logprobs)
        yield from others
        if not first.text:
            yield None  # nothing to show: the reader sees a silence


@dataclass(slots=True)
class _Tries:
    """What a hook makes of a text that grows, and what of that was sent."""

    written: _Written
    modify: Modify
    clock: Callable[[], float]
    _sent: str = ""
    _changed: bool = False
    """Whether something else was sent than the model has written."""
    _last: str | None = None
    _tried: int = 0
    _misses: int = 0
    _waits: bool = False
    _spent: float = 0.0
    _took: float = 0.0
    _begun: float = field(init=False)

    def __post_init__(self) -> None:
        self._begun = self.clock()

    def step(self) -> Iterator[Piece]:
        """What may be sent now."""
        text = self.written.text
        settled = _settled(text)
        if self._waits or settled <= self._tried or not self._may_try():
            return
        self._tried = settled
        begun = self.clock()
        made, before = self._made(text), len(self._sent)
        # What does not fit may do so when more of the text is there.
        self._waits = not made.startswith(self._sent)
        parts = [] if self._waits else list(self._ready(text, settled, made))
        if len(self._sent) == before and _alike(made, text) < settled:
            self._misses += 1
            self._waits = self._waits or self._misses >= MAX_FUTILE_TRIES
        self._last = made
        self._took = self.clock() - begun
        self._spent += self._took
        yield from parts

    def _made(self, text: str) -> str:
        try:
            return self.modify(text)
        except APIError:  # maybe only as it is not whole
            self._waits = True
            return self._sent

    def _ready(self, text: str, settled: int, made: str) -> Iterator[Piece]:
        same = _alike(made, text)
        if not self._changed:
            yield from self._as_it_is(min(same, settled))
        if self._changed or same < settled:
            ready = _settled(made[: _alike(made, self._last or "")])
            if ready > len(self._sent):
                self._changed = True
                yield Piece(made[len(self._sent) : ready], logprobs=self.written.tokens())
                self._sent = made[:ready]

    def _as_it_is(self, end: int) -> Iterator[Piece]:
        for part in self.written.release(end):
            self._sent += part.text
            yield part

    def rest(self, made: str, contradicted: Callable[[], None]) -> Iterator[Piece]:
        """What is to be sent when the text is whole; `made`: what hooks make of it."""
        if made.startswith(self._sent):
            # Tokens are sent with their text as long as it is theirs.
            if not self._changed and self.written.judged:
                yield from self._as_it_is(_alike(made, self.written.text))
            yield Piece(made[len(self._sent) :], logprobs=self.written.tokens())
        else:
            contradicted()
            yield Piece(_behind(self._sent, made), logprobs=self.written.tokens())

    def _may_try(self) -> bool:
        return self._took <= CHEAP_TRY_S or self._spent <= MAX_TRY_TIME_SHARE * (
            self.clock() - self._begun
        )


def _settled(text: str) -> int:
    """How much of a text that grows is complete words, without what stands between the last two."""
    end = max(text.rfind(blank) for blank in " \n\t") + 1
    return max(len(text[:end].rstrip()), len(text) - MAX_HELD_CHARACTERS)


def _alike(one: str, other: str) -> int:
    """How many characters two texts begin with alike."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _behind(sent: str, made: str) -> str:
    """What of a text stands behind what was sent, although the text does not begin with it: behind the last
    words of that, if they are there, else behind what both begin with."""
    if sent.startswith(made.rstrip()):
        return ""
    common = _alike(sent, made)
    for length in ANCHOR_CHARACTERS:
        length = min(length, len(sent))
        at = made.find(sent[-length:], max(0, common - length))
        if at >= 0 and length >= MIN_REPEATED_CHARACTERS:
            return made[at + length :]
    return made[common:]
