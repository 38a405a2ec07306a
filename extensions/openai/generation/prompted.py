"""Chat over an engine's `generate`: for demanded calls, log-probabilities, and answers to continue.

The engine renders the prompt with the model's own template; what comes back is read here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol

from .. import refusals
from ..engines.base import (
    ChatRequest,
    Engine,
    EngineInfo,
    GenerateRequest,
    Media,
    Message,
    Piece,
    Pieces,
    Scores,
    TokenLogprob,
    ToolCallDelta,
)
from ..engines.context import NORMALIZED, most_tokens
from ..errors import ContextLengthExceeded
from .call_forms import MARKS, calls_apart
from .constraints import THINK, THOUGHT_END, after_thought, enforced
from .harmony import FINAL, channels_apart, is_harmony
from .harmony import MARKS as HARMONY_MARKS
from .stops import StopMatcher, overlap
from .tools import CALL_CLOSING, CALL_OPENING, CallParser, ToolPlan, begun_call, read_call

CALL_BEGIN, CALL_END = CALL_OPENING.strip(), CALL_CLOSING.strip()


@dataclass(frozen=True, slots=True)
class Prompted:
    """What a chat asks for beyond what engines do by themselves."""

    logprobs: int | None = None
    """As in GenerateRequest."""
    tools: ToolPlan = field(default_factory=ToolPlan)
    """Tools whose call is demanded, or that may be called in the form of `tools.CALL_OPENING`."""
    continued: Message | None = None
    """The assistant's message that the answer continues; it is not among the request's."""
    grammar_param: str = ""
    """The field that the request's grammar came from."""
    quiet: bool = False
    """Answer without a thought, even where the template opens one."""
    thinks: bool = False
    """Think freely before an answer that a grammar constrains; else it comes at once."""


Answer = Callable[[Engine, ChatRequest], Pieces]
"""How a chat is answered once its messages are settled."""


def answer_of(request: ChatRequest, info: EngineInfo, wanted: Prompted) -> Answer:
    """How the engine is asked: through its own `chat`, or, where that cannot do what is wanted, through its
    `generate`."""
    plan, thinking = wanted.tools, request.template_variables.get("enable_thinking")
    # What a template does not know of, it may do all the same.
    quiet = thinking is False and not (info.thinking and info.thinking.switch)
    thinks = thinking is True and ("reasoning" in info.capabilities or info.thinks_aloud)
    constrained = plan.demanded or plan.inputs or request.grammar is not None
    penalised = info.chat_counts_prompt and request.sampling.get("presence_penalty")
    if not (
        constrained
        or penalised
        or wanted.continued
        or wanted.logprobs is not None
        or (plan.strict and "grammar" in info.capabilities)
        or ((quiet or info.thinks_aloud) and not plan.shown)
    ):
        return _by_itself
    thinks = thinks and wanted.continued is None
    return partial(prompted_chat, wanted=replace(wanted, quiet=quiet, thinks=thinks))


def _by_itself(engine: Engine, request: ChatRequest) -> Pieces:
    return engine.chat(request)


def prompted_chat(engine: Engine, request: ChatRequest, wanted: Prompted) -> Pieces:
    """Answer messages. Raises ContextLengthExceeded, as an engine's `chat` does."""
    plan = wanted.tools
    if plan.demanded and "tools" not in engine.info.capabilities:
        request = _told_of_tools(request)
    prompt = engine.render(replace(request, grammar=None) if wanted.thinks else request)
    if wanted.continued is not None:
        prompt += wanted.continued.content or ""
    media = _media(request)
    grammar = request.grammar
    param = wanted.grammar_param
    free = grammar is None
    if plan.shown:
        if not (plan.demanded or plan.inputs or grammar or CALL_BEGIN in prompt):
            if wanted.logprobs is not None or wanted.continued is not None:
                field = "continue_final_message" if wanted.continued else "logprobs"
                why = "cannot go together with tools with this model's template."
                raise refusals.unsupported(field, why)
            yield from engine.chat(request)  # which keeps to the schema as far as it can
            return
        param = "functions" if plan.legacy else "tools"
        free = free and not plan.demanded
        grammar = plan.grammar(grammar)
    opened = prompt.rstrip().endswith(THINK)
    if wanted.thinks and grammar is not None and not free:
        grammar = after_thought(grammar, opened=opened)
    elif wanted.quiet or not free:
        prompt, opened = _close_thought(prompt), False
    generate = GenerateRequest(
        prompt,
        request.max_tokens if media else _limit(engine, prompt, request.max_tokens),
        request.sampling,
        request.seed,
        grammar,
        request.logit_bias,
        wanted.logprobs,
        media=media,
    )
    pieces = engine.generate(generate)
    try:
        pieces = enforced(pieces, grammar, param)
        if wanted.thinks or not plan.demanded:
            pieces = _thoughts_apart(pieces, opened=opened)
        if plan.shown:
            demanded = bool(plan.demanded)
            if plan.inputs:
                pieces = _raw_calls(pieces, demanded=demanded, certain=True)
            else:
                pieces = _calls_apart(pieces, demanded=demanded)
        yield from pieces
    finally:
        pieces.close()


