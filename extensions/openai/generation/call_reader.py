"""Finds the calls in an answer, in the formats of `call_forms`, while it comes in."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from ..engines.base import Finish, Tool, ToolCallDelta
from .call_forms import ARGUMENT_KEYS, FORMS, KEYS, NAME_KEYS, Called, CallForm, read_json
from .json_scanner import JSONScanner
from .parts import Part, text_part
from .stops import overlap
from .tools import new_call_id

_HEAD = re.compile(
    rf'\s*\[?\s*\{{\s*"(?:{"|".join(NAME_KEYS)})"\s*:\s*"((?:[^"\\]|\\.)*)"'
    rf'\s*,\s*"(?:{"|".join(ARGUMENT_KEYS)})"\s*:\s*(?=\{{)'
)
"""A call up to where its arguments begin: `{"name": "get_weather", "arguments": `."""
_TAIL = re.compile(
    r'\s*(?:,\s*"\w+"\s*:\s*(?:"[^"]*"|\w+)\s*)*\}\s*(?:(?P<more>[,;]?\s*(?=\{))|\]\s*)?'
)
"""What stands behind the arguments: `, "id": "a1b2c3d4e"}]`, and maybe the next call."""


class CallReader:
    """Takes calls out of the text of one answer.

    Arguments of JSON calls are passed on while they are written, as soon as the first value has begun like
    JSON; all other calls come whole. What is no call after all stays text.
    """

    def __init__(
        self,
        tools: Sequence[Tool],
        forms: Sequence[CallForm] = FORMS,
        *,
        parallel: bool = True,
        bare: bool = True,
    ) -> None:
        """`parallel`: false ends the answer with its first call. `bare`: a whole answer that is nothing but
        the JSON of a call is one."""
        self._tools = {tool.name: tool for tool in tools}
        self._forms = [form for form in forms if bare or not form.bare]
        self._openings = tuple(dict.fromkeys(f.opening for f in self._forms if not f.bare))
        self._parallel = parallel
        self._held = ""
        self._opening: str | None = None
        """The mark that what is held stands behind."""
        self._prefix = ""
        """That mark and the spaces before it, until they have gone into a part."""
        self._arguments: JSONScanner | None = None
        """Reads the arguments of the call that is being passed on."""
        self._begun = not any(form.bare for form in self._forms)
        """Whether the beginning is known to be no bare call."""
        self.called = 0
        self.ended = False
        self.plain = False

    @property
    def openings(self) -> tuple[str, ...]:
        """The marks that calls begin with."""
        return self._openings

    def push(self, text: str, finish: Finish | None) -> list[Part]:
        self._held += text
        parts: list[Part] = []
        last = finish is not None
        if not self._begun:
            start = self._held.lstrip()
            if not last and (not start or _may_be_bare(start, self._tools)):
                return parts
            self._begun = True
            if last and self._read_bare(start, parts):
                return parts
        while not self.ended and self._advance(parts, finish):
            pass
        return parts

    def _read_bare(self, text: str, parts: list[Part]) -> bool:
        """Read an answer that is nothing but calls, without any mark."""
        for form in self._forms:
            if form.bare and text.startswith(form.opening):
                found = self._read(form, text)
                if found and all(call.name in self._tools for call in found):
                    self._call(self._held, found, parts)
                    self._held = ""
                    return True
        return False

    def _advance(self, parts: list[Part], finish: Finish | None) -> bool:
        """Read up to the next mark; whether there was one."""
        last = finish is not None
        if self._opening is None:
            return self._read_text(parts, last)
        if self._arguments is not None:
            return self._read_arguments(parts, last)
        forms = [form for form in self._forms if form.opening == self._opening]
        if any(form.read is read_json for form in forms) and self._begin_arguments(parts):
            return True
        closing = next((f.closing for f in forms if f.closing and f.closing in self._held), "")
        if not closing and not last:
            return False
        inner, _, rest = self._held.partition(closing) if closing else (self._held, "", "")
        source, self._prefix = self._prefix + inner + closing, ""
        found = next(filter(None, (self._read(form, inner) for form in forms)), [])
        if found:
            trimmed = rest.lstrip()
            self._call(source + rest[: len(rest) - len(trimmed)], found, parts)
            rest = trimmed
        elif finish == "length" and not closing and self._is_begun(inner.lstrip()):
            parts.append(Part("mark", source))
        else:
            parts.append(text_part(source))
        self._opening, self._held = None, rest
        return True

    def _read_text(self, parts: list[Part], last: bool) -> bool:
        found = [(self._held.find(each), -len(each), each) for each in self._openings]
        found = [each for each in found if each[0] >= 0]
        if found:
            at, _, self._opening = min(found)
            before, self._held = self._held[:at], self._held[at + len(self._opening) :]
            text = before.rstrip()
            self._prefix = before[len(text) :] + self._opening
            if text:
                parts.append(text_part(text))
            return True
        keep = 0 if last else max((overlap(self._held, each) for each in self._openings), default=0)
        ready = self._held[: len(self._held) - keep]
        if not last:
            ready = ready.rstrip()  # spaces beside a call are no text
        elif self.called and not ready.strip():
            parts.append(Part("mark", ready))
            ready = ""
        if ready:
            parts.append(text_part(ready))
        self._held = "" if last else self._held[len(ready) :]
        return False

    def _begin_arguments(self, parts: list[Part]) -> bool:
        """Whether what is held is a call of a known function whose arguments have begun."""
        head = _HEAD.match(self._held)
        if head is None:
            return False
        try:
            name = json.loads(f'"{head[1]}"')
        except ValueError:
            return False
        scanner = JSONScanner()
        scanner.push(self._held[head.end() :])
        if name not in self._tools or not scanner.valid or not (scanner.values or scanner.over):
            return False
        self._arguments = JSONScanner()
        source, self._prefix = self._prefix + head[0], ""
        parts.append(Part("call", source, calls=(self._delta(Called(name, "")),)))
        self._held = self._held[head.end() :]
        return True

    def _read_arguments(self, parts: list[Part], last: bool) -> bool:
        """Pass arguments on, then read what closes the call; whether there is more to read."""
        scanner, closing = self._arguments, self._closing()
        assert scanner is not None
        size = scanner.push(self._held)
        self._pass_on(self._held[:size], parts)
        if not scanner.valid:  # what is wrong in their middle is passed on as it was written
            inner, mark, _ = self._held.partition(closing) if closing else (self._held, "", "")
            if not (mark or last):
                return False
            said = inner.rstrip()
            self._pass_on(said[:-1] if said.endswith("}") else said, parts)
        elif not (scanner.over or last):
            return False
        if not self._parallel:
            self.ended = True
            return False
        return self._close_call(closing, parts, last)

    def _close_call(self, closing: str, parts: list[Part], last: bool) -> bool:
        tail = _TAIL.match(self._held)
        if not last and not (
            tail and (tail["more"] is not None or (closing and closing in self._held))
        ):
            return False
        at = tail.end() if tail else 0
        parts.append(Part("mark", self._held[:at]))
        self._held, self._arguments = self._held[at:], None
        if tail and tail["more"] is not None:
            return True
        inner, mark, rest = self._held.partition(closing) if closing else (self._held, "", "")
        if not closing.startswith(inner.strip()):  # what is a part of it was cut
            parts.append(text_part(inner))
            inner = ""
        trimmed = rest.lstrip()
        parts.append(Part("mark", inner + mark + rest[: len(rest) - len(trimmed)]))
        self._opening, self._held = None, trimmed
        return True

    def _is_begun(self, inner: str) -> bool:
        """Whether what stands behind a mark would have become a call, had no limit cut it."""
        names = (name[: len(inner)] for name in self._tools)
        return inner[:1] in ("", "{", "[", "<") or any(inner.startswith(each) for each in names)

    def _closing(self) -> str:
        """The mark that ends the call that is being read; empty where only the end of the answer does."""
        closings = [form.closing for form in self._forms if form.opening == self._opening]
        return next((each for each in closings if each and each in self._held), closings[0])

    def _pass_on(self, arguments: str, parts: list[Part]) -> None:
        if arguments:
            part = ToolCallDelta(self.called - 1, arguments)
            parts.append(Part("call", arguments, calls=(part,)))
            self._held = self._held[len(arguments) :]

    def _call(self, source: str, found: list[Called], parts: list[Part]) -> None:
        if not self._parallel:
            found = found[: max(0, 1 - self.called)]
        parts.append(Part("call", source, calls=tuple(self._delta(call) for call in found)))
        self.ended = not self._parallel

    def _read(self, form: CallForm, text: str) -> list[Called]:
        try:
            return form.read(text, self._tools)
        except ValueError:
            return []

    def _delta(self, call: Called) -> ToolCallDelta:
        self.called += 1
        return ToolCallDelta(self.called - 1, call.arguments, new_call_id(), call.name)


def _may_be_bare(text: str, tools: Mapping[str, Tool]) -> bool:
    """Whether the beginning of an answer may become a call without a mark."""
    if not text.startswith("["):
        return _may_be_object(text)
    inner = text[1:].lstrip()
    if not inner or inner.startswith("{"):
        return not inner or _may_be_object(inner)
    name = re.match(r"[\w.-]*", inner)
    begun = name[0] if name else ""
    if begun == inner:
        return any(each.startswith(begun) for each in tools)
    return begun in tools and inner[len(begun) :].lstrip()[:1] in ("", "(")


_FIRST_KEY = re.compile(r'\{\s*(?:"(?P<key>\w*)(?P<closed>")?)?(?P<rest>.?)', re.DOTALL)


def _may_be_object(text: str) -> bool:
    found = _FIRST_KEY.match(text)
    if found is None:
        return False
    key = found["key"]
    if key is None or not found["closed"]:
        return not found["rest"] and any(each.startswith(key or "") for each in KEYS)
    return key in KEYS
