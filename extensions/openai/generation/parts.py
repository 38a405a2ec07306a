"""An answer taken apart while it comes in: text, thought, calls, and the marks between them.

A reader says what each stretch of the model's words is; `apart` makes pieces of that, and keeps the count of
tokens and their log-probabilities right.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from ..engines.base import Finish, Piece, Pieces, TokenLogprob, ToolCallDelta
from .stops import StopMatcher

Kind = Literal["text", "thought", "call", "mark"]


@dataclass(slots=True)
class Part:
    """A stretch of an answer."""

    kind: Kind
    source: str
    """The words of the model that it stands for. All parts together are the whole answer."""
    text: str = ""
    """What is shown of it, as text or as a thought. A text is shown as it was written."""
    calls: tuple[ToolCallDelta, ...] = ()


def text_part(text: str) -> Part:
    return Part("text", text, text)


class PartReader(Protocol):
    """Takes one answer apart."""

    @property
    def called(self) -> int:
        """How many calls there were so far."""

    @property
    def ended(self) -> bool:
        """Whether the answer is over, though the model may go on."""

    @property
    def plain(self) -> bool:
        """Whether all that is still to come is text."""

    def push(self, text: str, finish: Finish | None) -> list[Part]:
        """The parts that are certain now that `text` has come. `finish`: nothing more will come."""


class TextReader:
    """Reads an answer that is nothing but text."""

    called, ended, plain = 0, False, True

    def push(self, text: str, finish: Finish | None) -> list[Part]:
        return [text_part(text)] if text else []


class EndReader:
    """Reads text up to the first of the texts that end an answer."""

    called, plain = 0, False

    def __init__(self, ends: Sequence[str]) -> None:
        self._matcher = StopMatcher(ends)
        self._held = ""
        self.ended = False

    def push(self, text: str, finish: Finish | None) -> list[Part]:
        self._held += text
        shown = self._matcher.push(text)
        self.ended = self._matcher.matched is not None
        if finish is not None and not self.ended:
            shown += self._matcher.flush()
        behind, self._held = self._held[: len(shown)], self._held[len(shown) :]
        parts = [text_part(behind)] if behind else []
        if self.ended:
            parts.append(Part("mark", self._held))
        return parts


def apart(pieces: Pieces, reader: PartReader) -> Pieces:
    """The pieces of an answer with thoughts in `reasoning` and calls in `tool_calls`.

    Tokens are counted as they come. Each has its log-probability; those of tokens that are no part of the
    text have no bytes, so that the bytes of all of them are the text.
    """
    trail = _TokenTrail()
    try:
        for piece in pieces:
            if piece is None or (reader.plain and trail.settled):
                yield piece
                continue
            trail.add(piece)
            finish = piece.finish
            parts = _merged(reader.push(piece.text, finish))
            made = [made for part in parts if (made := trail.piece(part)) is not None]
            if reader.called and (finish == "stop" or reader.ended):
                finish = "tool_calls"
            elif reader.ended:
                finish = "stop"
            if piece.finish or reader.ended:
                made.append(trail.rest())
            elif not made:
                made.append(Piece())
            made[0].tokens, made[0].prompt = piece.tokens, piece.prompt
            made[-1].finish = finish
            yield from made
            if reader.ended:
                return
    finally:
        pieces.close()


def up_to(pieces: Pieces, ends: Sequence[str]) -> Pieces:
    """The pieces of an answer that was taken apart, before the first of some texts in what it says."""
    matcher = StopMatcher(ends)
    for piece in pieces:
        if piece is None or piece.echo:
            yield piece
            continue
        text, finish = matcher.push(piece.text), piece.finish
        if matcher.matched is not None:
            finish = "stop"
        elif finish is not None:
            text += matcher.flush()
        yield replace(piece, text=text, finish=finish)
        if matcher.matched is not None:
            return


def _merged(parts: Sequence[Part]) -> list[Part]:
    """Neighbours of one kind as one part."""
    merged: list[Part] = []
    for part in parts:
        if merged and merged[-1].kind == part.kind:
            before = merged[-1]
            merged[-1] = Part(
                part.kind,
                before.source + part.source,
                before.text + part.text,
                before.calls + part.calls,
            )
        else:
            merged.append(part)
    return merged


@dataclass(slots=True)
class _Token:
    """A token (or several that came together), and where in the answer's bytes it stands."""

    start: int
    end: int
    count: int
    logprob: TokenLogprob | None
    shown: bool = False
    """Whether its log-probability was passed on."""


class _TokenTrail:
    """Which tokens belong to which part."""

    def __init__(self) -> None:
        self._tokens: deque[_Token] = deque()
        self._came = 0
        self._taken = 0

    @property
    def settled(self) -> bool:
        """Whether all that came was handed out."""
        return self._came == self._taken and not self._tokens

    def add(self, piece: Piece) -> None:
        end = self._came + _size(piece.text)
        if not piece.logprobs and piece.tokens:
            self._tokens.append(_Token(self._came, end, piece.tokens, None))
        at = self._came
        for logprob in piece.logprobs:
            stop = min(end, at + len(logprob.bytes))
            self._tokens.append(_Token(at, stop, 1, logprob))
            at = stop
        self._came = end

    def piece(self, part: Part) -> Piece | None:
        """What is to be passed on of the next part, if anything is."""
        start, self._taken = self._taken, self._taken + _size(part.source)
        logprobs: list[TokenLogprob] = []
        count = 0
        while self._tokens and self._tokens[0].end <= self._taken:
            token = self._tokens.popleft()
            count += token.count
            self._tell(token, part.kind, start, logprobs)
        if part.kind == "text" and self._tokens and self._tokens[0].start < self._taken:
            self._tell(self._tokens[0], part.kind, start, logprobs)
        if not (part.text or part.calls or logprobs or (count and part.kind == "thought")):
            return None
        return Piece(
            text=part.text if part.kind == "text" else "",
            reasoning=part.text if part.kind == "thought" else "",
            thought_tokens=count if part.kind == "thought" else 0,
            logprobs=tuple(logprobs),
            tool_calls=part.calls,
        )

    def rest(self) -> Piece:
        """What is left when the answer is over: tokens that say nothing."""
        left = [token.logprob for token in self._tokens if token.logprob and not token.shown]
        self._tokens.clear()
        return Piece(logprobs=tuple(replace(logprob, bytes=b"") for logprob in left))

    def _tell(self, token: _Token, kind: Kind, start: int, logprobs: list[TokenLogprob]) -> None:
        if token.logprob is None or token.shown:
            return
        token.shown = True
        said = b""
        if kind == "text":
            said = token.logprob.bytes
            # A token may begin before the text or end behind it.
            if token.start < start or token.end > self._taken:
                said = said[max(0, start - token.start) :][: self._taken - max(start, token.start)]
        logprobs.append(
            token.logprob if said == token.logprob.bytes else replace(token.logprob, bytes=said)
        )


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode(errors="surrogatepass"))
