"""The format of a model's calls, learned from the calls that its template writes into prompts.

Known formats are rows of `formats.FORMS`; others are derived here from the template's sample:
`[call find_places]{"city": "Oslo", "limit": 3}[/call]`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from ....engines.chat_template import SAMPLE_CALLS
from ....engines.protocol import EngineInfo, Tool
from .formats import FORMS, MARKS, CallForm, Read, named, read_json, tagged
from .reader import CallReader

_NAME = SAMPLE_CALLS[0].name
_ARGUMENTS = json.loads(SAMPLE_CALLS[0].arguments)
_KEYS, _VALUES = list(_ARGUMENTS), [str(value) for value in _ARGUMENTS.values()]
_TOOLS = tuple(Tool(call.name, None, {"type": "object"}) for call in SAMPLE_CALLS)
MARK = re.compile(r"<[^<>\s]+>|\[[A-Z_/]+\]")


@dataclass(frozen=True, slots=True)
class CallShape:
    """The text of a call around its name and its arguments."""

    begin: str
    """Before the name."""
    middle: str
    """Between the name and the arguments."""
    end: str
    """After the arguments."""
    tags: tuple[str, str, str] | None = None
    """Before a key, between it and its value, and after the value; None: the arguments are JSON."""


@dataclass(frozen=True, slots=True)
class AnswerFormat:
    """The format of answers under one template."""

    forms: tuple[CallForm, ...] = FORMS
    """The formats of calls to look for, the template's own first."""
    marks: tuple[str, ...] = MARKS
    """Special tokens to report as text, because calls consist of them."""
    shape: CallShape | None = None
    """The template's own; None: it shows no calls, or their format could not be learned."""
    bare: bool = False
    """Calls have no marks."""


def format_of(info: EngineInfo) -> AnswerFormat:
    """The format under the loaded model's template."""
    traits = info.template
    if traits is None or traits.call_sample is None:
        return AnswerFormat()
    return _format(traits.call_sample, traits.turn_ends)


@lru_cache(maxsize=32)
def _format(sample: str, turn_ends: Sequence[str]) -> AnswerFormat:
    ends = [at for each in turn_ends if each.strip() and (at := sample.find(each.strip())) > 0]
    sample = sample[: min(ends, default=len(sample))].strip()
    shape = _shape_of(sample)
    bare = sample.startswith(("{", "[{"))
    if _reads(FORMS, sample):
        return AnswerFormat(shape=shape, bare=bare)
    form = _form_of(shape) if shape else None
    if form is None or not _reads([form], sample):
        return AnswerFormat()
    marks = (*MARKS, form.opening, form.closing, *MARK.findall(sample))
    return AnswerFormat((form, *FORMS), marks, shape)


def _reads(forms: Sequence[CallForm], sample: str) -> bool:
    """Whether the sample is read correctly."""
    reader = CallReader(_TOOLS, forms)
    parts = reader.push(sample, "stop")
    calls = [call for part in parts for call in part.calls]
    if [call.name for call in calls if call.name] != [_NAME]:
        return False
    try:
        decoded = json.loads("".join(call.arguments for call in calls))
    except ValueError:
        return False
    return {key: str(value) for key, value in decoded.items()} == dict(
        zip(_KEYS, _VALUES, strict=True)
    )


def _shape_of(sample: str) -> CallShape | None:
    begin, name, rest = sample.partition(_NAME)
    if not name:
        return None
    decoder = json.JSONDecoder()
    for found in re.finditer(r"\{", rest):
        try:
            value, end = decoder.raw_decode(rest, found.start())
        except ValueError:
            continue
        if value == _ARGUMENTS:
            return CallShape(begin, rest[: found.start()], rest[end:])
    return _tagged_shape(begin, rest)


def _tagged_shape(begin: str, rest: str) -> CallShape | None:
    """Sample of `rest`: `<key>city</key><value>Oslo</value><key>limit</key><value>3</value></call>`."""
    between: list[str] = []
    for word in (_KEYS[0], _VALUES[0], _KEYS[1], _VALUES[1]):
        before, found, rest = rest.partition(word)
        if not found:
            return None
        between.append(before)
    head, to_value, gap, to_value_again = between
    if to_value != to_value_again or not to_value:
        return None
    size = next((n for n in range(len(head), 0, -1) if gap.endswith(head[-n:])), 0)
    before_key = head[len(head) - size :]
    after_value = gap[: len(gap) - len(before_key)]
    if not before_key or not after_value or not rest.startswith(after_value):
        return None
    middle = head[: len(head) - len(before_key)]
    return CallShape(begin, middle, rest[len(after_value) :], (before_key, to_value, after_value))


def _own_form(opening: str, closing: str, read: Read, value: tuple[str, ...] = ()) -> CallForm:
    return CallForm("the template's own", opening, closing, read, value=value, begin=None)


def _form_of(shape: CallShape) -> CallForm | None:
    """A row for a format without one."""
    enclosed = shape.begin.partition("{")
    if shape.tags is None and enclosed[1]:  # the name is in the JSON
        opening, closing = enclosed[0].strip(), shape.end.rpartition("}")[2].strip()
        return _own_form(opening, closing, read_json) if opening else None
    mark = MARK.match(shape.begin)
    opening = mark[0] if mark else shape.begin.strip()
    last = list(MARK.finditer(shape.end))
    closing = last[-1][0] if last and shape.end.rstrip().endswith(last[-1][0]) else ""
    if not opening:
        return None
    inner = re.escape(shape.begin[len(opening) :].strip())
    end = re.escape(shape.end[: len(shape.end.rstrip()) - len(closing)].strip())
    if shape.tags is None:
        middle = re.escape(shape.middle.strip())
        return _own_form(
            opening,
            closing,
            named(rf"{inner}\s*(.*?)\s*{middle}\s*(\{{.*\}})\s*{end}"),
        )
    before_key, to_value, after_value = map(re.escape, shape.tags)
    middle = re.escape(shape.middle)
    return _own_form(
        opening,
        closing,
        tagged(
            rf"{inner}(.*?){middle}((?:{before_key}.*?{after_value})*){end}",
            rf"{before_key}(.*?){to_value}(.*?){after_value}",
        ),
        (shape.tags[1], shape.tags[2]),
    )
