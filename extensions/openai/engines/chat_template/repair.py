"""How messages that a template refuses are mended. No mend loses a text.

Each mend is a function of a conversation, and does nothing where there is nothing to do. It looks at the
shape of a conversation only, never at its words, so what mends a conversation of marks mends all of its
shape.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from ..protocol import Message, ToolCall
from ..template_traits import TemplateTraits
from .forms import arguments_of
from .joining import EMPTY_LINE, joined, with_text_behind
from .tools_as_text import history_as_text

Messages = tuple[Message, ...]
Plan = tuple[str, ...]
"""The names of mends, in the order in which they are applied."""


def mended(messages: Sequence[Message], plan: Plan) -> Messages:
    """The conversation after all mends of a plan."""
    found = tuple(messages)
    for name in plan:
        found = MENDS[name](found)
    return found


def _results_behind_calls(messages: Messages) -> Messages:
    """Put each result behind the call that it belongs to, in the order of the calls."""
    calling: dict[str, int] = {}  # some clients use an id again; the last call of it counts
    moved: dict[int, list[Message]] = {}
    for at, message in enumerate(messages):
        calling.update((call.id, at) for call in message.tool_calls)
        caller = calling.get(message.tool_call_id or "")
        if message.role == "tool" and caller is not None:
            moved.setdefault(caller, []).append(message)
    taken = {id(message) for results in moved.values() for message in results}
    found: list[Message] = []
    for at, message in enumerate(messages):
        if id(message) in taken:
            continue
        found.append(message)
        order = [call.id for call in message.tool_calls]
        found += sorted(moved.get(at, ()), key=lambda m: order.index(m.tool_call_id or ""))
    return tuple(found)


def _orphans_as_text(messages: Messages) -> Messages:
    """Make results that belong to no call before them a text of the user."""
    known: set[str] = set()
    found: list[Message] = []
    for message in messages:
        known.update(call.id for call in message.tool_calls)
        orphan = message.role == "tool" and message.tool_call_id not in known
        found += history_as_text([message]) if orphan else [message]
    return tuple(found)


def _thoughts_into_text(messages: Messages) -> Messages:
    """Put a thought before the text of a turn that also calls tools."""
    return tuple(
        replace(
            with_text_behind(
                Message("assistant", m.reasoning), replace(m, tool_calls=()), EMPTY_LINE
            ),
            name=m.name,
            tool_calls=m.tool_calls,
        )
        if m.reasoning and m.tool_calls and (m.content or m.parts)
        else m
        for m in messages
    )


def _arguments_as_objects(messages: Messages) -> Messages:
    """Put arguments that are no JSON object (they were cut, say) into one, as they are."""
    return tuple(
        replace(message, tool_calls=tuple(map(_as_object, message.tool_calls)))
        for message in messages
    )


def _as_object(call: ToolCall) -> ToolCall:
    if isinstance(arguments_of(call.arguments), dict):
        return call
    return replace(call, arguments=json.dumps({"arguments": call.arguments}, ensure_ascii=False))


def _system_first(messages: Messages) -> Messages:
    """Put what the system says to the front, joined by empty lines."""
    system = [message for message in messages if message.role == "system"]
    others = tuple(message for message in messages if message.role != "system")
    if not system:
        return messages
    first = system[0]
    for message in system[1:]:
        first = joined(first, message)
    return (first, *others)


def _neighbours_joined(messages: Messages) -> Messages:
    """Join messages of one role that follow each other. Results of tools stay as they are."""
    found: list[Message] = []
    for message in messages:
        if found and message.role == found[-1].role != "tool":
            found[-1] = joined(found[-1], message)
        else:
            found.append(message)
    return tuple(found)


def _text_before_calls(messages: Messages) -> Messages:
    """Give what is said beside calls a turn of its own before them."""
    found: list[Message] = []
    for message in messages:
        if message.tool_calls and (message.content or message.parts):
            found.append(replace(message, tool_calls=(), reasoning=None))
            message = replace(message, content=None, parts=())
        found.append(message)
    return tuple(found)


def _one_call_each(messages: Messages) -> Messages:
    """Split a turn of several calls into turns of one, each with its own results behind it."""
    found: list[Message] = []
    left = list(_results_behind_calls(messages))
    while left:
        message = left.pop(0)
        if len(message.tool_calls) < 2:
            found.append(message)
            continue
        results: list[Message] = []
        while left and left[0].role == "tool":
            results.append(left.pop(0))
        for at, call in enumerate(message.tool_calls):
            turn = replace(message, tool_calls=(call,))
            found.append(turn if at == 0 else replace(turn, content=None, parts=(), reasoning=None))
            mine = [r for r in results if r.tool_call_id == call.id]
            found += mine
            results = [r for r in results if r.tool_call_id != call.id]
        found += results
    return tuple(found)


def _user_first(messages: Messages) -> Messages:
    """Put an empty message of the user before an answer that has no question."""
    at = 0
    while at < len(messages) and messages[at].role == "system":
        at += 1
    if at < len(messages) and messages[at].role == "user":
        return messages
    return (*messages[:at], Message("user", ""), *messages[at:])


def _question_first(messages: Messages) -> Messages:
    """Put an empty question and answer before what is no question by itself, such as results."""
    at = sum(1 for message in messages if message.role == "system")
    return (*messages[:at], Message("user", ""), Message("assistant", ""), *messages[at:])


def _answer_between(messages: Messages) -> Messages:
    """Put an empty answer between the result of a tool and what the user says next."""
    found: list[Message] = []
    for message in messages:
        if found and found[-1].role == "tool" and message.role == "user":
            found.append(Message("assistant", ""))
        found.append(message)
    return tuple(found)


def _user_last(messages: Messages) -> Messages:
    """Put an empty message of the user behind an answer that is the last message."""
    if messages and messages[-1].role == "assistant":
        return (*messages, Message("user", ""))
    return messages


def _system_into_user(messages: Messages) -> Messages:
    """Put what the system says before what the user says first."""
    messages = _system_first(messages)
    if not messages or messages[0].role != "system":
        return messages
    system, others = replace(messages[0], role="user", name=None), _user_first(messages[1:])
    return (replace(joined(system, others[0]), name=others[0].name), *others[1:])


MENDS: Mapping[str, Callable[[Messages], Messages]] = {
    "results_behind_calls": _results_behind_calls,
    "orphans_as_text": _orphans_as_text,
    "history_as_text": history_as_text,
    "arguments_as_objects": _arguments_as_objects,
    "thoughts_into_text": _thoughts_into_text,
    "system_first": _system_first,
    "neighbours_joined": _neighbours_joined,
    "text_before_calls": _text_before_calls,
    "one_call_each": _one_call_each,
    "user_first": _user_first,
    "question_first": _question_first,
    "answer_between": _answer_between,
    "user_last": _user_last,
    "system_into_user": _system_into_user,
}
"""In the order in which they are applied."""


def plans_for(traits: TemplateTraits) -> list[Plan]:
    """The plans to try on a conversation, the mildest first: as it is; with the mends that the template is
    known to need; with ever more of the others."""
    needed = _needed(traits)
    order = {"results_behind_calls", "orphans_as_text", "system_first", "neighbours_joined",
             "user_first", "answer_between", "user_last"}  # fmt: skip
    turns = {"arguments_as_objects", "thoughts_into_text", "one_call_each", "text_before_calls"}
    plain = {"history_as_text", "system_first", "neighbours_joined", "user_first", "user_last"}
    tried = [set(), needed, needed | {"thoughts_into_text"}, needed | turns, order | needed,
             order | needed | turns, order | turns - {"neighbours_joined"},
             plain, plain | {"system_into_user"}, plain | {"question_first"},
             plain | {"system_into_user", "question_first"}]  # fmt: skip
    plans = [tuple(name for name in MENDS if name in names) for names in tried]
    return list(dict.fromkeys(plans))


def _needed(traits: TemplateTraits) -> set[str]:
    """The mends of what a template was seen to refuse."""
    twice = traits.user_twice and traits.assistant_twice
    if traits.system == "anywhere":
        twice = twice and traits.system_twice
    needed = {
        "orphans_as_text": not traits.result_without_call,
        "history_as_text": not (traits.calls and traits.results),
        "system_first": traits.system != "anywhere",
        "neighbours_joined": not twice,
        "arguments_as_objects": traits.calls and not traits.text_as_arguments,
        "text_before_calls": traits.calls and not traits.text_beside_calls,
        "one_call_each": traits.calls and not traits.parallel_calls,
        "user_first": not traits.assistant_first,
        "answer_between": traits.results and not traits.user_after_result,
        "user_last": not traits.assistant_last,
        "system_into_user": traits.system == "none",
    }
    return {name for name, wanted in needed.items() if wanted}
