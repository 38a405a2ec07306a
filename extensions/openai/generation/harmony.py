"""The format of gpt-oss, which puts each part of an answer into a channel: thoughts, calls, and what is said.

Source: OpenAI, "Harmony response format".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from ..engines.base import Finish, ToolCallDelta
from .grammar.lark import literal
from .parts import Kind, Part
from .stops import overlap
from .tools import new_call_id

START, CHANNEL, MESSAGE = "<|start|>", "<|channel|>", "<|message|>"
ENDS = ("<|end|>", "<|call|>", "<|return|>", START)
MARKS = (START, CHANNEL, MESSAGE, "<|constrain|>", *ENDS[:3])
FINAL = f"{CHANNEL}final{MESSAGE}"

_CHANNEL = re.compile(r"<\|channel\|>\s*(\w+)")
_FUNCTION = re.compile(r"to=(?:functions\.)?([^\s<]+)")


CALL = " to=functions."
"""What a call begins with behind the assistant's role."""
_CALL_MIDDLE = f"{CHANNEL}commentary json{MESSAGE}"


def strict_heads(names: Iterable[str]) -> re.Pattern[str]:
    """What finds the beginning of a call of one of the functions, up to where its arguments begin; group 1 is
    the name."""
    any_name = "|".join(map(re.escape, names))
    return re.compile(
        rf"to=(?:functions\.)?({any_name})(?![\w.-])[^{{}}]*?<\|message\|>\s*(?=\{{|\Z)"
    )


def demanded_grammar(rules: Mapping[str, str]) -> str:
    """The grammar of one call behind CALL; `rules` are what arguments match, by the functions' names."""
    lines = [
        f"call_{at}: {literal(name + _CALL_MIDDLE)} arguments_{at}\narguments_{at}: {rule}"
        for at, (name, rule) in enumerate(rules.items())
    ]
    start = " | ".join(f"call_{at}" for at in range(len(rules)))
    return "\n".join([f"start: {start}", *lines])


def is_harmony(prompt: str) -> bool:
    """Whether a prompt wants its answer in this format."""
    return prompt.endswith(f"{START}assistant")


class ChannelReader:
    """Takes the channels of one answer apart."""

    plain = False

    def __init__(self, begun: str = "", *, parallel: bool = True) -> None:
        """`begun`: what the prompt has of the answer. `parallel`: false ends the answer with its first
        call."""
        self._begun = begun
        self._parallel = parallel
        self._held = ""
        self._kind: Kind | None = None
        """What the text is that is being read; None: it stands before a message."""
        self._any = False
        """Whether there was a message."""
        self._final = False
        """Whether what is being read is the answer itself, which ends with its message."""
        self.called = 0
        self.ended = False
        if begun.endswith(MESSAGE):
            self._begin(begun, "", [])
            self._begun = ""

    def push(self, text: str, finish: Finish | None) -> list[Part]:
        self._held += text
        parts: list[Part] = []
        while self._held and not self.ended and self._advance(parts, finish is not None):
            pass
        return parts

    def _advance(self, parts: list[Part], last: bool) -> bool:
        """Read up to the next mark; whether there was one."""
        if self._kind is None:
            return self._read_head(parts, last)
        found = [(at, end) for end in ENDS if (at := self._held.find(end)) >= 0]
        if found:
            at, end = min(found)
            self._add(self._held[:at], parts)
            parts.append(Part("mark", end))
            self.ended = self._final or (not self._parallel and self._kind == "call")
            self._held, self._kind = self._held[at + len(end) :], None
            return True
        keep = 0 if last else max(overlap(self._held, end) for end in ENDS)
        ready = self._held[: len(self._held) - keep]
        self._add(ready, parts)
        self._held = self._held[len(ready) :]
        return False

    def _read_head(self, parts: list[Part], last: bool) -> bool:
        head, message, rest = self._held.partition(MESSAGE)
        if not message:
            start = (self._begun + self._held).lstrip()
            if not (self._any or start[:1] == "<" or "to=".startswith(start[:3])):
                self._kind = "text"  # an answer in no channel
                return True
            if last:  # it was cut before the message
                parts.append(Part("mark", self._held))
                self._held = ""
            return False
        self._held = rest
        self._begin(self._begun + head, head + message, parts)
        self._begun = ""
        return True

    def _begin(self, head: str, source: str, parts: list[Part]) -> None:
        """Begin the message behind a head; `source` is what the model wrote of this."""
        self._any = True
        function, channel = _FUNCTION.search(head), _CHANNEL.search(head)
        if function:
            call = ToolCallDelta(self.called, "", new_call_id(), function[1])
            self.called += 1
            self._kind = "call"
            parts.append(Part("call", source, calls=(call,)))
            return
        self._kind = "thought" if channel and channel[1] == "analysis" else "text"
        self._final = bool(channel and channel[1] == "final")
        if source:
            parts.append(Part("mark", source))

    def _add(self, text: str, parts: list[Part]) -> None:
        if not text or self._kind is None:
            return
        if self._kind == "call":
            parts.append(Part("call", text, calls=(ToolCallDelta(self.called - 1, text),)))
        else:
            parts.append(Part(self._kind, text, text))
