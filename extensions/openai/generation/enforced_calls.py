"""Calls that a grammar of `tools.ToolPlan` keeps in form: they end an answer, or are all of it.

Sample: `<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n</tool_call>`. The input of a
custom tool that has a grammar stands in it as it is: `{"name": "sql", "input": SELECT 1}`.
"""

from __future__ import annotations

from ..engines.base import Finish, ToolCallDelta
from .held_text import HeldText
from .parts import Part, text_part
from .stops import overlap
from .tools import CALL_CLOSING, CALL_OPENING, CallParser, begun_call, read_call

CALL_BEGIN, CALL_END = CALL_OPENING.strip(), CALL_CLOSING.strip()


class EnforcedCallReader:
    """Passes the arguments on while they are written."""

    ended = plain = False

    def __init__(self, *, demanded: bool) -> None:
        """`demanded`: there is nothing but calls, so a part of their opening is no text."""
        self._demanded = demanded
        self._held = ""
        self._parser: CallParser | None = None

    @property
    def called(self) -> int:
        return 0 if self._parser is None else self._parser.called

    def push(self, text: str, finish: Finish | None) -> list[Part]:
        if self._parser is not None:
            return [Part("call", text, calls=self._parser.push(text))] if text else []
        held = self._held + text
        before, mark, after = held.partition(CALL_OPENING)
        if mark:
            self._held, self._parser = "", CallParser()
            parts = [text_part(before) if before.strip() else Part("mark", before)]
            return [*parts, Part("call", mark + after, calls=self._parser.push(after))]
        keep = overlap(held, CALL_OPENING) if self._demanded or finish is None else 0
        shown, self._held = held[: len(held) - keep], held[len(held) - keep :]
        return [text_part(shown)] if shown else []


class RawCallReader:
    """Reads calls whole: only a complete one can be told from a text that looks like it.

    One that a limit on tokens cuts is passed on as far as it got.
    """

    ended = plain = False

    def __init__(self, *, demanded: bool) -> None:
        self._demanded = demanded
        self._held = HeldText()
        self._inside = False
        self.called = 0

    def push(self, text: str, finish: Finish | None) -> list[Part]:
        parts: list[Part] = []
        if not self._held.add(text, last=finish is not None):
            return parts
        held = self._held.text
        while True:
            before, mark, after = held.partition(CALL_END if self._inside else CALL_BEGIN)
            if not mark:
                break
            if self._inside:
                held = after.lstrip("\n")
                source = CALL_BEGIN + before + mark + after[: len(after) - len(held)]
                parts.append(self._call(before, source))
            else:
                parts.append(text_part(before) if before.strip() else Part("mark", before))
                held = after
            self._inside = not self._inside
        if self._inside and finish is not None:
            calls = tuple(begun_call(held, self.called))
            self.called += any(call.name is not None for call in calls)
            parts.append(Part("call", CALL_BEGIN + held, calls=calls))
            held = ""
        if not self._inside:
            only_calls = self._demanded or self.called > 0
            keep = overlap(held, CALL_BEGIN) if only_calls or finish is None else 0
            shown, held = held[: len(held) - keep], held[len(held) - keep :]
            if shown:
                parts.append(text_part(shown))
        self._held.text = held
        if self._inside:
            self._held.wait_for((CALL_END,))
        return parts

    def _call(self, inner: str, source: str) -> Part:
        try:
            call: ToolCallDelta = read_call(inner, self.called)
        except ValueError:  # no call after all
            return text_part(source)
        self.called += 1
        return Part("call", source, calls=(call,))
