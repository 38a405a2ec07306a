"""The format of gpt-oss, which puts each part of an answer into a channel: thoughts, calls, and what is said.

Source: OpenAI, "Harmony response format".
"""

from __future__ import annotations

import re
from dataclasses import replace

from ..engines.base import Pieces, ToolCallDelta
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


def channels_apart(pieces: Pieces) -> Pieces:
    """Move thoughts to `reasoning` and calls to `tool_calls`, as they are written."""
    reader = _Channels()
    for piece in pieces:
        if piece is None:
            yield None
            continue
        text, reasoning, calls = reader.push(piece.text, last=piece.finish is not None)
        finish = "tool_calls" if reader.called and piece.finish == "stop" else piece.finish
        yield replace(
            piece,
            text=text,
            reasoning=reasoning,
            tool_calls=tuple(calls),
            logprobs=(),
            finish=finish,
        )


class _Channels:
    """Reads one answer."""

    def __init__(self) -> None:
        self._held = ""
        self._kind: str | None = None
        """What the text is that is being read; None: it stands before a message."""
        self._any = False
        """Whether there was a message."""
        self.called = 0

    def push(self, text: str, *, last: bool) -> tuple[str, str, list[ToolCallDelta]]:
        """What more text adds to the text, to the thoughts, and to the calls."""
        self._held += text
        parts: dict[str, str] = {"text": "", "reasoning": ""}
        calls: list[ToolCallDelta] = []
        while self._held:
            if self._kind is None:
                head, message, rest = self._held.partition(MESSAGE)
                if not message:
                    start = self._held.lstrip()
                    if not (self._any or start[:1] == "<" or "to=".startswith(start[:3])):
                        self._kind = "text"  # an answer in no channel
                        continue
                    if last:  # it was cut before the message
                        self._held = ""
                    break
                self._held, self._any = rest, True
                self._kind = self._kind_of(head, calls)
                continue
            found = [(at, end) for end in ENDS if (at := self._held.find(end)) >= 0]
            if found:
                at, end = min(found)
                self._add(self._held[:at], parts, calls)
                self._held, self._kind = self._held[at + len(end) :], None
                continue
            keep = 0 if last else max(overlap(self._held, end) for end in ENDS)
            self._add(self._held[: len(self._held) - keep], parts, calls)
            self._held = self._held[len(self._held) - keep :]
            break
        return parts["text"], parts["reasoning"], calls

    def _kind_of(self, head: str, calls: list[ToolCallDelta]) -> str:
        function = _FUNCTION.search(head)
        if function:
            calls.append(ToolCallDelta(self.called, "", new_call_id(), function[1]))
            self.called += 1
            return "call"
        channel = _CHANNEL.search(head)
        return "reasoning" if channel and channel[1] == "analysis" else "text"

    def _add(self, text: str, parts: dict[str, str], calls: list[ToolCallDelta]) -> None:
        if self._kind == "call":
            if text:
                calls.append(ToolCallDelta(self.called - 1, text))
        elif self._kind is not None:
            parts[self._kind] += text
