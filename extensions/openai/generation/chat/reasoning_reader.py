"""Thoughts: what reasoning models write before they answer, between two tags.

Sample, of most families: `<think>\nLet me see.\n</think>\n\nThe answer is 4.` Where the prompt ends with the
first tag, the answer begins inside of the thought.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from ...engines.protocol import Finish, ThinkingTraits
from ..stop_strings import overlap
from ..tools.reading.reader import CallReader
from .held_text import HeldText
from .parts import Part, PartReader


@dataclass(frozen=True, slots=True)
class ThoughtTags:
    """What stands around a thought."""

    of: str
    """The models that write thoughts so."""
    opening: str
    closing: str
    between: str = ""
    """What stands between a thought and the answer, `closing` among it; empty: as most have it."""

    @property
    def end(self) -> str:
        return self.between or f"\n{self.closing}\n\n"


TAGS: tuple[ThoughtTags, ...] = (
    ThoughtTags("Qwen, DeepSeek and most others", "<think>", "</think>"),
    ThoughtTags("Magistral, Ministral", "[THINK]", "[/THINK]"),
    ThoughtTags("Command A", "<|START_THINKING|>", "<|END_THINKING|>"),
    ThoughtTags("Seed", "<seed:think>", "</seed:think>"),
    ThoughtTags("Kimi-VL", "◁think▷", "◁/think▷"),
    ThoughtTags("Gemma 4", "<|channel>thought\n", "<channel|>"),
    ThoughtTags("LFM, EXAONE 3", "<thought>", "</thought>"),
    ThoughtTags("Cogito, others", "<reasoning>", "</reasoning>"),
)
"""A row for each pair that is known. A template may have another pair."""

DEFAULT = TAGS[0]


@lru_cache(maxsize=32)
def tags_of(traits: ThinkingTraits | None) -> ThoughtTags:
    """The tags of a template; the usual ones where it has none."""
    if traits is None:
        return DEFAULT
    return ThoughtTags("the template's own", traits.opening, traits.closing, traits.end)


def opened_in(prompt: str, own: ThoughtTags) -> ThoughtTags | None:
    """The tags of the thought that a prompt ends in; None where it ends in none."""
    end = prompt.rstrip()
    return next((tags for tags in known(own) if end.endswith(tags.opening.rstrip())), None)


def is_behind_thought(prompt: str, own: ThoughtTags) -> bool:
    """Whether a prompt ends with a thought that is over, as where the template leaves it empty."""
    end = prompt.rstrip()
    return any(end.endswith(tags.closing) for tags in known(own))


@lru_cache(maxsize=32)
def known(own: ThoughtTags) -> tuple[ThoughtTags, ...]:
    """The template's own tags, and all others."""
    return (own, *(tags for tags in TAGS if tags.opening != own.opening))


def closed(prompt: str, opened: ThoughtTags) -> str:
    """The prompt with the thought that it opens left empty."""
    return f"{prompt.rstrip()}\n{opened.end}"


MARKS = tuple(mark for tags in TAGS for mark in (tags.opening.strip(), tags.closing))
"""Special tokens that an engine has to report for a thought to be seen."""


