"""Finds the calls in a streamed answer, in the formats of `formats.py`."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache

from ....engines.protocol import Finish, Tool, ToolCallDelta
from ...chat.held_text import HeldText
from ...chat.parts import Part, text_part
from ...stop_strings import overlap
from ..plan import new_call_id
from .fenced_call import FencedCall, may_be_fence, text_after_fence
from .formats import ARGUMENT_KEYS, FORMS, KEYS, NAME_KEYS, CallForm, ParsedCall, read_json
from .streamed_arguments import MAX_FIRST_KEY_CHARS, StreamedArguments, begins_like_json

_HEAD = re.compile(
    rf'\s{{0,32}}\[?\s{{0,32}}\{{\s{{0,32}}"(?:{"|".join(NAME_KEYS)})"\s{{0,32}}:\s{{0,32}}'
    r'"((?:[^"\\]|\\.){0,128})"'
    rf'\s{{0,32}},\s{{0,32}}"(?:{"|".join(ARGUMENT_KEYS)})"\s{{0,32}}:\s{{0,32}}(?=\{{)'
)
"""A call up to its arguments: `{"name": "get_weather", "arguments": `."""
MAX_HEAD_CHARS = 600  # that _HEAD matches
_FIELDS = r'(?:,\s{0,32}"\w{1,64}"\s{0,32}:\s{0,32}(?:"[^"]{0,64}"|\w{1,64})\s{0,32}){0,4}'
_END = r"\}\s{0,32}(?:(?P<more>[,;]?\s{0,32}(?=\{))|\]\s{0,32})?"
_TAIL = re.compile(r"\s{0,32}" + _FIELDS + _END)
"""The text after the arguments: `, "id": "a1b2c3d4e"}]`, and perhaps the next call."""
_PLAIN_TAIL = re.compile(r"\s{0,32}" + _END)
"""The same without fields, after arguments that may have ended too early."""
MAX_TAIL_CHARS = 1500  # that _TAIL matches
MAX_MISREAD = 100  # openings that begin no call; all further ones are text
MAX_INNER_MARKS = 20  # closing marks that count as parts of values


class CallReader:
    """Extracts the calls from the text of one answer.

    Arguments of JSON calls are streamed, once the first value has begun like JSON; other calls are reported
    when complete. Text that turns out not to be a call stays text. The parts do not depend on how the text is
    split into pieces.
    """

    def __init__(
        self,
        tools: Sequence[Tool],
        forms: Sequence[CallForm] = FORMS,
        *,
        hidden: Collection[str] = (),
        parallel: bool = True,
        bare: bool = True,
    ) -> None:
        """`hidden`: names whose calls stay text. `parallel`: false ends the answer after its first call.
        `bare`: an answer that is only the JSON of a call is a call, even in a fenced block of code."""
        self._tools = {tool.name: tool for tool in tools}
        self._hidden = hidden
        self._forms = [form for form in forms if bare or not form.bare]
        self._openings = tuple(dict.fromkeys(f.opening for f in self._forms if not f.bare))
        self._closings = tuple(dict.fromkeys(f.closing for f in self._forms if f.closing))
        self._parallel = parallel
        self._held = HeldText()
        self._opening: str | None = None
        """The mark before the held text."""
        self._prefix = ""
        """That mark and the spaces before it, until they are reported in a part."""
        self._is_whole = False
        """Whether the held call is reported only when complete."""
        self._inner_marks = 0
        """Closing marks known to be parts of values."""
        self._arguments: StreamedArguments | None = None
        """Reads the arguments being streamed."""
        self._start_checked = not any(form.bare for form in self._forms)
        """Whether the start of the answer has been checked for a bare call."""
        self._fenced: FencedCall | None = None
        """Reads an answer that begins like a bare call in a fenced block."""
        self._after_call = False
        """Whether there was only whitespace since the last call."""
        self._misread = 0
        self._thought_marks: tuple[str, ...] = ()
        self.paused = False
        """Whether the held text begins a thought after a call, which is not read here."""
        self.called = 0
        self.ended = False
        self.plain = False

    @property
    def openings(self) -> tuple[str, ...]:
        """The marks that calls begin with."""
        return self._openings

    def pause_at(self, marks: Sequence[str]) -> None:
        """Pause when one of these opening marks of thoughts directly follows a call."""
        self._thought_marks = tuple(marks)

    def resume(self) -> str:
        """Continue; return the held text, which is not read here."""
        held, self._held.text, self.paused = self._held.text, "", False
        return held

    def push(self, text: str, finish: Finish | None) -> list[Part]:
        parts: list[Part] = []
        last = finish is not None
        if not self._start_checked and self._fenced is not None and not self._fenced.push(text):
            self._held.read_next()
        if not self._held.add(text, last=last):
            return parts
        if not self._start_checked:
            start = self._held.text.lstrip()
            may_be = self._may_be_bare(start) if start else None
            if not last and may_be is not False:
                if may_be:
                    self._held.wait_for(())
                return parts
            self._start_checked = True
            if last and self._read_bare(start, parts):
                return parts
        while not self.ended and self._advance(parts, finish):
            pass
        return parts

    def _read_bare(self, text: str, parts: list[Part]) -> bool:
        """Read an answer that is only calls, without marks."""
        if self._fenced is not None:
            text = self._fenced.json.lstrip() if self._fenced.closed else ""
        found = self._bare_calls(text)
        if found:
            self._call(self._held.text, found, parts)
            self._held.text = ""
        return bool(found)

    def _bare_calls(self, text: str) -> list[ParsedCall]:
        for form in self._forms:
            if form.bare and text.startswith(form.opening):
                found = self._read(form, text)
                if found and all(call.name in self._tools for call in found):
                    return found
        return []

    def _may_be_bare(self, start: str) -> bool | None:
        """Whether an answer with this beginning may be a call without a mark; None: not known yet."""
        if self._fenced is not None:
            return self._fenced.possible
        inner = text_after_fence(start)
        if inner is None:
            return None if may_be_fence(start) else _may_be_bare(start, self._tools)
        may_be = _may_be_bare(inner, {})
        if may_be:
            self._fenced = FencedCall(lambda text: bool(self._bare_calls(text.lstrip())))
            return self._fenced.push(inner)
        return may_be

    def _advance(self, parts: list[Part], finish: Finish | None) -> bool:
        """Read up to the next mark; return whether there was one."""
        if self._after_call and not self._skip_after_call(parts, finish):
            return False
        if self._opening is None:
            return self._read_text(parts, last=finish is not None)
        if self._arguments is not None:
            return self._read_arguments(parts, finish)
        return self._read_call(parts, finish)

    def _skip_after_call(self, parts: list[Part], finish: Finish | None) -> bool:
        """Skip the whitespace and stray closing marks after a call; return whether other text follows that is
        read here."""
        text = self._held.text
        rest = text.lstrip()
        while closing := next(filter(rest.startswith, self._closings), ""):
            rest = rest[len(closing) :].lstrip()
        is_cut = any(mark.startswith(rest) for mark in (*self._closings, *self._thought_marks))
        if rest and finish == "length" and is_cut:
            rest = ""
        parts.append(Part("mark", text[: len(text) - len(rest)]))
        self._held.text = rest
        self.paused = rest.startswith(self._thought_marks) if self._thought_marks else False
        self._after_call = not rest or self.paused or (is_cut and finish is None)
        return not self._after_call

    def _read_text(self, parts: list[Part], *, last: bool) -> bool:
        held = self._held.text
        found = [(held.find(each), -len(each), each) for each in self._openings]
        found = [each for each in found if each[0] >= 0]
        if found:
            at, _, self._opening = min(found)
            self._held.text = held[at + len(self._opening) :]
            text = held[:at].rstrip()
            self._prefix = held[len(text) : at] + self._opening
            self._is_whole, self._inner_marks = False, 0
            if text:
                parts.append(text_part(text))
            return True
        keep = 0 if last else max((overlap(held, each) for each in self._openings), default=0)
        ready = held[: len(held) - keep]
        if not last:
            ready = ready.rstrip()  # spaces before a call are not text
        if ready:
            parts.append(text_part(ready))
        self._held.text = held[len(ready) :]
        return False

    def _read_call(self, parts: list[Part], finish: Finish | None) -> bool:
        """Read a complete call, or start streaming its arguments."""
        assert self._opening is not None
        forms = [form for form in self._forms if form.opening == self._opening]
        if not self._is_whole and any(form.read is read_json for form in forms):
            has_begun = self._begin_arguments(parts)
            if has_begun:
                return True
            self._is_whole = has_begun is False
        else:
            self._is_whole = True
        held = self._held.text
        may_be = any(form.begin is None or form.begin.match(held) for form in forms)
        if not may_be or held.lstrip().startswith(self._opening):
            return self._report_as_text("", parts)
        closings = tuple(dict.fromkeys(form.closing for form in forms if form.closing))
        inner, closing = self._enclosed(forms, closings, last=finish is not None)
        if not closing and finish is None:
            if self._is_whole:
                self._held.wait_for(closings)
            return False
        readable = [form for form in forms if closing or not form.lenient]
        found = next(filter(None, (self._read(form, inner) for form in readable)), [])
        if found:
            self._call(self._prefix + inner + closing, found, parts)
        elif finish == "length" and not closing:
            parts.append(Part("mark", self._prefix + inner))
        else:
            again = inner.find(self._opening)
            return self._report_as_text(inner[:again] if again >= 0 else inner + closing, parts)
        self._opening, self._held.text = None, held[len(inner) + len(closing) :]
        return True

    def _enclosed(
        self, forms: Sequence[CallForm], closings: Sequence[str], *, last: bool
    ) -> tuple[str, str]:
        """The held text up to the call's closing mark, and that mark, empty if it is missing."""
        held = self._held.text
        found = [(m.start(), m[0]) for m in _any_of(closings).finditer(held)] if closings else []
        while self._inner_marks < min(len(found), MAX_INNER_MARKS):
            at, closing = found[self._inner_marks]
            if not _is_in_value(forms, held[:at]):
                return held[:at], closing
            self._inner_marks += 1
        if found and (last or len(found) > MAX_INNER_MARKS):
            return held[: found[0][0]], found[0][1]
        return held, ""

    def _report_as_text(self, written: str, parts: list[Part]) -> bool:
        """Report the opening mark, and the text `written` after it, as text."""
        parts.append(text_part(self._prefix + written))
        self._opening, self._held.text = None, self._held.text[len(written) :]
        self._misread += 1
        if self._misread == MAX_MISREAD:
            self._openings = ()
        return True

    def _begin_arguments(self, parts: list[Part]) -> bool | None:
        """Whether the held text is a call of a known function whose arguments have begun; None: not known
        yet."""
        held = self._held.text
        if held.lstrip()[:1] not in ("", "{", "["):
            return False
        head = _HEAD.match(held)
        if head is None:
            return None if len(held) <= MAX_HEAD_CHARS else False
        try:
            name = json.loads(f'"{head[1]}"')
        except ValueError:
            return False
        if name not in self._tools:
            return False
        has_begun = begins_like_json(held[head.end() : head.end() + MAX_FIRST_KEY_CHARS])
        if has_begun:
            self._arguments = StreamedArguments()
            delta = self._delta(ParsedCall(name, ""))
            parts.append(Part("call", self._prefix + head[0], calls=(delta,)))
            self._prefix = ""
            self._held.text = held[head.end() :]
        return has_begun

    def _read_arguments(self, parts: list[Part], finish: Finish | None) -> bool:
        """Stream arguments, then read the end of the call; return whether there is more to read."""
        arguments, held, last = self._arguments, self._held.text, finish is not None
        assert arguments is not None
        at, written = arguments.push(held)
        self._stream(held[:at], written, parts)
        if not arguments.valid:  # pass invalid JSON on unchanged
            end = self._end_of_call()
            if end < 0 and not last:
                self._wait_for_end()
                return False
            wrong = (self._held.text if end < 0 else self._held.text[:end]).rstrip()
            wrong = wrong.removesuffix("}")
            mended = "" if wrong else arguments.missing()
            self._stream(wrong, mended or arguments.rest() + wrong, parts)
        elif not arguments.over:
            if not last:
                return False
            mended = "" if finish == "length" else arguments.missing()
            self._stream("", mended or arguments.rest(), parts)
        if not self._parallel and not (arguments.over and arguments.has_slips):
            self.ended = True
            return False
        return self._close_call(parts, last=last)

    def _close_call(self, parts: list[Part], *, last: bool) -> bool:
        arguments, held, end = self._arguments, self._held.text, self._end_of_call()
        assert arguments is not None
        tail = (_TAIL if arguments.ends_clearly else _PLAIN_TAIL).match(held)
        has_next = tail is not None and tail["more"] is not None
        if end < 0 and not (has_next or last):
            if len(held) > MAX_TAIL_CHARS:
                self._wait_for_end()
            return False
        at = tail.end() if tail else 0
        parts.append(Part("mark", held[:at]))
        self._arguments = None
        self.ended = not self._parallel
        if has_next:
            self._held.text, self._is_whole = held[at:], False
            return True
        end = max(at, len(held) if end < 0 else end)
        inner, rest = held[at:end], held[end:]
        closing = next(filter(rest.startswith, self._closing_marks()), "")
        is_part = any(each.startswith(inner.strip()) for each in self._closing_marks())
        is_text = not is_part and bool(inner.strip("}] \t\r\n"))
        if is_text and arguments.has_slips and tail is None:  # the object has ended too early
            self._stream(inner, inner.rstrip(), parts)
        elif is_text:
            parts.append(text_part(inner))
        else:
            parts.append(Part("mark", inner))
        parts.append(Part("mark", closing))
        self._opening, self._held.text, self._after_call = None, rest[len(closing) :], True
        return True

    def _closing_marks(self) -> list[str]:
        """The marks that may close the current call."""
        return [f.closing for f in self._forms if f.opening == self._opening and f.closing]

    def _end_of_call(self) -> int:
        """The offset where the current call ends: at a closing mark, or the next call's opening. -1: not in
        the held text."""
        found = [self._held.text.find(mark) for mark in self._end_marks()]
        return min((at for at in found if at >= 0), default=-1)

    def _end_marks(self) -> list[str]:
        assert self._opening is not None
        return [*self._closing_marks(), self._opening]

    def _wait_for_end(self) -> None:
        self._held.wait_for(self._end_marks())

    def _stream(self, source: str, arguments: str, parts: list[Part]) -> None:
        if source or arguments:
            part = ToolCallDelta(self.called - 1, arguments)
            parts.append(Part("call", source, calls=(part,) if arguments else ()))
            self._held.text = self._held.text[len(source) :]

    def _call(self, source: str, found: list[ParsedCall], parts: list[Part]) -> None:
        if not self._parallel:
            found = found[: max(0, 1 - self.called)]
        parts.append(Part("call", source, calls=tuple(self._delta(call) for call in found)))
        self.ended = not self._parallel
        self._after_call = True

    def _read(self, form: CallForm, text: str) -> list[ParsedCall]:
        try:
            calls = form.read(text, self._tools)
        except ValueError:
            return []
        return [] if any(call.name in self._hidden for call in calls) else calls

    def _delta(self, call: ParsedCall) -> ToolCallDelta:
        self.called += 1
        return ToolCallDelta(self.called - 1, call.arguments, new_call_id(), call.name)


