"""Splits tokens along with the text that they make.

Marks, stop strings and thoughts are cut out of an answer; the tokens of the remaining log-probabilities must
make exactly the remaining text.
"""

from __future__ import annotations

import codecs
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from ..engines.protocol import Piece, TokenLogprob
from .stop_strings import StopMatcher


class Kept(NamedTuple):
    """Text that stays in an answer, and the tokens that make it."""

    text: str
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(slots=True)
class _Group:
    """A token, or several that share a character, and the characters that they complete."""

    text: str
    logprobs: tuple[TokenLogprob, ...]
    tokens: int = 0
    """How many tokens it counts for."""
    kept: list[bool] = field(default_factory=list)
    """For each decided character, whether it was kept."""

    @property
    def left(self) -> int:
        """Characters without a decision."""
        return len(self.text) - len(self.kept)


class TokenSplitter:
    """Decides on the characters of one answer, in their order: each is kept or dropped. Not thread-safe.

    Text with log-probabilities comes out token by token, when all characters of a token were decided on:
    so the tokens that come out make exactly the text that comes out. A token is cut to its characters that
    are kept; one that has none comes out without text, as it is counted. Text without log-probabilities
    comes out at once.
    """

    def __init__(self) -> None:
        self._groups: deque[_Group] = deque()
        self._uncounted = 0
        self._text: list[str] = []
        self._logprobs: list[TokenLogprob] = []
        self._dropped = 0

    def push(self, piece: Piece) -> None:
        """Take the text and the tokens of the next piece."""
        tokens = piece.tokens + self._uncounted
        if not (piece.text or piece.logprobs or piece.finish):
            self._uncounted = tokens  # a part of a character belongs to the token that completes it
            return
        self._uncounted = 0
        groups = _groups(piece.text, piece.logprobs)
        if tokens == len(piece.logprobs):
            for group in groups:
                group.tokens = len(group.logprobs)
        else:
            groups[-1].tokens = tokens
        self._groups += groups

    @property
    def idle(self) -> bool:
        """Whether everything was decided and taken."""
        return not (self._groups or self._uncounted or self._text or self._logprobs)

    def keep(self, count: int) -> None:
        """Keep the next `count` characters, and the tokens without text around them."""
        self._decide(count, keep=True)

    def drop(self, count: int | None = None) -> None:
        """Drop the next `count` characters, and the tokens without text around them; None: all."""
        self._decide(
            sum(group.left for group in self._groups) if count is None else count, keep=False
        )

    def take(self) -> Kept:
        """What came out since the last call."""
        kept = Kept("".join(self._text), tuple(self._logprobs))
        self._text.clear()
        self._logprobs.clear()
        return kept

    def take_dropped(self) -> int:
        """How many whole tokens were dropped since the last call."""
        count, self._dropped = self._dropped, 0
        return count

    def _decide(self, count: int, *, keep: bool) -> None:
        while self._groups and (count or not self._groups[0].text):
            group = self._groups[0]
            taken = min(count, group.left)
            count -= taken
            begun = len(group.kept)
            group.kept += [keep] * taken
            if keep and not group.logprobs:
                self._text.append(group.text[begun : begun + taken])
            if group.left:
                return
            self._groups.popleft()
            if not (any(group.kept) or (keep and not group.text)):
                self._dropped += group.tokens
            if group.logprobs:
                kept = zip(group.text, group.kept, strict=True)
                self._text.append("".join(character for character, keeps in kept if keeps))
                self._logprobs += _cut(group)


def _groups(text: str, logprobs: Sequence[TokenLogprob]) -> list[_Group]:
    """The tokens of a text with the characters that each completes; at least one."""
    found: list[_Group] = []
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    pending: list[TokenLogprob] = []
    spelled = ""
    for at, token in enumerate(logprobs, 1):
        pending.append(token)
        spelled += decoder.decode(token.bytes, at == len(logprobs))
        if not decoder.getstate()[0]:
            found.append(_Group(spelled, tuple(pending)))
            pending.clear()
            spelled = ""
    if found and "".join(group.text for group in found) == text:
        return found
    return [_Group(text, tuple(logprobs))]  # the tokens of the text are unknown


def _cut(group: _Group) -> list[TokenLogprob]:
    """The tokens of a group, cut to the characters that were kept."""
    if all(group.kept):
        return list(group.logprobs)
    data = b"".join(token.bytes for token in group.logprobs)
    stays = [
        keep
        for size, keep in zip(character_sizes(data), group.kept, strict=False)
        for _ in range(size)
    ]
    cut: list[TokenLogprob] = []
    at = 0
    for token in group.logprobs:
        end = at + len(token.bytes)
        spelled = bytes(b for b, stay in zip(token.bytes, stays[at:end], strict=False) if stay)
        cut.append(replace(token, bytes=spelled))
        at = end
    return cut


def character_sizes(data: bytes) -> list[int]:
    """How many bytes each character of a text takes; bytes that are not UTF-8 are read as U+FFFD."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    sizes: list[int] = []
    taken = 0
    for at in range(len(data)):
        count = len(decoder.decode(data[at : at + 1]))
        if count:
            decided = at + 1 - len(decoder.getstate()[0])
            sizes += [decided - taken - (count - 1), *[1] * (count - 1)]
            taken = decided
    if taken < len(data):
        sizes.append(len(data) - taken)
    return sizes


class StoppedText:
    """One answer up to its first stop string, with the tokens that make its text. Not thread-safe.

    Text that may be a part of a stop string is held back. The tokens of a stop string are reported without
    text, as they are counted.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._matcher = StopMatcher(stops)
        self._splitter: TokenSplitter | None = None

    @property
    def matched(self) -> bool:
        """Whether a stop string was found."""
        return self._matcher.matched is not None

    @property
    def stop_string(self) -> str | None:
        """The stop string that was found."""
        return self._matcher.matched

    def push(self, piece: Piece) -> Kept:
        """Take the next piece; return what may be shown now."""
        if piece.logprobs and self._splitter is None:
            self._splitter = TokenSplitter()
            self._splitter.push(Piece(self._matcher.held))
        text = self._matcher.push(piece.text)
        if piece.finish is not None and not self.matched:
            text += self._matcher.flush()
        if self._splitter is None:
            return Kept(text)
        self._splitter.push(piece)
        self._splitter.keep(len(text))
        if self.matched:
            self._splitter.drop()
        return self._splitter.take()

    def end(self) -> Kept:
        """The held text, when the answer is ended from outside."""
        text = self._matcher.flush()
        if self._splitter is None:
            return Kept(text)
        self._splitter.keep(len(text))
        return self._splitter.take()


def aligned(tokens: Sequence[TokenLogprob], text: str) -> tuple[TokenLogprob, ...]:
    """The tokens that a prompt was read as, each with what it adds to the prompt's text.

    A tokenizer puts a start token, or a space, before a text that does not have it. Special tokens come with
    their names, which a text may have or not.
    """
    data, at = text.encode(errors="replace"), 0
    if b"".join(token.bytes for token in tokens).decode(errors="replace") == text:
        return tuple(tokens)
    found: list[TokenLogprob] = []
    for token in tokens:
        spelled = token.bytes
        if not data.startswith(spelled, at):
            spaceless = spelled.removeprefix(b" ")
            spelled = spaceless if data.startswith(spaceless, at) else b""
        found.append(replace(token, bytes=spelled))
        at += len(spelled)
    return tuple(found if at == len(data) else tokens)
