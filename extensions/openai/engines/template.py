"""Chat templates: the text that a model was taught to read conversations in, as Jinja."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

from jinja2 import Template, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from ..errors import InvalidRequest
from .base import ChatRequest, Message, Tool

MARK = "\N{MIDLINE HORIZONTAL ELLIPSIS}"  # no template says it


def render(source: str, request: ChatRequest, fixed: Mapping[str, Any]) -> str:
    """The prompt for a conversation, up to where the answer begins. `fixed` are variables that win over
    those of the request.

    Raises InvalidRequest when the template refuses the messages, or is none.
    """
    variables = {
        "messages": [_message(message) for message in request.messages],
        "tools": [_tool(tool) for tool in request.tools] or None,
        "add_generation_prompt": True,
    }
    try:
        text = _compiled(source).render(**{**request.template_variables, **fixed, **variables})
    except (TemplateError, TypeError, ValueError, KeyError, AttributeError) as error:
        raise InvalidRequest(
            f"The chat template cannot take these messages: {error}", param="messages"
        ) from None
    return str(text)


def turn_ends(source: str, fixed: Mapping[str, Any]) -> tuple[str, ...]:
    """The texts that end an answer: what stands behind it, and what begins the next message.

    Empty for a template that tells of none.
    """
    turns: tuple[Message, ...] = tuple(
        Message(role, MARK) for role in ("user", "assistant", "user", "assistant")
    )
    try:
        text = render(source, ChatRequest(turns, template_variables={}), fixed)
    except InvalidRequest:
        return ()
    parts = text.split(MARK)
    if len(parts) != len(turns) + 1:
        return ()
    # Behind an answer comes its end, then what begins the next message; either may be empty.
    found = [_marker(parts[2]), _marker(parts[4])]
    return tuple(dict.fromkeys(each for each in found if each))


def from_old_form(form: Mapping[str, Any]) -> str:
    """A template as webuis had them before Jinja, as Jinja: `user`, `bot`, `turn_template`, `context`."""
    asked, _, answered = str(form["turn_template"]).partition("<|bot|>")

    def part(text: str) -> str:
        for mark in ("user", "bot"):
            text = text.replace(f"<|{mark}|>", str(form.get(mark) or ""))
        return "{{ " + json.dumps(text, ensure_ascii=False) + " }}"

    before, _, behind = asked.partition("<|user-message|>")
    opening, _, closing = f"<|bot|>{answered}".partition("<|bot-message|>")
    return "".join(
        (
            "{% if messages[0].role != 'system' %}" + part(str(form.get("context") or "")),
            "{% endif %}{% for m in messages %}{% if m.role == 'user' %}",
            part(before) + "{{ m.content }}" + part(behind),
            "{% elif m.role == 'assistant' %}" + part(opening) + "{{ m.content }}" + part(closing),
            "{% else %}{{ m.content }}" + part("\n\n") + "{% endif %}{% endfor %}",
            "{% if add_generation_prompt %}" + part(opening.rstrip(" ")) + "{% endif %}",
        )
    )


def _marker(text: str) -> str:
    """The first thing in a text that an answer would hardly say by itself."""
    stripped = text.strip()
    for opening, closing in ("<>", "[]", "{}", "()"):
        if stripped.startswith(opening) and closing in stripped:
            return stripped.partition(closing)[0] + closing
    head, colon, _ = text.partition(":")
    return head + colon if colon and head.strip() else ""


def _message(message: Message) -> dict[str, Any]:
    found: dict[str, Any] = {"role": message.role, "content": message.content or ""}
    if message.reasoning is not None:
        found["reasoning_content"] = message.reasoning
    if message.name is not None:
        found["name"] = message.name
    if message.tool_calls:
        found["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": _arguments(call.arguments)},
            }
            for call in message.tool_calls
        ]
    if message.tool_call_id is not None:
        found["tool_call_id"] = message.tool_call_id
    return found


class _Arguments(dict[str, Any]):
    """Some templates want an object, others put JSON text together."""

    def __str__(self) -> str:
        return json.dumps(self, ensure_ascii=False)

    def __add__(self, other: str) -> str:
        return str(self) + other

    def __radd__(self, other: str) -> str:
        return other + str(self)


def _arguments(text: str) -> Any:
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        return text
    return _Arguments(value) if isinstance(value, dict) else text


def _tool(tool: Tool) -> dict[str, Any]:
    return {
        "type": "function",
        "function": {
            "name": tool.name,
            "description": tool.description or "",
            "parameters": dict(tool.parameters),
        },
    }


@lru_cache(maxsize=16)
def _compiled(source: str) -> Template:
    return _environment().from_string(source)


@lru_cache(maxsize=1)
def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return environment


def _to_json(value: Any, indent: int | None = None, **_: Any) -> str:
    # Jinja's own escapes what HTML would take for markup.
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _refuse(message: str) -> str:
    raise TemplateError(message)


def mentions(source: str, words: Sequence[str]) -> bool:
    """Whether a template knows of any of these variables."""
    return any(word in source for word in words)