@lru_cache(maxsize=64)
def _any_of(marks: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(map(re.escape, marks)))


_QUOTE = re.compile(r'\\.|(")', re.DOTALL)


def _is_in_value(forms: Sequence[CallForm], text: str) -> bool:
    """Whether the end of a call's text is inside a value, so that a closing mark there belongs to the
    value."""
    for form in forms:
        if form.value and form.value[0] in text:
            begin, *ends = form.value
            return text.rfind(begin) > max(text.rfind(each) for each in ends)
    if "{" not in text:
        return False
    return sum(found[1] is not None for found in _QUOTE.finditer(text)) % 2 == 1


def _may_be_bare(text: str, tools: Mapping[str, Tool]) -> bool | None:
    """Whether an answer with this beginning may be a call without a mark; None: not known yet."""
    if not text.startswith("["):
        return _may_be_object(text)
    inner = text[1:].lstrip()
    if len(text) - len(inner) > MAX_BARE_SPACES:
        return False
    if not inner or inner.startswith("{"):
        return _may_be_object(inner) if inner else None
    name = re.match(r"[\w.-]*", inner)
    word = name[0] if name else ""
    if word == inner:
        return None if any(each.startswith(word) for each in tools) else False
    following = inner[len(word) :].lstrip()[:1]
    return False if word not in tools else (following == "(" if following else None)


MAX_BARE_SPACES = 64
_FIRST_KEY = re.compile(
    rf'\{{\s{{0,{MAX_BARE_SPACES}}}(?:"(?P<key>\w*)(?P<closed>")?)?(?P<rest>.?)', re.DOTALL
)


def _may_be_object(text: str) -> bool | None:
    found = _FIRST_KEY.match(text)
    if found is None:
        return False
    key = found["key"]
    if key is None or not found["closed"]:
        may_be = not found["rest"] and any(each.startswith(key or "") for each in KEYS)
        return None if may_be else False
    return key in KEYS
