"""The format of gpt-oss, which puts each part of an answer into a channel: thoughts, calls, and text.

Source: OpenAI, "Harmony response format".
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping

from ...engines.protocol import Finish, ToolCallDelta
from ..grammar.lark import literal
from ..stop_strings import overlap
from ..tools.plan import new_call_id
from .held_text import HeldText
from .parts import Kind, Part

START, CHANNEL, MESSAGE = "<|start|>", "<|channel|>", "<|message|>"
ASSISTANT_TURN = f"{START}assistant"
"""What a prompt ends with that wants its answer in this format."""
MESSAGE_ENDS = ("<|end|>", "<|call|>", "<|return|>", START)
MARKS = (START, CHANNEL, MESSAGE, "<|constrain|>", *MESSAGE_ENDS[:3])
FINAL_CHANNEL = f"{CHANNEL}final{MESSAGE}"

_CHANNEL = re.compile(r"<\|channel\|>\s*(\w+)")
_RECIPIENT = re.compile(r"to=(functions\.)?([^\s<]+)")

CALL_BEGIN = " to=functions."
"""What a call begins with behind the assistant's role."""
_CALL_MIDDLE = f"{CHANNEL}commentary json{MESSAGE}"


def strict_heads(names: Iterable[str]) -> re.Pattern[str]:
    """What finds the beginning of a call of one of the functions, up to where its arguments begin; group
    `name` is the name."""
    any_name = "|".join(map(re.escape, names))
    return re.compile(
        rf"to=(?:functions\.)?(?P<name>{any_name})(?![\w.-])[^{{}}]*?<\|message\|>\s*(?=\{{|\Z)"
    )


def demanded_grammar(rules: Mapping[str, str]) -> str:
    """The grammar of one call behind CALL_BEGIN; `rules`: what arguments match, by functions' names."""
    lines = [
        f"call_{at}: {literal(name + _CALL_MIDDLE)} arguments_{at}\narguments_{at}: {rule}"
        for at, (name, rule) in enumerate(rules.items())
    ]
    start = " | ".join(f"call_{at}" for at in range(len(rules)))
    return "\n".join([f"start: {start}", *lines])


class ChannelReader:
    """Takes the channels of one answer apart."""

    plain = False

    def __init__(
        self,
        begun: str = "",
        *,
        tools: Collection[str] = (),
        hidden: Collection[str] = (),
        parallel: bool = True,
    ) -> None:
        """`begun`: what the prompt has of the answer. `tools`: the names of the functions that were offered;
        `hidden`: of those that may not be called. `parallel`: false ends the answer with its first call."""
        self._begun = begun
        self._tools = tools
        self._hidden = hidden
        self._parallel = parallel
        self._held = HeldText()
        self._kind: Kind | None = None
        """What the text is that is being read; None: it stands before a message."""
        self._any = False
        """Whether there was a message."""
        self._is_empty = False
        """Whether nothing of the message's text has come."""
        self._final = False
        """Whether what is being read is the answer itself, which ends with its message."""
        self.called = 0
        self.ended = False
        if begun.endswith(MESSAGE):
            self._begin(begun, "", [])
            self._begun = ""

    def push(self, text: str, finish: Finish | None) -> list[Part]:
        parts: list[Part] = []
        if not self._held.add(text, last=finish is not None):
            return parts
        while self._held.text and not self.ended and self._advance(parts, finish is not None):
            pass
        return parts

    def _advance(self, parts: list[Part], last: bool) -> bool:
        """Read up to the next mark; whether there was one."""
        if self._kind is None:
            return self._read_head(parts, last)
        held = self._held.text
        found = [(at, end) for end in MESSAGE_ENDS if (at := held.find(end)) >= 0]
        if found:
            at, end = min(found)
            self._add(held[:at], parts)
            if self._kind == "call" and self._is_empty:
                parts.append(Part("call", "", calls=(ToolCallDelta(self.called - 1, "{}"),)))
            parts.append(Part("mark", end))
            self.ended = self._final or (not self._parallel and self._kind == "call")
            self._held.text, self._kind = held[at + len(end) :], None
            return True
        keep = 0 if last else max(overlap(held, end) for end in MESSAGE_ENDS)
        ready = held[: len(held) - keep]
        self._add(ready, parts)
        self._held.text = held[len(ready) :]
        return False

    def _read_head(self, parts: list[Part], last: bool) -> bool:
        held = self._held.text
        start = (self._begun + held).lstrip()
        is_head = start.startswith(("<", "to=")) or (not last and "to=".startswith(start))
        if not (self._any or is_head):
            self._kind = "text"  # an answer in no channel
            return True
        head, message, rest = held.partition(MESSAGE)
        if not message:
            if last:  # it was cut before the message
                parts.append(Part("mark", held))
                self._held.text = ""
            elif len(start) >= len("to="):
                self._held.wait_for((MESSAGE,))
            return False
        self._held.text = rest
        self._begin(self._begun + head, head + message, parts)
        self._begun = ""
        return True

    def _begin(self, head: str, source: str, parts: list[Part]) -> None:
        """Begin the message behind a head; `source` is what the model wrote of this."""
        self._any = self._is_empty = True
        recipient, channel = _RECIPIENT.search(head), _CHANNEL.search(head)
        if recipient and self._is_function(*recipient.groups()):
            call = ToolCallDelta(self.called, "", new_call_id(), recipient[2])
            self.called += 1
            self._kind = "call"
            parts.append(Part("call", source, calls=(call,)))
            return
        self._final = bool(channel and channel[1] == "final")
        # What is for a tool of the model's own, like `to=python`, is not shown to the user.
        is_thought = (recipient and not self._final) or (channel and channel[1] == "analysis")
        self._kind = "thought" if is_thought else "text"
        if source:
            parts.append(Part("mark", source))

    def _is_function(self, namespace: str | None, name: str) -> bool:
        if name in self._hidden:
            return False
        return name in self._tools or (bool(self._tools) and namespace is not None)

    def _add(self, text: str, parts: list[Part]) -> None:
        if not text or self._kind is None:
            return
        self._is_empty = False
        if self._kind == "call":
            parts.append(Part("call", text, calls=(ToolCallDelta(self.called - 1, text),)))
        else:
            parts.append(Part(self._kind, text, text))
