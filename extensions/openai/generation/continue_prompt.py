"""Continue a prompt as it is, after its echo if requested."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace

from ..engines.callback_bridge import TICK_S
from ..engines.protocol import (
    Engine,
    EngineInfo,
    GenerateRequest,
    Infill,
    Piece,
    Pieces,
    PromptUsage,
    RepositoryFile,
    Scorer,
    TokenLogprob,
    ask,
    run_on,
)
from ..engines.remote.estimates import prompt_estimate
from ..engines.tokens.context_length import check_fits
from ..schemas import bad_request
from .grammar.check import compiled
from .grammar.enforce import enforced
from .token_splitter import aligned

Prompt = str | tuple[int, ...]
"""A text, or token ids."""


class Echo:
    """A prompt echoed in the answer; its log-probabilities are computed once for all choices."""

    def __init__(self, engine: Engine, prompt: Prompt, logprobs: int | None) -> None:
        self._engine = engine
        self._prompt = prompt
        self._logprobs = logprobs
        self._lock = threading.Lock()
        self._piece: Piece | None = None

    def pieces(self) -> Pieces:
        while not self._lock.acquire(timeout=TICK_S):
            yield None
        try:
            if self._piece is None:
                tokens: list[TokenLogprob] = []
                if self._logprobs is not None:
                    ids = tokens_of(self._engine, self._prompt)
                    alternatives = self._logprobs
                    scores = run_on(
                        self._engine, Scorer, lambda scorer: scorer.score(ids, alternatives)
                    )
                    for token in scores:
                        if token is not None:
                            tokens.append(token)
                        yield None
                text = self._prompt
                if not isinstance(text, str):
                    text = self._engine.detokenize(text)
                self._piece = Piece(text, logprobs=aligned(tokens, text), echo=True)
            yield self._piece
        finally:
            self._lock.release()


def continue_prompt(
    engine: Engine,
    request: GenerateRequest,
    *,
    suffix: str | None,
    echo: Echo | None,
    grammar_param: str,
    files: Sequence[RepositoryFile] = (),
) -> Pieces:
    """One choice: the prompt, if it is to be echoed, then what follows it, up to `suffix` if there is one.

    `files`: of the repository; what does not fit is left out from the beginning.
    `grammar_param`: the field that the request's grammar came from.
    """
    if echo is not None:
        yield from echo.pieces()
    if request.max_tokens == 0:
        yield _read_only(engine, request.prompt)
        return
    if suffix is not None:
        request = replace(request, prompt=_between(engine, request, suffix, files))
    grammar = request.grammar
    if grammar is not None:
        yield from compiled(grammar, grammar_param, engine.info)
    pieces = engine.generate(request)
    try:
        if grammar is None:
            yield from pieces
        elif engine.info.is_remote:
            from .chat.remote_check import checked_text  # for few completions

            yield from checked_text(pieces, engine.info.owned_by, grammar, grammar_param)
        else:
            yield from enforced(pieces, grammar, grammar_param, engine.info.grammar_end)
    finally:
        pieces.close()


def _between(
    engine: Engine, request: GenerateRequest, suffix: str, files: Sequence[RepositoryFile]
) -> tuple[int, ...]:
    """The prompt that asks for the text between its own and the suffix."""
    before = request.prompt
    prompt = ask(engine, Infill, lambda each: each.infill(before, suffix))
    if not files:
        return prompt
    context = ask(engine, Infill, lambda each: each.repository(files))
    room = engine.info.context_length - (request.max_tokens or 1) - len(prompt)
    return (*context[max(0, len(context) - max(0, room)) :], *prompt)


def check_prompt(engine: Engine, info: EngineInfo, prompt: Prompt, max_tokens: int | None) -> None:
    """Refuse a prompt before earlier prompts of the request are answered."""
    if info.is_remote:  # the other server checks it
        return
    if not isinstance(prompt, str) and not all(0 <= id < info.vocabulary_size for id in prompt):
        raise bad_request.token_id_out_of_range("prompt", info.vocabulary_size)
    check_fits(prompt, max_tokens, info.context_length, engine.tokenize, info.longest_token)


def longest_of(engine: Engine, prompts: Sequence[Prompt]) -> int:
    """The number of tokens of the longest prompt."""
    return max(_count(engine, prompt).tokens for prompt in prompts)


def tokens_of(engine: Engine, prompt: Prompt) -> Sequence[int]:
    """The token ids of a prompt."""
    return engine.tokenize(prompt) if isinstance(prompt, str) else prompt


def _read_only(engine: Engine, prompt: Prompt) -> Piece:
    """An answer without tokens: max_tokens 0, useful to echo or count a prompt."""
    return Piece(prompt=_count(engine, prompt), finish="length")


def _count(engine: Engine, prompt: Prompt) -> PromptUsage:
    """The tokens of a prompt; an estimate where another server has the tokenizer."""
    if isinstance(prompt, str) and engine.info.is_remote:
        return prompt_estimate([prompt])
    return PromptUsage(len(tokens_of(engine, prompt)))