def _media(request: ChatRequest) -> tuple[Media, ...]:
    """What stands in the messages besides text, in its order."""
    return tuple(p for m in request.messages for p in m.parts if isinstance(p, Media))


class Continuing(Protocol):
    """An engine that continues text and knows the template of its model, but does not chat."""

    @property
    def info(self) -> EngineInfo: ...

    def generate(self, request: GenerateRequest) -> Pieces: ...

    def render(self, request: ChatRequest) -> str: ...

    def turn_ends(self, request: ChatRequest) -> tuple[str, ...]:
        """The texts that end an answer, where the template has them stand in plain text."""

    def score(self, tokens: Sequence[int], alternatives: int) -> Scores: ...

    def infill(self, before: str | tuple[int, ...], after: str) -> tuple[int, ...]: ...

    def tokenize(self, text: str) -> tuple[int, ...]: ...

    def detokenize(self, tokens: Sequence[int]) -> str: ...

    def close(self) -> None: ...


class PromptedChat:
    """An engine that chats by continuing the prompt that its template makes of the messages.

    Thoughts and calls are told apart from the text here. Thread-safe if the other one is.
    """

    def __init__(self, engine: Continuing) -> None:
        self._engine = engine

    @property
    def info(self) -> EngineInfo:
        return self._engine.info

    def chat(self, request: ChatRequest) -> Pieces:
        prompt = self._engine.render(request)
        if request.grammar is not None:
            prompt = _close_thought(prompt)
        media = _media(request)
        channels = is_harmony(prompt)
        marks = HARMONY_MARKS if channels else MARKS if request.tools else ()
        generate = GenerateRequest(
            prompt,
            request.max_tokens if media else _limit(self, prompt, request.max_tokens),
            request.sampling,
            request.seed,
            request.grammar,
            request.logit_bias,
            media=media,
            marks=marks,
        )
        pieces = self._engine.generate(generate)
        try:
            if channels:
                yield from channels_apart(pieces)
                return
            found = up_to(pieces, self._engine.turn_ends(request))
            if request.grammar is None:
                found = _thoughts_apart(found, opened=prompt.rstrip().endswith(THINK))
            yield from calls_apart(found, request.tools) if request.tools else found
        finally:
            pieces.close()

    def generate(self, request: GenerateRequest) -> Pieces:
        return self._engine.generate(request)

    def render(self, request: ChatRequest) -> str:
        return self._engine.render(request)

    def score(self, tokens: Sequence[int], alternatives: int) -> Scores:
        return self._engine.score(tokens, alternatives)

    def infill(self, before: str | tuple[int, ...], after: str) -> tuple[int, ...]:
        return self._engine.infill(before, after)

    def tokenize(self, text: str) -> tuple[int, ...]:
        return self._engine.tokenize(text)

    def detokenize(self, tokens: Sequence[int]) -> str:
        return self._engine.detokenize(tokens)

    def close(self) -> None:
        self._engine.close()


def up_to(pieces: Pieces, ends: Sequence[str]) -> Pieces:
    """The pieces before the first of the texts that end an answer."""
    matcher = StopMatcher(ends)
    for piece in pieces:
        if piece is None or piece.echo:
            yield piece
            continue
        text, finish = matcher.push(piece.text), piece.finish
        if matcher.matched is not None:
            finish = "stop"
        elif finish is not None:
            text += matcher.flush()
        yield replace(piece, text=text, finish=finish)
        if matcher.matched is not None:
            return


def _told_of_tools(request: ChatRequest) -> ChatRequest:
    """The request for a model whose template has no place for tools: they are told in words."""
    tools = "\n".join(
        json.dumps({"name": t.name, "description": t.description, "parameters": t.parameters})
        for t in request.tools
    )
    told = f"Answer by calling one of these tools:\n{tools}"
    messages = request.messages
    if messages and messages[0].role == "system":
        told = f"{messages[0].content}\n\n{told}"
        messages = messages[1:]
    return replace(request, messages=(Message("system", told), *messages), tools=())


def _limit(engine: Engine, prompt: str, asked: int | None) -> int:
    """How many tokens the answer may have: chat's limit is an upper bound only."""
    context = engine.info.context_length
    if asked is not None and NORMALIZED * most_tokens(prompt) + asked <= context:
        return asked
    tokens = len(engine.tokenize(prompt))
    if tokens >= context:
        raise ContextLengthExceeded(
            prompt_tokens=tokens, max_tokens=0, context_length=context, param="messages"
        )
    return context - tokens if asked is None else min(asked, context - tokens)


def _close_thought(prompt: str) -> str:
    """A template may open a thought; an answer that a grammar constrains comes without one."""
    if is_harmony(prompt):
        return prompt + FINAL
    return f"{prompt}\n{THOUGHT_END}\n\n" if prompt.rstrip().endswith(THINK) else prompt


