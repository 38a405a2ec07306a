"""A bound on how long a model thinks: at the bound its thought is closed, and it goes on with the answer.

An engine cannot be made to say a text in the middle of a call. So the call is ended, and a new one goes on
behind the prompt, the thought so far and the template's own end of a thought; all but that end is in the
engine's cache.
Source: Qwen3 technical report, "Thinking budget".
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import Protocol

from ..engines.base import EngineInfo, GenerateRequest, Piece, Pieces, PromptUsage, ThinkingTraits
from ..engines.context import NORMALIZED, most_tokens
from ..engines.thinking_probe import HARMONY
from .stops import overlap

BAN = -100.0  # as a bias
Bias = tuple[tuple[int, float], ...]
HARMONY_THINKING = ThinkingTraits(*HARMONY, end=HARMONY[1])
HARMONY_NEXT = "<|end|><|start|>assistant"
HARMONY_FINAL = f"{HARMONY_NEXT}<|channel|>final<|message|>"


class Generating(Protocol):
    """What is needed of an engine."""

    @property
    def info(self) -> EngineInfo: ...

    def generate(self, request: GenerateRequest) -> Pieces: ...

    def tokenize(self, text: str) -> tuple[int, ...]: ...


@dataclass(frozen=True, slots=True)
class ThoughtForm:
    """How a model's thoughts are recognised, and how they are closed for it."""

    opening: str = "<think>"
    closing: str = "</think>"
    ends: tuple[str, ...] = ("\n</think>\n\n",)
    """What closes a thought, with `closing` in it. Where the model thinks again at once, the next one is used
    instead."""


def form_of(traits: ThinkingTraits | None, *, calls: bool = False) -> ThoughtForm:
    """The form of thoughts under a template. `calls`: the answer may be a call, which has a channel of its
    own where a template has channels."""
    traits = traits or ThinkingTraits()
    ends: tuple[str, ...] = (traits.end,)
    if traits.closing == HARMONY_THINKING.closing:
        ends = (HARMONY_NEXT, HARMONY_FINAL) if calls else (HARMONY_FINAL,)
    return ThoughtForm(traits.opening, traits.closing, ends)


def budgeted(
    engine: Generating,
    request: GenerateRequest,
    budget: int,
    form: ThoughtForm,
    *,
    opened: bool,
    answer_grammar: str | None = None,
    message: str = "",
) -> Pieces:
    """As `engine.generate(request)`, with a thought of at most `budget` tokens at its beginning.

    `request.prompt` is a text; `opened`: it ends inside of the thought. `answer_grammar` is what the answer
    alone must match, where the request's grammar is that of a thought and an answer. What closes the thought,
    `message` before it, is among the pieces' texts as if the model had written it, and counts as no sampled
    token. A character is not cut, so a thought may be up to three tokens longer. Usage, limits and the seed
    are those of one answer. Raises what the engine raises; closing it ends the work within one decode step.
    """
    work = _Budgeted(engine, request, form, answer_grammar)
    thought = _Beginning(form, thinking=opened)
    if not (opened and budget == 0):
        spent = yield from work.think(thought, budget)
        if not spent:
            return
    yield from work.answer(thought.text, message if budget else "")


class _Beginning:
    """Reads the beginning of an answer: is it a thought, and where does it end?"""

    def __init__(self, form: ThoughtForm, *, thinking: bool) -> None:
        self._form = form
        self.text = ""
        self.thinking = thinking
        """It is a thought, which is not over."""
        self.tokens = 0
        """Those of the thought, without its opening."""
        self.over = False
        """The thought has ended, or there is none."""

    def push(self, piece: Piece) -> None:
        new = len(self.text)
        self.text += piece.text
        if self.thinking:
            self.tokens += piece.tokens
            self.over = self._form.closing in self.text[max(0, new - len(self._form.closing)) :]
        else:
            begin = self.text.lstrip()
            self.thinking = begin.startswith(self._form.opening)
            self.over = not self._form.opening.startswith(begin[: len(self._form.opening)])
        if piece.finish is not None:
            self.over = True
        self.thinking = self.thinking and not self.over


