"""Answers of models that another server has: it makes the prompt and takes the answer apart by itself, and
what comes goes the way of every other answer from there."""

from __future__ import annotations

from collections.abc import Generator

from ...engines.protocol import (
    ChatAnswerer,
    ChatRequest,
    Engine,
    GenerateRequest,
    Piece,
    Pieces,
    RemoteChat,
    run_on,
)
from ...schemas import bad_request
from ..grammar.check import Part, compiled
from .answer_shape import Wanted
from .parts import TextReader, apart
from .reasoning_reader import ThoughtReader, known, tags_of


def answer_remotely(
    engine: Engine, request: ChatRequest, prompt: str | None, wanted: Wanted
) -> Pieces:
    """The answer to messages, or to the prompt that a hook has made of them.

    Raises what the engine raises, InvalidRequest for a grammar that cannot be enforced, and UpstreamFailed
    behind an answer that is not what was demanded.
    """
    yield from _check_grammars(engine, request, wanted)
    if prompt is not None:
        if wanted.tools.demanded:
            raise bad_request.unsupported(
                wanted.tools.param, "cannot demand calls where an extension makes the prompt."
            )
        generate = GenerateRequest(
            prompt,
            request.max_tokens,
            request.sampling,
            request.seed,
            request.grammar,
            logit_bias=request.logit_bias,
            unstreamed=request.unstreamed,
        )
        pieces = engine.generate(generate)
    else:
        chat = _remote_chat(request, wanted)
        pieces = run_on(engine, ChatAnswerer, lambda answerer: answerer.answer(chat))
    try:
        answer = _with_thought_apart(pieces)
        yield from _checked(answer, engine.info.owned_by, request.grammar, wanted)
    finally:
        pieces.close()


def _remote_chat(request: ChatRequest, wanted: Wanted) -> RemoteChat:
    plan, budget = wanted.tools, wanted.budget
    thought = None if budget is None else budget.within(request.max_tokens)
    return RemoteChat(
        request,
        tuple(tool.name for tool in plan.demanded),
        plan.strict,
        wanted.logprobs,
        wanted.continued,
        wanted.grammar_param,
        thought,
    )


def _check_grammars(
    engine: Engine, request: ChatRequest, wanted: Wanted
) -> Generator[None, None, None]:
    parts: list[Part] = list(wanted.tools.parts)
    if request.grammar is not None:
        parts.append((wanted.grammar_param, request.grammar))
    for param, grammar in parts:
        yield from compiled(grammar, param, engine.info)


def _checked(answer: Pieces, server: str, grammar: str | None, wanted: Wanted) -> Pieces:
    plan = wanted.tools
    if grammar is None and not (plan.parts or plan.demanded or plan.max_calls == 1):
        return answer
    from .remote_check import checked_answer  # for few chats

    return checked_answer(answer, server, grammar, wanted)


def _with_thought_apart(pieces: Pieces) -> Pieces:
    """The pieces, with a thought that the server left in the text between its tags taken out of it."""
    for piece in pieces:
        if piece is None or not piece.text:
            yield piece
            if piece is not None and (piece.reasoning or piece.tool_calls):
                break
            continue
        if piece.text.lstrip().startswith("<") and not piece.tool_calls:
            reader = ThoughtReader(TextReader(), known(tags_of(None)))
            yield from apart(_chained(piece, pieces), reader)
        else:
            yield piece
        break
    yield from pieces


def _chained(first: Piece, rest: Pieces) -> Pieces:
    yield first
    yield from rest
