"""Calls that the grammar of a `ToolPlan` enforces: they are the answer, or its end.

Sample: `<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n</tool_call>`. The input of a
custom tool with a grammar is not quoted: `{"name": "sql", "input": SELECT 1}`.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Literal

from ....engines.protocol import Finish, ToolCallDelta
from ...chat.held_text import HeldText
from ...chat.parts import Part, PartReader, text_part
from ...stop_strings import overlap
from ..plan import CALL_CLOSING, CALL_OPENING, ToolPlan, new_call_id

CALL_BEGIN, CALL_END = CALL_OPENING.strip(), CALL_CLOSING.strip()


def enforced_reader(plan: ToolPlan) -> PartReader:
    """Reads calls in the format of `plan.grammar`."""
    demanded = bool(plan.demanded)
    return (
        RawCallReader(demanded=demanded) if plan.inputs else EnforcedCallReader(demanded=demanded)
    )


class EnforcedCallReader:
    """Reports arguments while they are written."""

    ended = plain = False

    def __init__(self, *, demanded: bool) -> None:
        """`demanded`: there are only calls, so a prefix of their opening is not text."""
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
    """Reports only complete calls: an incomplete one may be a text that looks like it.

    A call cut by a token limit is reported as far as it was written.
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
            calls = tuple(partial_call(held, self.called))
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
        except ValueError:  # not a call
            return text_part(source)
        self.called += 1
        return Part("call", source, calls=(call,))


_RAW_INPUT = re.compile(r'\{"name": "([^"]+)", "input": (.*)\}', re.DOTALL)


def read_call(text: str, index: int) -> ToolCallDelta:
    """A complete call in the most common form, or with an unquoted input.

    Raises ValueError if it is not a call.
    """
    raw = _RAW_INPUT.fullmatch(text.strip("\n"))
    if raw:
        arguments = json.dumps({"input": raw[2]}, ensure_ascii=False)
        return ToolCallDelta(index, arguments, new_call_id(), raw[1])
    call = json.loads(text)
    if not isinstance(call, dict) or not isinstance(call.get("name"), str):
        raise ValueError
    arguments = call.get("arguments", {})
    if not isinstance(arguments, str):
        arguments = json.dumps(arguments, ensure_ascii=False)
    return ToolCallDelta(index, arguments, new_call_id(), call["name"])


_PARTIAL_INPUT = re.compile(r'\{"name": "([^"]+)", "input": (.*)', re.DOTALL)


def partial_call(text: str, index: int) -> list[ToolCallDelta]:
    """The written part of a call that was cut; empty if its name is not complete."""
    text = text.lstrip("\n")
    found = _PARTIAL_INPUT.fullmatch(text)
    if found is None:
        return [replace(part, index=index) for part in CallParser().push(text)]
    name, written = found.groups()
    closing = "}" + CALL_CLOSING
    cut = next(n for n in range(len(closing), -1, -1) if written.endswith(closing[:n]))
    arguments = json.dumps({"input": written[: len(written) - cut]}, ensure_ascii=False)
    return [ToolCallDelta(index, arguments, new_call_id(), name)]


class CallParser:
    """Reads demanded calls incrementally from an answer that matches `ToolPlan.grammar`."""

    def __init__(self) -> None:
        self._text = ""
        self._index = -1
        self._state: Literal["head", "arguments", "tail"] = "head"
        self._depth = 0
        self._in_string = False
        self._escaped = False

    @property
    def called(self) -> int:
        """The number of calls, including a partial one."""
        return self._index + 1

    def push(self, text: str) -> tuple[ToolCallDelta, ...]:
        """Add text; return the deltas of the calls in it."""
        found: list[ToolCallDelta] = []
        self._text += text
        while True:
            before = len(self._text), self._state
            if self._state == "head":
                self._read_head(found)
            elif self._state == "arguments":
                self._read_arguments(found)
            else:
                self._read_tail()
            if (len(self._text), self._state) == before:
                return tuple(found)

    def _read_head(self, found: list[ToolCallDelta]) -> None:
        mark = '", "arguments": '
        head, arguments, rest = self._text.partition(mark)
        if not arguments:
            return
        self._text, self._state = rest, "arguments"
        self._index += 1
        name = json.loads('"' + head.partition('{"name": "')[2] + '"')
        found.append(ToolCallDelta(self._index, "", new_call_id(), name))

    def _read_arguments(self, found: list[ToolCallDelta]) -> None:
        """Up to the brace that closes the object."""
        end = len(self._text)
        for at, character in enumerate(self._text):
            if self._escaped:
                self._escaped = False
            elif self._in_string:
                self._escaped = character == "\\"
                self._in_string = character != '"'
            elif character == '"':
                self._in_string = True
            elif character == "{":
                self._depth += 1
            elif character == "}":
                self._depth -= 1
                if self._depth == 0:
                    end, self._state = at + 1, "tail"
                    break
        if end:
            found.append(ToolCallDelta(self._index, self._text[:end]))
        self._text = self._text[end:]

    def _read_tail(self) -> None:
        tail = "}" + CALL_CLOSING
        if self._text.startswith(tail):
            self._text, self._state = self._text[len(tail) :], "head"
