"""Enforces the arguments of strict functions that a model calls in its own format, whatever that is.

The model is unconstrained until it has written the head of a strict function's call, up to its arguments.
There the engine call is ended: a second one generates the arguments, with the schema's grammar, and a third
continues the answer without constraints.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Mapping

from ....engines.protocol import EngineInfo, GenerateRequest, Piece, Pieces
from ...chat.continuation import Continuation, Generating, cut
from ..reading.fenced_call import FENCE_BEGIN
from ..reading.formats import ARGUMENT_KEYS, NAME_KEYS
from ..reading.json_scanner import JSONScanner
from ..reading.learned_formats import MARK, CallShape

MAX_HEAD_CHARS = 1000  # of a call, up to its arguments

Check = Callable[[Pieces, str, str], Pieces]
"""Passes on the pieces of an answer while they match a grammar; the third argument is the function's name."""


def head_pattern(
    shape: CallShape, names: Mapping[str, str], *, bare: bool = False
) -> re.Pattern[str]:
    """The pattern of the head of a call of one of the functions, up to its arguments. Its group `name` is the
    name; `bare` matches if the format's mark is missing. `bare`: JSON at the beginning of an answer is also a
    call, even in a fenced block of code."""
    any_name = "|".join(map(re.escape, names))
    if "{" in shape.begin:  # the name is in the JSON
        mark = _spaced(shape.begin.partition("{")[0].rstrip("["))
        if bare or not mark:  # perhaps after a thought
            begin = rf"(?P<bare>(?:\A|</[^<>]*>|\[/THINK\])\s*(?:{FENCE_BEGIN})?)"
            mark = f"(?:{mark}|{begin})" if mark else begin
        key, value = "|".join(NAME_KEYS), "|".join(ARGUMENT_KEYS)
        return re.compile(
            rf'(?:{mark}\s*\[?|[,;])\s*\{{\s*"(?:{key})"\s*:\s*"(?P<name>{any_name})"\s*,\s*"(?:{value})"'
            r"\s*:\s*(?=\{|\Z)"
        )
    # If several calls are enclosed in a mark, the last mark before the name is that of the call itself.
    last = max(shape.begin.rfind("<"), shape.begin.rfind("["), 0)
    middle = re.sub(r"\d+", r"\\d+", _spaced(shape.middle))
    # Without following text, a name may be the prefix of a longer one.
    following = r"(?=\{|\Z)" if middle.strip() else r"(?=\{)"
    return re.compile(rf"{_spaced(shape.begin[last:])}(?P<name>{any_name}){middle}{following}")


def _spaced(text: str) -> str:
    """The pattern of a text, with optional whitespace instead of its whitespace."""
    return r"\s*".join(re.escape(word) for word in re.split(r"\s+", text))


def fixed_end(shape: CallShape) -> str:
    """The fixed text after a call's arguments: all up to the first mark, or the brace of the JSON that the
    name is in."""
    mark = MARK.search(shape.end)
    end = shape.end[: mark.end()] if mark else ""
    if "{" not in shape.begin:
        return end
    brace, rest = shape.end[:1], end[1:]
    if brace != "}":
        return ""
    return end if mark and rest.strip() == mark[0] else brace


class StrictArguments:
    """Generates like an engine, but enforces the arguments of strict functions. Thread-safe if the engine
    is."""

    def __init__(
        self,
        engine: Generating,
        heads: re.Pattern[str],
        end: str,
        rules: Mapping[str, str],
        check: Check,
    ) -> None:
        """`heads`: `head_pattern`. `end` closes the call directly after its arguments; a bare call, its first
        character. `rules`: the right side of the rule for each strict function's arguments."""
        self._engine = engine
        self._heads = heads
        self._end = end
        self._rules = rules
        self._check = check

    @property
    def info(self) -> EngineInfo:
        return self._engine.info

    def tokenize(self, text: str) -> tuple[int, ...]:
        return self._engine.tokenize(text)

    def generate(self, request: GenerateRequest) -> Pieces:
        if request.grammar is not None:
            return self._engine.generate(request)
        return self._generate(request)

    def _generate(self, request: GenerateRequest) -> Pieces:
        calls, written, end = Continuation(self._engine, request), "", self._end
        current: GenerateRequest | None = request
        while current is not None:
            written, head = yield from self._free(calls, current, written)
            if head is None:
                return
            name = head["name"]
            if head[0][0] not in ",;":  # otherwise it ends like the previous call
                end = self._end[:1] if head.groupdict().get("bare") is not None else self._end
            current = calls.request(written, f"start: arguments\narguments: {self._rules[name]}")
            if current is None:
                break
            arguments = yield from self._arguments(calls, current, name)
            if arguments is None:
                return
            written += arguments + end
            if end:
                yield Piece(end)
            current = calls.request(written)
        yield calls.counted(Piece(finish="length"))

    def _free(
        self, calls: Continuation, request: GenerateRequest, written: str
    ) -> Generator[Piece | None, None, tuple[str, re.Match[str] | None]]:
        """Generate up to a strict function's arguments; return the answer so far and the match of the head,
        None if the answer ends without one."""
        begin = len(written)
        pieces = self._engine.generate(request)
        try:
            for piece in pieces:
                if piece is None:
                    yield None
                    continue
                written += piece.text
                begin = max(begin, len(written) - len(piece.text) - MAX_HEAD_CHARS)
                found = self._heads.search(written, begin) if piece.text else None
                if found is None or piece.finish == "length":
                    yield calls.counted(piece)
                    continue
                excess = len(written) - found.end()
                yield calls.counted(cut(piece, excess))
                return written[: found.end()], found
        finally:
            pieces.close()
        return written, None

    def _arguments(
        self, calls: Continuation, request: GenerateRequest, name: str
    ) -> Generator[Piece | None, None, str | None]:
        """The arguments; None if the answer ended inside them."""
        scanner, written = JSONScanner(), ""
        grammar = str(request.grammar)
        pieces = self._engine.generate(request)
        try:
            for piece in self._check(pieces, grammar, name):
                if piece is None:
                    yield None
                    continue
                size = scanner.push(piece.text)
                written += piece.text[:size]
                over = scanner.over and piece.finish != "length"
                yield calls.counted(cut(piece, len(piece.text) - size) if over else piece)
                if over:
                    return written
        finally:
            pieces.close()
        return None
