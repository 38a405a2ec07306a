"""Tries a template with small conversations, to find out what it takes.

Nothing is concluded from names in its source: a text counts as taken when its mark (`marks.py`) is in the
prompt.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any, Literal

from ...errors import InvalidRequest
from ..protocol import Message, Tool, ToolCall
from ..template_traits import CallId, TemplateTraits, ThinkingTraits
from .forms import Forms
from .marks import SAMPLE_CALLS, TOOL, expected, mark
from .program import NO_VARIABLES, Program, TemplateRefused
from .reasoning_probe import probe_thinking
from .sandbox.meter import TemplateTooCostly

USER = Message("user", mark("user"))
AGAIN = Message("user", mark("again"))
SYSTEM = Message("system", mark("system"))
SECOND_SYSTEM = Message("system", mark("second"))
ASSISTANT = Message("assistant", mark("said"))
SECOND_ASSISTANT = Message("assistant", mark("also"))
REASONING_FIELDS = ("reasoning_content", "thinking", "reasoning")
LONG_ID = "call_0123456789abcdef01234567"
SHORT_ID = "abcDEF123"


class Probe:
    """One template, to be tried with conversations of marks."""

    def __init__(self, program: Program) -> None:
        self.program = program

    def text(
        self,
        messages: Sequence[Message],
        forms: Forms,
        tools: Sequence[Tool] = (),
        *,
        answer: bool = True,
        variables: Mapping[str, Any] = NO_VARIABLES,
    ) -> str | None:
        """The prompt; None where the template refuses the conversation."""
        try:
            return self.program.run(messages, forms, tools, variables=variables, answer=answer)
        except (TemplateRefused, TemplateTooCostly):
            return None

    def takes(
        self,
        messages: Sequence[Message],
        forms: Forms,
        tools: Sequence[Tool] = (),
        marks: Iterable[str] | None = None,
    ) -> bool:
        """Whether all texts of a conversation of marks are in its prompt."""
        text = self.text(messages, forms, tools)
        wanted = expected(messages) if marks is None else marks
        return text is not None and all(each in text for each in wanted)


def forms_of(probe: Probe) -> Forms:
    """The forms in which the template takes messages and tools."""
    forms = Forms()
    in_parts = replace(forms, content="parts")
    if not _plain(probe, forms) and _plain(probe, in_parts):
        forms = in_parts
    if not probe.takes([USER], forms, [replace(TOOL, description=None)], [TOOL.name]):
        described = replace(forms, described=True)
        if probe.takes([USER], described, [TOOL], [TOOL.name]):
            forms = described
    forms = _call_forms(probe, forms) or forms
    return replace(forms, reasoning=_reasoning_field(probe, forms) or forms.reasoning)


def traits_of(probe: Probe, forms: Forms) -> TemplateTraits:
    """What the template takes, in these forms."""
    tools = probe.takes([USER], forms, [TOOL], [TOOL.name])
    calls = _call_forms(probe, forms, (forms,)) is not None
    given = [TOOL] if tools else []
    call, result = _call(1), _result(1)
    both = replace(call, tool_calls=call.tool_calls + _call(2).tool_calls)
    spoken = replace(call, content=mark("beside"))
    empty = replace(call, tool_calls=(replace(call.tool_calls[0], arguments=""),))
    cut = replace(call, tool_calls=(replace(call.tool_calls[0], arguments=mark("cut")),))

    def takes(*messages: Message) -> bool:
        return probe.takes(messages, forms, given)

    results = takes(USER, call, result) and _distinct(probe, forms, [USER, call, result], given)
    return TemplateTraits(
        system=_system(probe, forms),
        system_twice=probe.takes([SYSTEM, SECOND_SYSTEM, USER], forms),
        developer=_developer(probe, forms),
        user_twice=probe.takes([USER, AGAIN], forms),
        assistant_first=probe.takes([ASSISTANT, USER], forms),
        assistant_twice=probe.takes([USER, ASSISTANT, SECOND_ASSISTANT, AGAIN], forms),
        assistant_last=probe.takes([USER, ASSISTANT], forms),
        user_after_result=results and takes(USER, call, result, AGAIN),
        result_without_call=takes(USER, ASSISTANT, result, AGAIN),
        tools=tools,
        calls=calls,
        results=results,
        parallel_calls=calls and takes(USER, both, result, _result(2)),
        text_beside_calls=calls and takes(USER, spoken, result),
        empty_arguments=calls and takes(USER, empty, result),
        text_as_arguments=calls and takes(USER, cut, result),
        call_id=forms.call_id,
        arguments=forms.arguments,
        content=forms.content,
        thinking=_thinking(probe, forms),
        turn_ends=turn_ends_of(probe, forms),
        call_sample=_sample(probe, forms, given, SAMPLE_CALLS[:1]) if calls else None,
        two_calls_sample=_sample(probe, forms, given, SAMPLE_CALLS) if calls else None,
    )


def turn_ends_of(probe: Probe, forms: Forms) -> tuple[str, ...]:
    """The texts that end an answer: what stands behind it, and what begins the next message."""
    text = probe.text([USER, ASSISTANT, AGAIN, SECOND_ASSISTANT], forms)
    if text is None:
        return ()
    found = []
    for before, after in ((ASSISTANT, AGAIN), (SECOND_ASSISTANT, None)):
        _, seen, rest = text.partition(before.content or "")
        if not seen:
            return ()
        found.append(_marker(rest.partition(after.content or "")[0] if after else rest))
    return tuple(dict.fromkeys(each for each in found if each))


def _plain(probe: Probe, forms: Forms) -> bool:
    return probe.takes([USER], forms) or probe.takes([SYSTEM, USER], forms, (), [mark("user")])


def _call_forms(probe: Probe, forms: Forms, tried: Iterable[Forms] = ()) -> Forms | None:
    """The first forms in which the template shows an earlier call; None where it shows none."""
    for each in tried or _forms_to_try(forms):
        identifier = SHORT_ID if each.call_id == "9 letters and digits" else LONG_ID
        conversation = [USER, _call(1, identifier), _result(1, identifier)]
        wanted = expected(conversation[1:2])
        for tools in ([TOOL], []):
            text = probe.text(conversation, each, tools)
            # Python's way to write an object shows that JSON text was meant.
            if text and all(m in text for m in wanted) and "{'zqkeyqz'" not in text:
                return each
    return None


def _forms_to_try(forms: Forms) -> Iterable[Forms]:
    arguments: tuple[Literal["object", "text"], ...] = ("object", "text")
    call_ids: tuple[CallId, ...] = ("any", "9 letters and digits", "functions.name:0")
    contents: tuple[Literal["empty", "null", "absent"], ...] = ("empty", "null", "absent")
    for call_id, no_content, form in product(call_ids, contents, arguments):
        yield replace(forms, arguments=form, call_id=call_id, no_content=no_content)


def _reasoning_field(probe: Probe, forms: Forms) -> str | None:
    """The name under which the template shows what the assistant thought in its last turn."""
    thought = mark("thought")
    for name in REASONING_FIELDS:
        each = replace(forms, reasoning=name)
        plain, call = replace(ASSISTANT, reasoning=thought), replace(_call(1), reasoning=thought)
        for messages, answer in (
            ([USER, plain], False),
            ([USER, call, _result(1)], True),
            ([USER, plain, AGAIN], True),
        ):
            if thought in (probe.text(messages, each, answer=answer) or ""):
                return name
    return None


def _thinking(probe: Probe, forms: Forms) -> ThinkingTraits | None:
    def rendered(messages: Sequence[Message], variables: Mapping[str, Any]) -> str:
        try:
            return probe.program.run(messages, forms, variables=variables)
        except (TemplateRefused, TemplateTooCostly) as error:
            raise InvalidRequest(str(error)) from None

    return probe_thinking(rendered)


def _system(probe: Probe, forms: Forms) -> Literal["none", "first", "anywhere"]:
    if not (probe.takes([SYSTEM, USER], forms) and _distinct(probe, forms, [SYSTEM, USER])):
        return "none"
    for messages in ([SYSTEM, USER, ASSISTANT, SECOND_SYSTEM, AGAIN], [USER, SYSTEM]):
        if not (probe.takes(messages, forms) and _distinct(probe, forms, messages)):
            return "first"
    return "anywhere"


def _distinct(
    probe: Probe, forms: Forms, messages: list[Message], tools: Sequence[Tool] = ()
) -> bool:
    """Whether messages of the system and of tools are shown otherwise than those of the user and the
    assistant."""
    prompt = probe.text(messages, forms, tools)
    for at, message in enumerate(messages):
        for role in ("user", "assistant"):
            other = replace(message, role=role, tool_call_id=None)
            swapped = [*messages[:at], other, *messages[at + 1 :]]
            if message.role in ("system", "tool") and prompt == probe.text(swapped, forms, tools):
                return False
    return True


def _developer(probe: Probe, forms: Forms) -> bool:
    developer = replace(SYSTEM, role="developer")  # type: ignore[arg-type]  # not one of Message's roles
    return probe.takes([developer, USER], forms)


def _call(number: int, identifier: str = "") -> Message:
    name, value = mark(f"name{number}"), mark(f"value{number}")
    arguments = f'{{"zqkeyqz": "{value}"}}'
    call = ToolCall(identifier or f"abcDEF12{number}", name, arguments)
    return Message("assistant", None, tool_calls=(call,))


def _result(number: int, identifier: str = "") -> Message:
    return Message("tool", mark(f"result{number}"), tool_call_id=identifier or f"abcDEF12{number}")


def _sample(
    probe: Probe, forms: Forms, tools: Sequence[Tool], calls: tuple[ToolCall, ...]
) -> str | None:
    """What a template writes for a turn that calls tools, without what begins each turn."""
    turn = Message("assistant", None, tool_calls=calls)
    whole = probe.text([USER, turn], forms, tools, answer=False)
    spoken = probe.text([USER, ASSISTANT], forms, tools, answer=False)
    if whole is None or spoken is None or not all(call.name in whole for call in calls):
        return None
    pairs = enumerate(zip(whole, spoken, strict=False))
    sample = whole[next((at for at, (a, b) in pairs if a != b), 0) :]
    return sample if calls[0].name in sample else None


def _marker(text: str) -> str:
    """The first thing in a text that an answer would hardly say by itself."""
    stripped = text.strip()
    for opening, closing in ("<>", "[]", "{}", "()"):
        if stripped.startswith(opening) and closing in stripped:
            return stripped.partition(closing)[0] + closing
    head, colon, _ = text.partition(":")
    return head + colon if colon and head.strip() else ""
