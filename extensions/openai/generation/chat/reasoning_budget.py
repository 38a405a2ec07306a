"""A thought and then an answer, in calls of their own: where a thought may have so many tokens only, and
where a grammar is for the answer alone.

At the bound the thought is closed by the template's own end of a thought, and the model goes on with the
answer. Source: Qwen3 technical report, "Thinking budget".
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass

from ...engines.chat_template.reasoning_probe import HARMONY
from ...engines.protocol import BAN, Capability, GenerateRequest, Piece, Pieces, ThinkingTraits
from ..stop_strings import overlap
from .continuation import Bias, Continuation, Generating, cut, unshown

HARMONY_THINKING = ThinkingTraits(*HARMONY, end=HARMONY[1])
HARMONY_NEXT = "<|end|><|start|>assistant"
HARMONY_FINAL = f"{HARMONY_NEXT}<|channel|>final<|message|>"


@dataclass(frozen=True, slots=True)
class ThoughtForm:
    """How a model's thoughts are recognised, and how they are closed for it."""

    opening: str = "<think>"
    closing: str = "</think>"
    ends: tuple[str, ...] = ("\n</think>\n\n",)
    """What closes a thought, with `closing` in it. Where the model thinks again at once, the next one is used
    instead."""
    begin: str = ""
    """What stands before an answer that no thought comes before."""


def form_of(traits: ThinkingTraits | None, *, calls: bool = False) -> ThoughtForm:
    """The form of thoughts under a template. `calls`: the answer may be a call, which has a channel of its
    own where a template has channels."""
    traits = traits or ThinkingTraits()
    ends: tuple[str, ...] = (traits.end,)
    if traits.closing == HARMONY_THINKING.closing:
        ends = (HARMONY_NEXT, HARMONY_FINAL) if calls else (HARMONY_FINAL,)
    return ThoughtForm(traits.opening, traits.closing, ends)


@dataclass(frozen=True, slots=True)
class AnswerRule:
    """What an answer behind a thought must match, and nothing of the thought."""

    grammar: str
    check: Callable[[Pieces], Pieces]
    """Raises where the answer does not match after all."""


def budgeted(
    engine: Generating,
    request: GenerateRequest,
    budget: int | None,
    form: ThoughtForm,
    *,
    opened: bool,
    rule: AnswerRule | None = None,
) -> Pieces:
    """As `engine.generate(request)`, with a thought of at most `budget` tokens at its beginning.

    `request.prompt` is a text; `opened`: it ends inside of the thought. With a `rule` the answer is made in
    a call of its own; an answer without a thought is begun again, kept to the rule. What closes the thought
    is among the pieces' texts as if the model had written it, and counts as no sampled token. A character
    is not cut, so a thought may be up to three tokens longer. Usage, limits and the seed are those of one
    answer. Raises what the engine and the rule raise; closing it ends the work within one decode step.
    """
    work = _Budgeted(engine, request, form, rule)
    thought = _Beginning(form, thinking=opened)
    if not (opened and budget == 0):
        goes_on = yield from work.think(thought, budget)
        if not goes_on:
            return
    yield from work.answer(thought)


class _Beginning:
    """Reads the beginning of an answer: is it a thought, and where does it end?"""

    def __init__(self, form: ThoughtForm, *, thinking: bool) -> None:
        self._form = form
        self.opened = thinking
        """The prompt has begun the thought."""
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
            self.over = (
                self._form.closing in begin
                if self.thinking
                else not self._form.opening.startswith(begin[: len(self._form.opening)])
            )
        if piece.finish is not None:
            self.over = True
        self.thinking = self.thinking and not self.over

    def cut(self) -> int:
        """Forget what came behind the thought: how many characters that were."""
        thought, closing, behind = self.text.partition(self._form.closing)
        if not closing:  # it ended in the thought, or there was none
            thought, behind = (thought, "") if self._was_thought() else ("", thought)
        self.text = thought + closing
        return len(behind)

    def _was_thought(self) -> bool:
        return self.opened or self.text.lstrip().startswith(self._form.opening)


