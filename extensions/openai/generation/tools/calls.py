"""The calls of an answer, in the shapes of the reference: tools, custom tools, and the older form."""

from __future__ import annotations

import re
from typing import Any, Literal

import orjson
from pydantic_core import from_json
from typing_extensions import NotRequired, Required, TypedDict

from ...engines.protocol import ToolCallDelta
from ..events import Event
from .plan import ToolPlan, new_call_id

CallFinish = Literal["stop", "length", "tool_calls", "function_call"]
"""Why an answer ended, in the terms of chat."""


class FunctionDelta(TypedDict, total=False):
    """A part of a function's call."""

    name: str
    arguments: str


class CustomDelta(TypedDict, total=False):
    """A part of a custom tool's call."""

    name: str
    input: str


class ToolCallChunk(TypedDict, total=False):
    """A part of a call; `id`, `type` and the name are on the first part only."""

    index: Required[int]
    id: str
    type: Literal["function", "custom"]
    function: FunctionDelta
    custom: CustomDelta


class CallDelta(TypedDict, total=False):
    """The part of a chunk about calls."""

    tool_calls: list[ToolCallChunk]
    function_call: FunctionDelta


class MessageFunctionCall(TypedDict):
    """A function's name, and its arguments as JSON text."""

    name: str
    arguments: str


class MessageCustomCall(TypedDict):
    """A custom tool's name, and its input."""

    name: str
    input: str


class MessageToolCall(TypedDict):
    """A call that the model made."""

    id: str
    type: Literal["function", "custom"]
    function: NotRequired[MessageFunctionCall]
    custom: NotRequired[MessageCustomCall]


class MessageCalls(TypedDict):
    """A message's calls."""

    tool_calls: NotRequired[list[MessageToolCall]]
    function_call: NotRequired[MessageFunctionCall]


class ToolCallWriter:
    """Tool calls in the reference's shapes: functions in deltas, custom tools in one."""

    def __init__(self, plan: ToolPlan) -> None:
        self._plan = plan
        self._custom: dict[tuple[int, int], list[str]] = {}
        self._called: set[int] = set()

    def write(self, event: Event) -> list[CallDelta]:
        """The deltas of an event's calls. A custom tool's input is text inside JSON, so it is sent in one
        delta, once the answer is complete."""
        deltas: list[CallDelta] = []
        for part in event.tool_calls:
            self._called.add(event.index)
            place = event.index, part.index
            if part.name in self._plan.custom:
                self._custom[place] = [part.id or new_call_id(), part.name or "", ""]
            if place in self._custom:
                self._custom[place][2] += part.arguments
            elif self._plan.legacy:
                deltas.append({"function_call": _function(part)})
            else:
                deltas.append({"tool_calls": [_tool_call(part)]})
        if event.finish:
            for place in [place for place in self._custom if place[0] == event.index]:
                deltas.append({"tool_calls": [_custom_call(place[1], *self._custom.pop(place))]})
        return deltas

    def finish(self, event: Event) -> CallFinish | None:
        """Why the choice ended, in the terms of the request's form."""
        if event.finish != "length" and event.index in self._called:
            return "function_call" if self._plan.legacy else "tool_calls"
        return event.finish


def _function(part: ToolCallDelta) -> FunctionDelta:
    function: FunctionDelta = {"arguments": part.arguments}
    return {"name": part.name, **function} if part.name is not None else function


def _tool_call(part: ToolCallDelta) -> ToolCallChunk:
    if part.name is None:
        return {"index": part.index, "function": _function(part)}
    return {
        "index": part.index,
        "id": part.id or new_call_id(),
        "type": "function",
        "function": _function(part),
    }


def _custom_call(index: int, id: str, name: str, arguments: str) -> ToolCallChunk:
    return {
        "index": index,
        "id": id,
        "type": "custom",
        "custom": {"name": name, "input": custom_input(arguments)},
    }


def custom_input(arguments: str) -> str:
    """The input of a custom tool, from the arguments that the model wrote."""
    try:
        decoded = orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return _partial_input(arguments)
    # Without a grammar a model may have written any JSON.
    has_input = isinstance(decoded, dict) and "input" in decoded
    return _input_text(decoded["input"]) if has_input else arguments


def arguments_object(text: str) -> dict[str, Any]:
    """The arguments of a call; of one that a limit on tokens has cut as much as there is."""
    try:
        found = from_json(text, allow_partial=True) if text.strip() else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _input_text(value: object) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


_PARTIAL_INPUT = re.compile(r'\s*\{\s*"input"\s*:\s*"(.*)', re.DOTALL)


def _partial_input(arguments: str) -> str:
    """The input in arguments that are not JSON: a token limit has cut them, or the model wrote the input
    without quotes."""
    found = _PARTIAL_INPUT.match(arguments)
    if found is None:
        return "" if arguments.lstrip().startswith("{") else arguments
    partial = found[1]
    for cut in range(len(partial), max(-1, len(partial) - 6), -1):  # it may end inside an escape
        try:
            return str(orjson.loads(f'"{partial[:cut]}"'))
        except orjson.JSONDecodeError:
            continue
    return arguments


class CallFold:
    """Adds up the calls of one message."""

    def __init__(self) -> None:
        self._calls: dict[int, MessageToolCall] = {}
        self._function: MessageFunctionCall | None = None

    def add(self, delta: CallDelta) -> None:
        for call in delta.get("tool_calls", ()):
            self._add_call(call)
        if "function_call" in delta:
            part = delta["function_call"]
            if self._function is None:
                self._function = {"name": part.get("name", ""), "arguments": ""}
            self._function["arguments"] += part.get("arguments", "")

    def _add_call(self, call: ToolCallChunk) -> None:
        if "custom" in call:
            custom = call["custom"]
            self._calls[call["index"]] = {
                "id": call["id"],
                "type": "custom",
                "custom": {"name": custom["name"], "input": custom["input"]},
            }
            return
        function = call["function"]
        if "id" in call:
            self._calls[call["index"]] = {
                "id": call["id"],
                "type": "function",
                "function": {"name": function["name"], "arguments": ""},
            }
        self._calls[call["index"]]["function"]["arguments"] += function.get("arguments", "")

    def whole(self) -> MessageCalls:
        """The message's keys about calls; empty if there were none."""
        calls: MessageCalls = {}
        if self._calls:
            calls["tool_calls"] = [self._calls[index] for index in sorted(self._calls)]
        if self._function is not None:
            calls["function_call"] = self._function
        return calls


def as_delta(calls: MessageCalls) -> CallDelta:
    """The calls of a whole message as one delta."""
    delta: CallDelta = {}
    if "tool_calls" in calls:
        numbered = enumerate(calls["tool_calls"])
        delta["tool_calls"] = [{"index": index, **call} for index, call in numbered]  # type: ignore[typeddict-item]
    if "function_call" in calls:
        delta["function_call"] = {**calls["function_call"]}
    return delta
