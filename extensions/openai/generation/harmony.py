"""The format of gpt-oss, which puts each part of an answer into a channel: thoughts, calls, and what is said.

Source: OpenAI, "Harmony response format".
"""

from __future__ import annotations

import re

from ..engines.base import Finish, ToolCallDelta
from .parts import Kind, Part
from .stops import overlap
from .tools import new_call_id

START, CHANNEL, MESSAGE = "<|start|>", "<|channel|>", "<|message|>"
ENDS = ("<|end|>", "<|call|>", "<|return|>", START)
MARKS = (START, CHANNEL, MESSAGE, "<|constrain|>", *ENDS[:3])
FINAL = f"{CHANNEL}final{MESSAGE}"

_CHANNEL = re.compile(r"<\|channel\|>\s*(\w+)")
_FUNCTION = re.compile(r"to=(?:functions\.)?([^\s<]+)")


def is_harmony(prompt: str) -> bool:
    """Whether a prompt wants its answer in this format."""
    return prompt.endswith(f"{START}assistant")


class ChannelReader:
    """Takes the channels of one answer apart."""

    plain = False

    def __init__(self, *, parallel: bool = True) -> None:
        """`parallel`: false ends the answer with its first call."""
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
            start = self._held.lstrip()
            if not (self._any or start[:1] == "<" or "to=".startswith(start[:3])):
                self._kind = "text"  # an answer in no channel
                return True
            if last:  # it was cut before the message
                parts.append(Part("mark", self._held))
                self._held = ""
            return False
        self._held, self._any = rest, True
        function = _FUNCTION.search(head)
        channel = _CHANNEL.search(head)
        if function:
            call = ToolCallDelta(self.called, "", new_call_id(), function[1])
            self.called += 1
            self._kind = "call"
            parts.append(Part("call", head + message, calls=(call,)))
            return True
        self._kind = "thought" if channel and channel[1] == "analysis" else "text"
        self._final = bool(channel and channel[1] == "final")
        parts.append(Part("mark", head + message))
        return True

    def _add(self, text: str, parts: list[Part]) -> None:
        if not text or self._kind is None:
            return
        if self._kind == "call":
            parts.append(Part("call", text, calls=(ToolCallDelta(self.called - 1, text),)))
        else:
            parts.append(Part(self._kind, text, text))
