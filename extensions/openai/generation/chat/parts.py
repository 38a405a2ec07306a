"""An answer taken apart while it comes in: text, thought, calls, and the marks between them.

A reader says what each stretch of the model's words is; `apart` makes pieces of that, and keeps the count of
tokens and their log-probabilities right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from ...engines.protocol import Finish, Piece, Pieces, ToolCallDelta
from ..stop_strings import StopMatcher
from ..token_splitter import StoppedText, TokenSplitter

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
    splitter: TokenSplitter | None = None
    try:
        if reader.plain:
            yield from pieces
            return
        for piece in pieces:
            if piece is None:
                yield None
                continue
            finish = piece.finish
            parts = reader.push(piece.text, finish)
            if splitter is None:
                if reader.plain and not reader.called and _is_whole(piece, parts):
                    yield piece
                    yield from pieces
                    return
                splitter = TokenSplitter()
            splitter.push(piece)
            made = [made for part in _merged(parts) if (made := _piece_of(part, splitter))]
            if reader.called and (finish == "stop" or reader.ended):
                finish = "tool_calls"
            elif reader.ended:
                finish = "stop"
            if piece.finish or reader.ended:
                splitter.drop()
                text, logprobs = splitter.take()
                if text or logprobs:
                    made.append(Piece(text, logprobs=logprobs))
            if not made:
                made.append(Piece())
            made[0].tokens, made[0].prompt = piece.tokens, piece.prompt
            made[-1].finish = finish
            yield from made
            if reader.ended:
                return
            if reader.plain and splitter.idle:
                yield from pieces
                return
    finally:
        pieces.close()


def _is_whole(piece: Piece, parts: Sequence[Part]) -> bool:
    """Whether the parts are a piece's whole text, and no more."""
    return len(parts) == 1 and parts[0].kind == "text" and parts[0].source == piece.text


def _piece_of(part: Part, splitter: TokenSplitter) -> Piece | None:
    """What is to be passed on of the next part, if anything is."""
    decide = splitter.keep if part.kind == "text" else splitter.drop
    decide(len(part.source))
    text, logprobs = splitter.take()
    dropped = splitter.take_dropped()
    thought_tokens = dropped if part.kind == "thought" else 0
    reasoning = part.text if part.kind == "thought" else ""
    if not (text or reasoning or part.calls or logprobs or thought_tokens):
        return None
    return Piece(
        text,
        reasoning,
        logprobs=logprobs,
        tool_calls=part.calls,
        thought_tokens=thought_tokens,
    )


def up_to(pieces: Pieces, ends: Sequence[str]) -> Pieces:
    """The pieces of an answer that was taken apart, before the first of some texts in what it says."""
    stopped = StoppedText(ends)
    for piece in pieces:
        if piece is None or piece.echo:
            yield piece
            continue
        text, logprobs = stopped.push(piece)
        finish = "stop" if stopped.matched else piece.finish
        yield replace(piece, text=text, logprobs=logprobs, finish=finish)
        if stopped.matched:
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
