"""Answer a conversation: continue the prompt that the chat template makes of it, and take the answer apart.

There is one way for all engines and for all that a chat may ask for: free answers and tools, demanded calls,
structured output, log-probabilities, messages to continue.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import replace

from ...engines.protocol import (
    ChatRequest,
    Engine,
    EngineInfo,
    GenerateRequest,
    Media,
    Message,
    Pieces,
    ThinkingTraits,
)
from ...engines.remote.estimates import chat_estimate
from ...engines.tokens.context_length import NORMALIZATION_GROWTH, check_can_fit, max_tokens_of
from ...errors import ContextLengthExceeded
from ..grammar.check import Part, compiled
from ..grammar.enforce import enforced
from ..tools.enforcing.demanded_calls import enforced_reader
from ..tools.enforcing.strict_arguments import StrictArguments, fixed_end, head_pattern
from ..tools.enforcing.tagged_grammar import tagged_grammar
from ..tools.plan import CALL_CLOSING, CALL_OPENING, ToolPlan
from ..tools.reading.learned_formats import AnswerFormat, CallShape, format_of
from ..tools.reading.reader import CallReader
from .answer_shape import AnswerShape, Wanted
from .continuation import Generating
from .harmony import ASSISTANT_TURN
from .harmony_shape import harmony_shape
from .parts import EndReader, PartReader, TextReader, apart
from .reasoning_budget import (
    AnswerRule,
    ThoughtForm,
    budgeted,
    form_of,
)
from .reasoning_reader import MARKS as THOUGHT_MARKS
from .reasoning_reader import (
    ThoughtReader,
    ThoughtTags,
    closed,
    is_behind_thought,
    known,
    opened_in,
    tags_of,
)
from .remote_answer import answer_remotely

OWN_SHAPE = CallShape(CALL_OPENING + '{"name": "', '", "arguments": ', "}" + CALL_CLOSING)
"""The form of a call that a model is asked for where its template shows no tools."""


PLAIN = Wanted()
MAX_COUNTED_CONTEXTS = 8
"""How many times the context a prompt may take whose tokens are only counted."""
NO_CALLS = AnswerFormat()

Answer = Callable[[Engine, ChatRequest, "str | None"], Pieces]
"""How a chat is answered once its messages are settled; the prompt, where a host has made it."""


def answer_chat(
    engine: Engine, request: ChatRequest, prompt: str | None = None, *, wanted: Wanted = PLAIN
) -> Pieces:
    """Answer messages. `request.max_tokens` is an upper bound only: the answer ends where the context does.

    Raises, before the first piece, ContextLengthExceeded and what `Engine.render` raises.
    """
    info = engine.info
    if info.is_remote:
        yield from answer_remotely(engine, _with_thought_settled(request, wanted), prompt, wanted)
        return
    texts = [message.content or "" for message in request.messages]
    check_can_fit(
        texts,
        request.max_tokens,
        info.context_length,
        info.longest_token,
        param="messages",
        trimmed=True,
    )
    request = _with_thought_settled(request, wanted)
    prompt = engine.render(request) if prompt is None else prompt
    shape = _shape(prompt, request, wanted, info, engine.turn_ends(request))
    media = tuple(p for m in request.messages for p in m.parts if isinstance(p, Media))
    # Where media stand only the engine knows how many tokens the prompt has.
    limit = request.max_tokens if media else _limit(engine, shape.prompt, request.max_tokens)
    generate = GenerateRequest(
        shape.prompt,
        limit,
        request.sampling,
        request.seed,
        None if shape.staged else shape.grammar,
        request.logit_bias,
        wanted.logprobs,
        media=media,
        marks=shape.marks,
        chat_mode=request.chat_mode,
        unstreamed=request.unstreamed,
        cache=request.cache,
    )
    if shape.grammar is not None or shape.strict is not None:
        yield from _check_grammars(shape, request, wanted, info)
    pieces = _generate(engine, generate, shape, wanted)
    try:
        yield from apart(pieces, shape.reader)
    finally:
        pieces.close()


def prompt_tokens(engine: Engine, request: ChatRequest, wanted: Wanted) -> int:
    """The tokens of the prompt that an answer would continue; an estimate where another server makes it.
    Raises what `Engine.render` raises."""
    if engine.info.is_remote:
        return chat_estimate(request).tokens
    return len(engine.tokenize(prompt_of(engine, request, wanted)))


def prompt_of(engine: Engine, request: ChatRequest, wanted: Wanted) -> str:
    """The prompt that an answer would continue. Raises what `Engine.render` raises."""
    info = engine.info
    request = _with_thought_settled(request, wanted)
    texts = [message.content or "" for message in request.messages]
    longest = MAX_COUNTED_CONTEXTS * info.context_length
    check_can_fit(texts, None, longest, info.longest_token, param="messages")
    return _shape(engine.render(request), request, wanted, info, engine.turn_ends(request)).prompt


def _with_thought_settled(request: ChatRequest, wanted: Wanted) -> ChatRequest:
    """The request without a thought, where the answer is constrained and nothing asks for one."""
    if wanted.thinks or not (request.grammar is not None or wanted.tools.demanded):
        return request
    variables = {**request.template_variables, "enable_thinking": False}
    return replace(request, template_variables=variables)


def _check_grammars(
    shape: AnswerShape, request: ChatRequest, wanted: Wanted, info: EngineInfo
) -> Generator[None, None, None]:
    """Return when all grammars that the answer is made with are known to be good."""
    parts: tuple[Part, ...] = wanted.tools.parts
    if request.grammar is not None:
        parts = ((wanted.grammar_param, request.grammar), *parts)
    if shape.grammar is not None:
        yield from compiled(shape.grammar, shape.param, info, parts)
    if shape.strict is not None:
        for name, rule in wanted.tools.schemas.items():
            yield from compiled(f"start: {rule}", wanted.tools.places[name], info)


def _generate(
    engine: Engine, request: GenerateRequest, shape: AnswerShape, wanted: Wanted
) -> Pieces:
    """The pieces of the answer, which match what they have to."""
    end = engine.info.grammar_end
    generating: Generating = engine
    if shape.strict is not None:

        def check(pieces: Pieces, grammar: str, name: str) -> Pieces:
            return enforced(pieces, grammar, wanted.tools.places[name], end)

        generating = StrictArguments(
            engine, shape.strict, shape.strict_end, wanted.tools.schemas, check
        )

    def checked(pieces: Pieces) -> Pieces:
        ended = apart(pieces, EndReader(shape.ends)) if shape.ends else pieces
        if shape.grammar is None:
            return ended
        return enforced(ended, shape.grammar, shape.param, end)

    if shape.thought is None:
        return checked(generating.generate(request))
    room = request.max_tokens or engine.info.context_length
    budget = None if wanted.budget is None else wanted.budget.within(room)
    rule = AnswerRule(shape.grammar or "", checked) if shape.staged else None
    return budgeted(generating, request, budget, shape.thought, opened=shape.opened, rule=rule)


def _shape(
    prompt: str,
    request: ChatRequest,
    wanted: Wanted,
    info: EngineInfo,
    turn_ends: tuple[str, ...],
) -> AnswerShape:
    if prompt.endswith(ASSISTANT_TURN):
        return harmony_shape(prompt, request, wanted)
    plan, grammar, param = wanted.tools, request.grammar, wanted.grammar_param
    constrained = grammar is not None or bool(plan.demanded)
    tags = tags_of(info.thinking)
    format = format_of(info) if plan.shown else NO_CALLS
    marks = (tags.opening.strip(), tags.closing, *THOUGHT_MARKS)
    if plan.shown:
        marks += format.marks
    calls_enforced = bool(plan.demanded or plan.inputs or (plan.shown and grammar is not None))
    strict, strict_end = None, ""
    if calls_enforced:  # calls are written in the format of `ToolPlan.grammar`
        grammar, param = plan.grammar(grammar), plan.param
    elif plan.strict and format.shape and format.shape.tags:
        grammar, param = tagged_grammar(plan, format.shape), plan.param
    elif plan.strict:
        own = format.shape or OWN_SHAPE
        strict, strict_end = head_pattern(own, plan.schemas, bare=wanted.bare_calls), fixed_end(own)
    opened = opened_in(prompt, tags)
    if wanted.continued is not None:
        prompt, opened = _continued(prompt, opened, tags, wanted.continued)
    elif opened and not wanted.thinks and (constrained or wanted.thinks is False):
        prompt, opened = closed(prompt, opened), None
    reader = _call_reader(plan, wanted, format, enforced=calls_enforced)
    if constrained and not opened and not wanted.thinks:
        return AnswerShape(prompt, grammar, param, marks, reader, turn_ends)
    openings = reader.openings if isinstance(reader, CallReader) else ()
    behind = is_behind_thought(prompt, tags)
    may_think = bool(opened or wanted.thinks or (info.thinking and wanted.thinks is not False))
    begins = opened is not None or wanted.continued is None
    staged = grammar is not None and may_think and begins
    return AnswerShape(
        prompt,
        grammar,
        param,
        marks,
        ThoughtReader(
            reader,
            known(tags),
            opened=opened,
            begun=wanted.continued is not None,
            behind=behind,
            call_marks=openings,
        ),
        turn_ends,
        _thought_form(info.thinking, opened) if staged or wanted.budget else None,
        opened is not None,
        staged,
        strict,
        strict_end,
    )


def _thought_form(thinking: ThinkingTraits | None, opened: ThoughtTags | None) -> ThoughtForm:
    """How the thought is closed: as the template does, or else as its tags say."""
    if opened is not None and (thinking is None or thinking.opening != opened.opening):
        return form_of(ThinkingTraits(opened.opening, opened.closing, opened.end))
    return form_of(thinking)


def _call_reader(
    plan: ToolPlan, wanted: Wanted, format: AnswerFormat, *, enforced: bool
) -> PartReader:
    if not (plan.shown and (tools := plan.callable)):
        return TextReader()
    if enforced:
        return enforced_reader(plan)
    bare = wanted.bare_calls or format.bare
    parallel = plan.max_calls > 1
    return CallReader(tools, format.forms, hidden=plan.hidden, parallel=parallel, bare=bare)


def _continued(
    prompt: str, opened: ThoughtTags | None, tags: ThoughtTags, message: Message
) -> tuple[str, ThoughtTags | None]:
    """The prompt with the beginning of the answer, and the thought that this is still in."""
    written, begin, tags = message.content or "", prompt, opened or tags
    if opened:
        begin = prompt.rstrip().removesuffix(tags.opening.rstrip())
    if written.lstrip().startswith(tags.opening):
        return begin + written, None if tags.closing in written else tags
    if message.reasoning:
        # The template puts a line end behind the tag, which is no part of the thought that clients get.
        gap = "\n" if tags.end.startswith("\n") or tags.opening[-1].isalnum() else ""
        begin = prompt if opened else begin + tags.opening + gap
        if message.reasoning.startswith("\n"):
            begin = begin.rstrip("\n")
        thought = begin + message.reasoning
        return (thought + tags.end + written, None) if written else (thought, tags)
    return (closed(prompt, tags) if opened else prompt) + written, None


def _limit(engine: Engine, prompt: str, asked: int | None) -> int | None:
    """How many tokens the answer may have: chat's limit is an upper bound only."""
    context = engine.info.context_length
    if NORMALIZATION_GROWTH * max_tokens_of(prompt) + (asked or 1) <= context:
        return asked
    # Blanks of megabytes, which a template may have cut off, take a tokenizer half a minute.
    check_can_fit((prompt,), None, context, engine.info.longest_token, param="messages")
    tokens = len(engine.tokenize(prompt))
    if tokens >= context:
        raise ContextLengthExceeded(
            prompt_tokens=tokens, max_tokens=0, context_length=context, param="messages"
        )
    return None if asked is None else min(asked, context - tokens)