class _Budgeted:
    """The calls of one answer. Used by one thread at a time."""

    def __init__(
        self,
        engine: Generating,
        request: GenerateRequest,
        form: ThoughtForm,
        rule: AnswerRule | None,
    ) -> None:
        self._engine = engine
        self._request = request
        self._form = form
        self._rule = rule
        self._calls = Continuation(engine, request)

    def think(self, thought: _Beginning, budget: int | None) -> Generator[Piece | None, None, bool]:
        """The first call; True when the answer needs another one: the budget is spent, or there is a rule."""
        waiting: list[Piece] = []
        pieces = self._engine.generate(self._request)
        try:
            for piece in pieces:
                if piece is None:
                    yield None
                    continue
                if not thought.over:
                    thought.push(piece)
                waiting.append(self._calls.counted(piece))
                if self._rule and thought.over and piece.finish != "length":
                    yield from self._thought_only(thought, waiting)
                    return True
                if self._rule and not (thought.thinking or thought.over):
                    continue
                yield from waiting
                waiting.clear()
                spent = budget is not None and thought.tokens >= budget
                if spent and thought.thinking and piece.text:  # no text: a part of a character
                    return True
            return False
        finally:
            pieces.close()

    def _thought_only(self, thought: _Beginning, pieces: list[Piece]) -> Pieces:
        """The pieces without what comes behind the thought: that is generated again, kept to the rule."""
        behind = thought.cut()
        if thought.text:
            yield from pieces[:-1]
            yield cut(pieces[-1], behind)
        else:
            yield unshown(pieces)

    def answer(self, thought: _Beginning) -> Pieces:
        """The calls behind the closed thought: one, or more where the model thinks again at once."""
        ends = self._form.ends
        attempts: list[tuple[str, Bias]] = [
            (end, ()) for end in (ends[-1:] if self._rule else ends)
        ]
        bans = () if self._rule else self._bans()
        if bans:
            attempts.append((ends[-1], bans))
        grammar = self._rule.grammar if self._rule else None
        for at, (end, banned) in enumerate(attempts, 1):
            text = _closed(thought.text, self._form.closing, end)
            if not thought.text and not thought.opened:
                text = self._form.begin
            request = self._calls.request(thought.text + text, grammar, banned)
            if request is None:
                yield self._calls.counted(Piece(finish="length"))
                return
            if (yield from self._attempt(request, text, last=at == len(attempts))):
                return

    def _attempt(
        self, request: GenerateRequest, end: str, *, last: bool
    ) -> Generator[Piece | None, None, bool]:
        """One call; False when the model thinks again and it is not the `last` attempt: then what it wrote is
        counted, and not shown."""
        beginning = _Beginning(self._form, thinking=False)
        waiting: list[Piece] = [Piece(end)]
        pieces = self._engine.generate(request)
        try:
            for piece in self._rule.check(pieces) if self._rule else pieces:
                if piece is None:
                    yield None
                    continue
                waiting.append(self._calls.counted(piece))
                if not (last or beginning.over):
                    beginning.push(piece)
                    if beginning.thinking:
                        yield unshown(waiting)
                        return False
                    if not beginning.over:
                        continue
                yield from waiting
                waiting.clear()
            return True
        finally:
            pieces.close()

    def _bans(self) -> Bias:
        """What keeps the model from opening a thought, where one token does that."""
        if Capability.LOGPROBS not in self._engine.info.capabilities:
            return ()
        once, twice = (self._engine.tokenize(self._form.opening * n) for n in (1, 2))
        return ((once[-1], BAN),) if len(twice) - len(once) == 1 else ()


def _closed(thought: str, closing: str, end: str) -> str:
    """What a thought is gone on with so that it is closed. The model may have begun to do so."""
    begun = len(closing) if thought.endswith(closing) else overlap(thought, closing)
    if begun:
        return closing[begun:] + end.partition(closing)[2]
    return end.removeprefix("\n") if thought.endswith("\n") else end