class _Budgeted:
    """The calls of one answer. Used by one thread at a time."""

    def __init__(
        self,
        engine: Generating,
        request: GenerateRequest,
        form: ThoughtForm,
        answer_grammar: str | None,
    ) -> None:
        self._engine = engine
        self._request = request
        self._form = form
        self._grammar = answer_grammar
        self._sampled = 0
        self._usage_told = False
        self._further_calls = False

    def think(self, thought: _Beginning, budget: int) -> Generator[Piece | None, None, bool]:
        """The first call; True when it was ended because the budget is spent."""
        pieces = self._engine.generate(self._request)
        try:
            for piece in pieces:
                if piece is None:
                    yield None
                    continue
                if not thought.over:
                    thought.push(piece)
                yield self._counted(piece)
                if thought.thinking and thought.tokens >= budget:
                    self._further_calls = True
                    return True
            return False
        finally:
            pieces.close()

    def answer(self, thought: str, message: str) -> Pieces:
        """The calls behind the closed thought: one, or more where the model thinks again at once."""
        attempts: list[tuple[str, Bias]] = [(end, ()) for end in self._form.ends]
        bans = self._bans()
        if bans:
            attempts.append((self._form.ends[-1], bans))
        for at, (end, banned) in enumerate(attempts, 1):
            text = _closed(thought, self._form.closing, message, end)
            request = self._further(thought + text, banned)
            if request is None:
                yield self._counted(Piece(finish="length"))
                return
            if (yield from self._attempt(request, text, last=at == len(attempts))):
                return

    def _attempt(
        self, request: GenerateRequest, end: str, *, last: bool
    ) -> Generator[Piece | None, None, bool]:
        """One call; False when the model thinks again and it is not the `last` attempt: then what it said is
        counted, and not shown."""
        beginning = _Beginning(self._form, thinking=False)
        waiting: list[Piece] = [Piece(end)]
        pieces = self._engine.generate(request)
        try:
            for piece in pieces:
                if piece is None:
                    yield None
                    continue
                waiting.append(self._counted(piece))
                if not (last or beginning.over):
                    beginning.push(piece)
                    if beginning.thinking:
                        yield _unshown(waiting)
                        return False
                    if not beginning.over:
                        continue
                yield from waiting
                waiting.clear()
            return True
        finally:
            pieces.close()

    def _further(self, begun: str, bias: Bias) -> GenerateRequest | None:
        """What the engine is asked for behind the closed thought; None where no token fits any more."""
        prompt, limit = f"{self._request.prompt}{begun}", self._request.max_tokens
        left = None if limit is None else limit - self._sampled
        context = self._engine.info.context_length
        # How many tokens media take only the engine knows.
        if not self._request.media and NORMALIZED * most_tokens(prompt) + (left or 1) > context:
            room = context - len(self._engine.tokenize(prompt))
            if room <= 0:
                return None
            left = left and min(left, room)
        if left is not None and left <= 0:
            return None
        seed = self._request.seed
        return replace(
            self._request,
            prompt=prompt,
            begun=len(begun),
            max_tokens=left,
            # Drawing the same numbers again would make answers repeat themselves.
            seed=None if seed is None else seed + self._sampled,
            grammar=self._grammar,
            logit_bias=self._request.logit_bias + bias,
        )

    def _bans(self) -> Bias:
        """What keeps the model from opening a thought, where one token does that."""
        if "logprobs" not in self._engine.info.capabilities:
            return ()
        once, twice = (self._engine.tokenize(self._form.opening * n) for n in (1, 2))
        return ((once[-1], BAN),) if len(twice) - len(once) == 1 else ()

    def _counted(self, piece: Piece) -> Piece:
        """The piece, with the prompt's usage on one piece of the answer only. That of a further call would
        count the thought as well."""
        self._sampled += piece.tokens
        if self._usage_told:
            return piece if piece.prompt is None else replace(piece, prompt=None)
        if self._further_calls:
            usage = PromptUsage(len(self._engine.tokenize(str(self._request.prompt))))
            piece = replace(piece, prompt=usage)
        self._usage_told = piece.prompt is not None
        return piece


def _unshown(pieces: list[Piece]) -> Piece:
    """What is left of pieces that are not shown."""
    prompt = next((piece.prompt for piece in pieces if piece.prompt is not None), None)
    return Piece(tokens=sum(piece.tokens for piece in pieces), prompt=prompt)


def _closed(thought: str, closing: str, message: str, end: str) -> str:
    """What a thought is gone on with so that it is closed. The model may have begun to do so."""
    begun = overlap(thought, closing)
    if begun:
        return closing[begun:] + end.partition(closing)[2]
    text = message + end
    return text.removeprefix("\n") if thought.endswith("\n") else text