class ThoughtReader:
    """Reads thoughts at the beginning of an answer and right behind its calls; another reader is given all
    else.

    A call that stands in a thought which never ends was meant as a call.
    """

    def __init__(
        self,
        rest: PartReader,
        tags: tuple[ThoughtTags, ...] = TAGS,
        *,
        opened: ThoughtTags | None = None,
        begun: bool = False,
        behind: bool = False,
        call_marks: tuple[str, ...] = (),
    ) -> None:
        """`opened`: the prompt ends inside of a thought, of which there is something where it is `begun`;
        `behind`: it ends behind one. `call_marks` begin calls."""
        self._rest = rest
        self._calls = rest if isinstance(rest, CallReader) else None
        if self._calls is not None:
            self._calls.pause_at([each.opening for each in tags])
        self._tags = tags
        self._opened = opened
        self._call_marks = call_marks
        self._held = HeldText()
        self._inside = opened is not None
        self._begun = begun and opened is not None
        """Whether there is something of the thought."""
        self._outside = False
        """Whether the thought is over, or there was none."""
        self._gap = behind
        """Whether only line ends came behind the thought."""
        self._shown = False
        """Whether there was a thought."""
        self._between = ""
        """What is shown before what comes next of a thought."""

    @property
    def called(self) -> int:
        return self._rest.called

    @property
    def ended(self) -> bool:
        return self._rest.ended

    @property
    def plain(self) -> bool:
        return self._outside and not self._gap and self._rest.plain

    def push(self, text: str, finish: Finish | None) -> list[Part]:
        parts: list[Part] = []
        last = finish is not None
        while True:
            if not self._outside:
                if not self._held.add(text, last=last):
                    return parts
                if not self._begun and not self._begin(parts, last):
                    return parts
                if self._inside and not self._think(parts, finish):
                    return parts
                text, self._held.text = self._held.text, ""
            if self._gap:
                behind = text.lstrip("\n")
                if behind != text:
                    parts.append(Part("mark", text[: len(text) - len(behind)]))
                text, self._gap = behind, not behind
            parts += self._rest.push(text, finish)
            if self._calls is None or not self._calls.paused:
                return parts
            text, self._opened = self._calls.resume(), None
            self._outside = self._begun = self._inside = False
            self._between = "\n\n" if self._shown else ""

    def _begin(self, parts: list[Part], last: bool) -> bool:
        """Read up to the thought's first word; False: more is needed for that."""
        held = self._held.text
        start = held.lstrip()
        if not last and not start:
            return False
        openings = [self._opened] if self._opened else self._tags
        for tags in openings:
            opening = tags.opening.rstrip() if self._opened else tags.opening
            if start.startswith(opening):  # a model may write it though the prompt has
                behind = start[len(opening) :].lstrip("\n")
                if not behind and not last:
                    return False
                self._opened, self._inside = tags, True
                self._skip(len(held) - len(behind), parts)
                break
            if not last and opening.startswith(start):
                return False
        else:
            if self._inside:
                self._skip(len(held) - len(held.lstrip("\n")), parts)
        self._begun = True
        self._outside = not self._inside
        return True

    def _skip(self, size: int, parts: list[Part]) -> None:
        """Take the beginning of what is held as a mark."""
        if size:
            parts.append(Part("mark", self._held.text[:size]))
            self._held.text = self._held.text[size:]

    def _think(self, parts: list[Part], finish: Finish | None) -> bool:
        """Read the thought; whether it is over."""
        assert self._opened is not None
        last = finish is not None
        closing = self._opened.closing
        thought, mark, behind = self._held.text.partition(closing)
        if mark:
            shown = thought.rstrip()
            if shown:
                parts.append(self._thought(shown))
            parts.append(Part("mark", thought[len(shown) :] + mark))
            self._held.text = behind
            self._inside, self._outside, self._gap = False, True, True
            return True
        calls_at = min(
            (at for each in self._call_marks if (at := thought.find(each)) >= 0), default=-1
        )
        if last and calls_at >= 0:
            before = self._rest.called
            found = self._rest.push(thought[calls_at:], finish)
            if self._rest.called > before:
                parts += self._called_in(thought[:calls_at], found)
                self._held.text, self._outside = "", True
                return False
        if last:
            keep = 0
        elif calls_at >= 0:
            keep = len(thought) - calls_at
        else:
            keep = max(overlap(thought, mark) for mark in (closing, *self._call_marks))
        ready = thought[: len(thought) - keep]
        if not last:
            ready = ready.rstrip()  # what stands before the closing tag is no part of the thought
        if ready:
            parts.append(self._thought(ready))
        self._held.text = thought[len(ready) :]
        if calls_at >= 0:
            self._held.wait_for((closing,))
        return False

    def _called_in(self, before: str, found: list[Part]) -> list[Part]:
        """What was read in a thought that never ended: up to the first call it is a thought."""
        first = next(at for at, part in enumerate(found) if part.calls)
        thought = before + "".join(part.source for part in found[:first])
        shown = thought.rstrip()
        text = [self._thought(shown)] if shown else []
        return [*text, Part("mark", thought[len(shown) :]), *found[first:]]

    def _thought(self, text: str) -> Part:
        shown = self._between + text
        self._shown, self._between = True, ""
        return Part("thought", text, shown)