def _calls_apart(pieces: Pieces, *, demanded: bool) -> Pieces:
    """Move calls, which end an answer and are kept in form by a grammar, from the text to `tool_calls`,
    while they are written. `demanded`: there is nothing but calls, so a part of their opening is no text."""
    held = ""
    told: tuple[TokenLogprob, ...] = ()  # of text that is held
    parser: CallParser | None = None
    for piece in pieces:
        if piece is None:
            yield None
            continue
        finish = "tool_calls" if parser and piece.finish == "stop" else piece.finish
        if parser is not None:
            calls = parser.push(piece.text)
            yield replace(piece, text="", tool_calls=calls, logprobs=(), finish=finish)
            continue
        before, mark, after = (held + piece.text).partition(CALL_OPENING)
        if mark:
            parser, text = CallParser(), before if before.strip() else ""
            yield replace(piece, text=text, tool_calls=parser.push(after), logprobs=())
            continue
        keep = 0 if piece.finish and not demanded else overlap(before, CALL_OPENING)
        text, held = before[: len(before) - keep], before[len(before) - keep :]
        told += piece.logprobs
        yield replace(piece, text=text, logprobs=() if held else told)
        told = told if held else ()


def _raw_calls(pieces: Pieces, *, demanded: bool = False, certain: bool = False) -> Pieces:
    """The same where some input stands in a call as it is, and not as JSON.

    They come whole: only a complete one can be told from a text that looks like it. One that a limit on
    tokens cuts stays text, unless a grammar makes it `certain` that what is opened is a call.
    """
    held, inside, called = "", False, 0
    for piece in pieces:
        if piece is None:
            yield None
            continue
        held += piece.text
        text, calls = "", list[ToolCallDelta]()
        while True:
            before, mark, after = held.partition(CALL_END if inside else CALL_BEGIN)
            if not mark:
                break
            if inside:
                try:
                    calls.append(read_call(before, called))
                    called += 1
                except ValueError:  # no call after all
                    text += CALL_BEGIN + before + CALL_END
            else:
                text += before.rstrip("\n") if not before.strip() else before
            held, inside = after.lstrip("\n") if inside else after, not inside
        if inside and piece.finish:
            if certain:
                calls += begun_call(held, called)
            else:
                text += CALL_BEGIN + held
            held = ""
        if not inside:
            only_calls = demanded or (certain and called > 0)
            keep = 0 if piece.finish and not only_calls else overlap(held, CALL_BEGIN)
            text, held = text + held[: len(held) - keep], held[len(held) - keep :]
        yield replace(
            piece,
            text=text,
            tool_calls=tuple(calls),
            logprobs=() if inside or calls else piece.logprobs,
            finish="tool_calls" if called and piece.finish == "stop" else piece.finish,
        )


def _thoughts_apart(pieces: Pieces, *, opened: bool) -> Pieces:
    """Move what stands between <think> and </think> at the beginning of an answer to `reasoning`; its tokens
    are told with their text."""
    if not opened:
        pieces, opened = _opens_thought(pieces), True
    held, ended, tokens = "", False, 0
    for piece in pieces:
        if piece is _NO_THOUGHT:
            opened = False
            continue
        if piece is None or not (opened or ended):
            yield piece
            continue
        if ended:  # the empty lines behind a thought are no part of the answer
            text = piece.text.lstrip("\n")
            ended = not text
            yield replace(piece, text=text, logprobs=piece.logprobs if text else ())
            continue
        held, tokens = held + piece.text, tokens + piece.tokens
        thought, end, rest = held.partition(THOUGHT_END)
        if end:
            rest = rest.lstrip("\n")
            opened, ended = False, not rest
            yield replace(piece, text=rest, reasoning=thought, tokens=tokens, logprobs=())
            continue
        keep = 0 if piece.finish else overlap(held, THOUGHT_END)
        shown, held = held[: len(held) - keep], held[len(held) - keep :]
        told, tokens = (tokens, 0) if shown or piece.finish else (0, tokens)
        yield replace(piece, text="", reasoning=shown, tokens=told, logprobs=())


_NO_THOUGHT = Piece()  # this very object, not its value, is the sign


def _opens_thought(pieces: Pieces) -> Pieces:
    """The pieces without a <think> at their beginning, or _NO_THOUGHT and then all of them."""
    waiting: list[Piece] = []
    begin = ""
    for piece in pieces:
        if piece is None:
            yield None
            continue
        waiting.append(piece)
        begin = (begin + piece.text).lstrip()
        if len(begin) < len(THINK) and THINK.startswith(begin) and not piece.finish:
            continue
        if begin.startswith(THINK):
            counted = sum(each.tokens for each in waiting)
            prompt = next((each.prompt for each in waiting if each.prompt), None)
            yield replace(piece, text=begin[len(THINK) :], tokens=counted, prompt=prompt)
        else:
            yield _NO_THOUGHT
            yield from waiting
        break
    yield from pieces
