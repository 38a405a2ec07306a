"""Decide between a few answers by how likely the model is to give each; nothing is written.

The model is asked a question whose answers have labels (letters, digits, Yes and No). The probability of an
answer is that of its label right behind the prompt, with or without a space before it, as a share of those of
all labels. Each token's probability is the model's own, before samplers, and what labels begin with alike is
read once.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from string import ascii_uppercase

from ..engines.failures import not_scored
from ..engines.protocol import (
    ChatRequest,
    Engine,
    GenerateRequest,
    Media,
    Piece,
    Pieces,
    PromptUsage,
    TokenLogprob,
)
from ..engines.tokens.context_length import check_can_fit
from ..errors import ContextLengthExceeded
from .bare_text import bare_tokens
from .chat.answer import Answer, prompt_of
from .chat.answer_shape import Wanted
from .plan import ChatPlan

FORCED = 100.0  # a bias that no logit outweighs
ALTERNATIVES = 200
"""How many of the likeliest tokens are read at once; labels that are not among them are asked for by name."""
YES_NO = ("Yes", "No")

Tokens = tuple[int, ...]
Shares = tuple[float, ...]
"""The probability of each label, in their order; they add up to 1."""


def letters(count: int) -> tuple[str, ...]:
    """Labels of the same length, so that none begins another one: A, B, ... or AA, AB, ..."""
    if count <= len(ascii_uppercase):
        return tuple(ascii_uppercase[:count])
    pairs = (one + other for one in ascii_uppercase for other in ascii_uppercase)
    return tuple(pairs)[:count]


def confidence(shares: Sequence[float]) -> float:
    """From 0, where all answers are as likely, to 1, where one is certain."""
    even = 1 / len(shares)
    return min(1.0, max(0.0, (max(shares) - even) / (1 - even)))


@dataclass(slots=True)
class Found:
    """What a question came to."""

    shares: Shares | None = None
    """None: not known yet."""


@dataclass(frozen=True, slots=True)
class DecisionPlan(ChatPlan):
    """A chat whose last message asks for one of the labels."""

    labels: tuple[str, ...] = field(kw_only=True)
    param: str = field(kw_only=True)
    """The field that the conversation came from, for errors."""
    found: Found = field(default_factory=Found, kw_only=True)
    """Set before the event that ends the answer."""

    def answer_as(self, wanted: Wanted) -> Answer:
        return partial(self._decide, wanted=wanted)

    def _decide(
        self, engine: Engine, request: ChatRequest, prompt: str | None = None, *, wanted: Wanted
    ) -> Pieces:
        """One piece without text, once `found` is set. Raises ContextLengthExceeded and what `Engine.render`
        raises."""
        info = engine.info
        fits = partial(
            check_can_fit,
            max_tokens=None,
            context_length=info.context_length,
            longest_token=info.longest_token,
            param=self.param,
        )
        fits([message.content or "" for message in request.messages], trimmed=True)
        prompt = prompt_of(engine, request, wanted) if prompt is None else prompt
        fits((prompt,))
        tokens = engine.tokenize(prompt)
        spellings = _spellings(engine, prompt, tokens, self.labels)
        media = tuple(p for m in request.messages for p in m.parts if isinstance(p, Media))
        room = info.context_length - max(map(len, spellings))
        if not media and len(tokens) > room:
            raise ContextLengthExceeded(
                prompt_tokens=len(tokens),
                max_tokens=info.context_length - room,
                context_length=info.context_length,
                param=self.param,
            )
        reading = _Reading(
            engine,
            GenerateRequest(
                prompt if media else tokens,
                1,
                request.sampling,
                logprobs=ALTERNATIVES,
                media=media,
                chat_mode=request.chat_mode,
                unstreamed=True,
                cache=request.cache,
            ),
        )
        likely = yield from reading.logprobs(spellings)
        self.found.shares = _shares(likely, spellings, len(self.labels))
        yield Piece(prompt=reading.usage, finish="stop")


def _spellings(
    engine: Engine, prompt: str, tokens: Tokens, labels: Sequence[str]
) -> dict[Tokens, int]:
    """The tokens that stand for each label behind the prompt, to the label's place."""
    begin = len(tokens)
    known: dict[Tokens, int] = {}
    for space in ("", " "):
        whole = engine.tokenize(prompt + space + labels[0])
        # Tokenizers that put a space before a text of its own need to see what it stands behind.
        first = bare_tokens(engine, space + labels[0], special=True, param="")
        alone = whole[:begin] != tokens or whole[begin:] == first
        for at, label in enumerate(labels):
            if alone:
                spelled = bare_tokens(engine, space + label, special=True, param="")
            else:
                spelled = engine.tokenize(prompt + space + label)[begin:]
            if spelled:
                known.setdefault(spelled, at)
    return known


def _shares(likely: Mapping[Tokens, float], spellings: Mapping[Tokens, int], count: int) -> Shares:
    """What the labels have of their probabilities together."""
    highest = max(likely.values())
    weights = [0.0] * count
    for spelled, logprob in likely.items():
        weights[spellings[spelled]] += math.exp(logprob - highest)
    total = math.fsum(weights)
    return tuple(weight / total for weight in weights)


class _Reading:
    """Reads the log-probabilities of what may follow a prompt."""

    usage: PromptUsage | None = None
    """Of the prompt, as it was read first."""

    def __init__(self, engine: Engine, request: GenerateRequest) -> None:
        """`request`: for one token behind the prompt, with alternatives."""
        self._engine = engine
        self._request = request

    def logprobs(
        self, spellings: Sequence[Tokens] | Mapping[Tokens, int]
    ) -> Generator[None, None, dict[Tokens, float]]:
        """The log-probability of each of these behind the prompt. Raises EngineFailed."""
        known: dict[Tokens, float] = {(): 0.0}
        following: dict[Tokens, set[int]] = defaultdict(set)
        for spelled in spellings:
            for at, token in enumerate(spelled):
                following[spelled[:at]].add(token)
        for before in sorted(following, key=len):
            found = yield from self._next(before, sorted(following[before]))
            for token, logprob in found.items():
                path = (*before, token)
                known[path] = known[before] + logprob
        return {spelled: known[spelled] for spelled in spellings}

    def _next(
        self, before: Tokens, wanted: Sequence[int]
    ) -> Generator[None, None, dict[int, float]]:
        """The log-probabilities of tokens behind the prompt and `before`."""
        found: dict[int, float] = {}
        for token in wanted:
            if token in found:
                continue
            read = yield from self._read(before, token)
            seen: dict[int | None, float | None] = {each.id: each.logprob for each in read.top}
            seen[read.id] = read.logprob
            found.update(
                {each: logprob for each in wanted if (logprob := seen.get(each)) is not None}
            )
            if token not in found:
                raise not_scored()
        return found

    def _read(self, before: Tokens, token: int) -> Generator[None, None, TokenLogprob]:
        """What is known of the next token, where `token` is made to be that."""
        prompt = self._request.prompt
        if isinstance(prompt, str):
            prompt += self._engine.detokenize(before) if before else ""
        else:
            prompt = (*prompt, *before)
        request = replace(self._request, prompt=prompt, logit_bias=((token, FORCED),))
        read: TokenLogprob | None = None
        pieces = self._engine.generate(request)
        try:
            for piece in pieces:
                if piece is None:
                    yield None
                    continue
                if piece.prompt is not None and self.usage is None:
                    self.usage = piece.prompt
                read = read or next(iter(piece.logprobs), None)
        finally:
            pieces.close()
        if read is None:
            raise not_scored()
        return read
