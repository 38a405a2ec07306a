"""Prompts as the cache compares them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ...protocol import GenerateRequest

BYTES_PER_TOKEN = 4  # a rough mean, for texts that were not tokenized
LONG_TEXT = 1000
"""Letters. A longer text is tokenized here, so that others can wait for its beginning."""
LONG_FOR_CHOICES = 100
"""The same for a text that several choices continue."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt, or what a slot holds: its text, its tokens, or both. The tokens may end before the text."""

    space: str = ""
    """Prompts of different spaces share nothing."""
    text: str = ""
    ids: tuple[int, ...] = ()

    @property
    def size(self) -> int:
        """How many tokens it has; estimated where only the text is known."""
        return max(len(self.ids), len(self.text) // BYTES_PER_TOKEN)

    def shared_with(self, other: Prompt) -> int:
        """How many tokens both begin with; estimated where only texts are known."""
        if self.space != other.space:
            return 0
        tokens = shared_length(self.ids, other.ids)
        if not (self.text and other.text) or tokens < min(len(self.ids), len(other.ids)):
            return tokens
        letters = shared_length(self.text, other.text)
        known = self if self.ids else other
        if known.ids:
            return max(tokens, letters * len(known.ids) // max(1, len(known.text)))
        return letters // BYTES_PER_TOKEN

    def begins(self, other: Prompt) -> bool:
        """Whether the other begins with all of this one."""
        if self.space != other.space:
            return False
        if self.text and other.text:
            return other.text.startswith(self.text)
        return bool(self.ids) and other.ids[: len(self.ids)] == self.ids

    def goes_on_with(self, held: Prompt, least: int) -> bool:
        """Whether it is the next turn of the conversation that is held, and not of one that begins alike: it
        has all of it but less than `least` tokens."""
        return held.size > 0 and held.size - self.shared_with(held) < least

    def cut(self, tokens: int) -> Prompt:
        """Its first tokens, which must be known."""
        return Prompt(self.space, "", self.ids[:tokens])


EMPTY = Prompt()


@dataclass(frozen=True, slots=True)
class RequestPrompt:
    """A prompt and how it may be shared."""

    prompt: Prompt
    space: str
    """Where others find it later."""
    choices: int = 1
    """How many answers to it are about to begin."""
    movable: bool = True
    """Whether a copy of it can be made."""
    exact: bool = False
    """Whether it must be read in the same way each time: only choices of the same request share it."""
    on_progress: Callable[[Mapping[str, int]], None] | None = field(default=None, compare=False)
    """See CacheUse."""


def request_prompt(
    request: GenerateRequest,
    prompt: str | tuple[int, ...],
    tokenize: Callable[[str], tuple[int, ...]],
    *,
    media_mark: str = "",
    by_tokens: bool = False,
) -> RequestPrompt:
    """`prompt` is that of the request, maybe tokenized. `by_tokens`: it must be."""
    use = request.cache
    choices = 1 if request.answer_prefix_length else use.choices
    # A request with a seed must get the same answer every time; a prompt that was read in other parts differs
    # in the last bit.
    exact = request.seed is not None and not request.answer_prefix_length
    space = f"{use.space}\0{use.group}" if exact and choices > 1 else use.space
    text = request.prompt if isinstance(request.prompt, str) else ""
    if request.media:
        return RequestPrompt(
            Prompt(space, _with_digests(text, media_mark, request)),
            use.space,
            movable=False,
            exact=exact,
            on_progress=use.on_progress,
        )
    ids: tuple[int, ...] = ()
    if not isinstance(prompt, str):
        ids = tuple(prompt)
    elif (
        by_tokens
        or (choices > 1 and len(prompt) > LONG_FOR_CHOICES)
        or (not exact and len(prompt) > LONG_TEXT)
    ):
        ids = tokenize(prompt)
    return RequestPrompt(
        Prompt(space, text, ids), use.space, choices, exact=exact, on_progress=use.on_progress
    )


def _with_digests(text: str, mark: str, request: GenerateRequest) -> str:
    """The text of a prompt, with each medium's digest behind its mark."""
    first, *others = text.split(mark) if mark else [text]
    digests = (hashlib.sha256(media.data).hexdigest() for media in request.media)
    marked = first + "".join(mark + next(digests, "") + other for other in others)
    return marked + "".join(digests)


def shared_length(one: Sequence[object], other: Sequence[object]) -> int:
    """The length of the longest common beginning, by comparisons of whole slices."""
    most = min(len(one), len(other))
    if one[:most] == other[:most]:
        return most
    low, step = 0, 16
    # What differs mostly differs early: the slices grow.
    while low + step < most and one[low : low + step] == other[low : low + step]:
        low, step = low + step, step * 2
    high = min(most, low + step)
    while high - low > 1:
        middle = (low + high) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle
    return low
