"""Completions: continue a prompt. Reference: "Completions" (legacy)."""

from __future__ import annotations

import threading
from collections.abc import Generator, Sequence
from dataclasses import replace
from functools import partial
from typing import Annotated, ClassVar, Literal

from pydantic import AliasChoices, Discriminator, Field, Tag
from typing_extensions import NotRequired, TypedDict

from . import models
from .engines.callback_bridge import TICK
from .engines.protocol import (
    Engine,
    EngineInfo,
    Finish,
    GenerateRequest,
    Piece,
    Pieces,
    PromptUsage,
    TokenLogprob,
)
from .engines.tokens.context_length import check_fits
from .generation.answer_head import AnswerHead, answer_head, head_of
from .generation.answer_size import AnswerSize, Names
from .generation.best_of import best_of
from .generation.grammar.check import compiled
from .generation.grammar.enforce import enforced
from .generation.hooks.apply import hooked_completion
from .generation.hooks.extensions import Hooks
from .generation.logprobs import CompletionLogprobs, append_logprobs, completion_logprobs
from .generation.request import MAX_TOKENS_ALIASES, GenerationRequest, needs
from .generation.run import Event, Events, run
from .generation.sampling.profiles import profile_of, to_native
from .generation.sampling.unsupported_fields import IN_COMPLETIONS, NeutralValues
from .generation.token_splitter import aligned
from .generation.usage import Usage, UsageCount
from .schemas import bad_request
from .web.response import Reply
from .web.routes import Call, PathPrefixes, Route, endpoint
from .web.streaming import respond

MAX_PROMPTS = 2048
DEFAULT_MAX_TOKENS = 16
REFERENCE_LOGPROBS = 5
Prompt = str | tuple[int, ...]

TokenIds = Annotated[list[int], Field(min_length=1)]


def _prompt_form(value: object) -> str | None:
    """Which of its four forms a prompt has, by its first element."""
    if isinstance(value, str):
        return "text"
    if not isinstance(value, list):
        return None
    first = value[0] if value else ""
    return "lists" if isinstance(first, list) else "texts" if isinstance(first, str) else "tokens"


Several = Field(min_length=1, max_length=MAX_PROMPTS)
PromptField = Annotated[
    Annotated[str, Tag("text")]
    | Annotated[list[str], Several, Tag("texts")]
    | Annotated[TokenIds, Tag("tokens")]
    | Annotated[list[TokenIds], Several, Tag("lists")],
    Discriminator(
        _prompt_form,
        custom_error_type="wrong_type",
        custom_error_message="a string or an array",
    ),
]


class CompletionRequest(GenerationRequest):
    """Create completion. Names beyond the reference's are the native sampler's."""

    refused: ClassVar[NeutralValues] = IN_COMPLETIONS
    least_tokens: ClassVar[int] = 0

    prompt: PromptField | None = Field(
        None,
        description="A string, several, token ids, or several lists of them. Nothing, or an empty "
        "string: the beginning of a new document.",
    )
    max_tokens: int | None = Field(
        None,
        validation_alias=AliasChoices(*MAX_TOKENS_ALIASES),
        ge=-1,
        description="Tokens to generate at most, 16 unless given. With the prompt they must fit into "
        "the model's context. -1 is no limit with `--lenient-limits`.",
    )
    echo: bool | None = Field(None, description="Put the prompt in front of the answer.")
    suffix: str | None = Field(
        None, description="The text after the answer, for models that can fill in between two."
    )
    logprobs: int | None = Field(
        None,
        ge=0,
        le=20,
        description="Report the log-probability of each counted token, and that many alternatives (with "
        "`--strict-parameters` 5 at most); 0: none.",
    )
    best_of: int | None = Field(
        None,
        ge=0,
        le=20,
        description="Make that many candidates and answer with the `n` likeliest. Not streamed.",
    )

    @property
    def alternatives(self) -> int | None:
        """How many alternatives to tell for each token; None: no log-probabilities."""
        return self.n_probs or None if self.logprobs is None else self.logprobs

    @property
    def limit(self) -> tuple[int | None, str]:
        """The most tokens to generate, and the field that says so.

        Raises InvalidRequest when it is given under two names.
        """
        return self.agreed_limit(self.max_tokens, "max_tokens")

    def check_reference(self) -> None:
        super().check_reference()
        if self.logprobs is not None and self.logprobs > REFERENCE_LOGPROBS:
            raise bad_request.out_of_range(
                "logprobs", self.logprobs, low=None, high=REFERENCE_LOGPROBS
            )

    @property
    def candidates(self) -> int:
        """How many choices are made for each prompt. Raises InvalidRequest as OpenAI does."""
        n, best_of = self.n or 1, self.best_of or self.n or 1
        if best_of < n:
            raise bad_request.out_of_range("best_of", best_of, low=n, high=None)
        if best_of > n and self.stream:
            raise bad_request.unsupported(
                "best_of", "cannot be larger than 'n' when 'stream' is true."
            )
        return best_of

    @property
    def prompts(self) -> list[Prompt]:
        prompt = self.prompt if self.prompt is not None else ""
        if isinstance(prompt, str):
            return [prompt]
        if isinstance(prompt[0], int):
            return [tuple(token for token in prompt if isinstance(token, int))]
        return [tuple(each) if isinstance(each, list) else str(each) for each in prompt]


class CompletionChoice(TypedDict):
    """One answer, or in a stream a part of it."""

    text: str
    index: int
    logprobs: CompletionLogprobs | None
    finish_reason: Finish | None


class Completion(AnswerHead):
    """The whole answer."""

    object: Literal["text_completion"]
    choices: list[CompletionChoice]
    usage: Usage


class CompletionChunk(AnswerHead):
    """The data of one event; `usage` is there when it was asked for, and null on all but the last."""

    object: Literal["text_completion"]
    choices: list[CompletionChoice]
    usage: NotRequired[Usage | None]


def create_completion(call: Call, body: CompletionRequest) -> Reply:
    """Continue each prompt `n` times; choice `i` belongs to prompt `i // n`."""
    engine, info = call.services.engine, models.serving(call, body.model)
    call.begin(body)
    policy = call.services.policy
    body, info = policy.apply(body), policy.marked(info)
    asked, param = body.limit
    body = body.with_min_tokens(asked, info)
    n, prompts = body.n or 1, body.prompts
    # Where `best_of` stands for a parameter of the sampler, it is no number of candidates.
    candidates = n if "best_of" in profile_of(info).borrowed else body.candidates
    if len(prompts) * candidates > MAX_PROMPTS:
        raise bad_request.out_of_range("n", candidates, low=None, high=MAX_PROMPTS // len(prompts))
    if body.alternatives is not None:
        needs(info, "logprobs", "n_probs" if body.logprobs is None else "logprobs")
    if candidates > n:
        needs(info, "logprobs", "best_of")
    if body.suffix:
        needs(info, "infill", "suffix")
    stops, usage = policy.stops(body, info), body.wants_usage
    max_tokens = policy.max_tokens(asked, DEFAULT_MAX_TOKENS, param)
    if asked is None and max_tokens is not None and max_tokens > DEFAULT_MAX_TOKENS:
        # The operator's default gives way where the context ends; a request's own limit does not.
        longest = max(len(_tokens(engine, prompt)) for prompt in prompts)
        max_tokens = max(1, min(max_tokens, info.context_length - longest))
    for prompt in prompts:
        _check_prompt(engine, info, prompt, max_tokens)
    size = AnswerSize(
        len(prompts) * candidates,
        max_tokens,
        0 if body.alternatives is None and candidates > n else body.alternatives,
        info.context_length,
        max(len(_tokens(engine, prompt)) for prompt in prompts) if body.echo else 0,
    )
    max_tokens = size.bounded(_names(body, param), call.services.settings.max_logprobs)
    grammar, grammar_param = body.grammar_for(info)
    request = GenerateRequest(
        "",
        max_tokens,
        to_native(body, info, stops),
        grammar=grammar,
        logit_bias=body.bias_for(info, engine.tokenize),
        logprobs=size.alternatives,
        whole=not body.stream or call.services.settings.output_hooks == "whole",
    )
    echoes = [_Echo(engine, prompt, body.alternatives) if body.echo else None for prompt in prompts]
    hooks = call.services.hooks_for(body.hooks)
    early: tuple[str, ...] = ()
    if hooks is not None and hooks.change_output:
        # A text that hooks may change ends before they see it.
        early, stops = stops, ()
    starts = [
        partial(
            _hooked,
            hooks,
            early,
            engine,
            replace(request, prompt=prompt, seed=seed),
            body.suffix,
            echo,
            grammar_param,
        )
        for prompt, echo in zip(prompts, echoes, strict=True)
        for seed in body.seeds(candidates)
    ]
    events = run(
        starts, scheduler=call.services.scheduler, job=call.job, slots=info.parallel, stops=stops
    )
    if candidates > n:
        events = best_of(events, n=n, candidates=candidates)
    count = UsageCount(n, call.record)
    chunks = _chunks(events, info, body.alternatives, count, usage=usage)
    return respond(call, chunks, stream=bool(body.stream), fold=Fold())


def _names(body: CompletionRequest, limit: str) -> Names:
    many = "best_of" if body.best_of else "n" if body.n else "prompt"
    alternatives = "n_probs" if body.logprobs is None and body.n_probs else "logprobs"
    return Names(many, limit, alternatives if body.alternatives is not None else many)


def _hooked(
    hooks: Hooks | None,
    stops: Sequence[str],
    engine: Engine,
    request: GenerateRequest,
    suffix: str | None,
    echo: _Echo | None,
    grammar_param: str,
) -> Pieces:
    """One choice, with what the host's extensions make of it."""

    def answer(request: GenerateRequest) -> Pieces:
        return _answer(engine, request, suffix, echo, grammar_param)

    if hooks is None:
        return answer(request)
    return hooked_completion(hooks, engine, request, answer, stops=stops)


def _answer(
    engine: Engine,
    request: GenerateRequest,
    suffix: str | None,
    echo: _Echo | None,
    grammar_param: str,
) -> Pieces:
    """One choice: the prompt, if it is to be echoed, then what follows it."""
    if echo is not None:
        yield from echo.pieces()
    if request.max_tokens == 0:
        yield _read_only(engine, request.prompt)
        return
    if suffix:
        request = replace(request, prompt=engine.infill(request.prompt, suffix))
    yield from compiled(request.grammar, grammar_param, engine.info)
    pieces = engine.generate(request)
    try:
        yield from enforced(pieces, request.grammar, grammar_param, engine.info.grammar_end)
    finally:
        pieces.close()


class _Echo:
    """A prompt as a piece of the answer; its log-probabilities are found once for all choices."""

    def __init__(self, engine: Engine, prompt: Prompt, logprobs: int | None) -> None:
        self._engine = engine
        self._prompt = prompt
        self._logprobs = logprobs
        self._lock = threading.Lock()
        self._piece: Piece | None = None

    def pieces(self) -> Pieces:
        while not self._lock.acquire(timeout=TICK):
            yield None
        try:
            if self._piece is None:
                tokens: list[TokenLogprob] = []
                if self._logprobs is not None:
                    ids = _tokens(self._engine, self._prompt)
                    for token in self._engine.score(ids, self._logprobs):
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


def _check_prompt(engine: Engine, info: EngineInfo, prompt: Prompt, max_tokens: int | None) -> None:
    """Refuse a prompt before anything is answered to those before it."""
    if not isinstance(prompt, str) and not all(0 <= id < info.vocabulary_size for id in prompt):
        raise bad_request.token_id_out_of_range("prompt", info.vocabulary_size)
    check_fits(prompt, max_tokens, info.context_length, engine.tokenize, info.longest_token)


def _read_only(engine: Engine, prompt: Prompt) -> Piece:
    """The answer of no tokens: max_tokens 0, useful to echo or to count a prompt."""
    return Piece(prompt=PromptUsage(len(_tokens(engine, prompt))), finish="length")


def _tokens(engine: Engine, prompt: Prompt) -> Sequence[int]:
    return engine.tokenize(prompt) if isinstance(prompt, str) else prompt


def _chunks(
    events: Events, info: EngineInfo, logprobs: int | None, count: UsageCount, *, usage: bool
) -> Generator[CompletionChunk | None, None, None]:
    """Events in the shape of the reference."""
    head = answer_head("cmpl-", info)
    count.record.answer = head["id"]
    echoed: dict[int, int] = {}  # characters of the prompts in front of the answers

    def chunk(*choices: CompletionChoice) -> CompletionChunk:
        made: CompletionChunk = {
            "id": head["id"],
            "created": head["created"],
            "model": head["model"],
            "system_fingerprint": head["system_fingerprint"],
            "object": "text_completion",
            "choices": list(choices),
        }
        if usage:
            made["usage"] = None
        return made

    def choice(event: Event) -> CompletionChoice:
        if event.echo:
            echoed[event.index] = len(event.text)
        at = 0 if event.echo else echoed.get(event.index, 0) + event.logprobs_at
        return {
            "text": event.text,
            "index": event.index,
            "logprobs": None if logprobs is None else completion_logprobs(event.logprobs, at),
            "finish_reason": event.finish,
        }

    try:
        for event in events:
            if event is None:
                yield None
                continue
            count.add(event)
            if event.text or event.finish or event.logprobs:
                yield chunk(choice(event))
        if usage:
            last = chunk()
            last["usage"] = count.total()
            yield last
    finally:
        events.close()


class Fold:
    """The whole object that the chunks of a stream (with usage) add up to."""

    def __init__(self) -> None:
        self._choices: dict[int, CompletionChoice] = {}
        self._texts: dict[int, list[str]] = {}
        self._last: CompletionChunk

    def add(self, chunk: CompletionChunk) -> None:
        self._last = chunk
        for part in chunk["choices"]:
            whole = self._choices.setdefault(part["index"], part)
            self._texts.setdefault(part["index"], []).append(part["text"])
            whole["finish_reason"] = part["finish_reason"]
            if whole is not part and whole["logprobs"] is not None:
                append_logprobs(whole["logprobs"], part["logprobs"])

    def whole(self) -> Completion:
        for index, parts in self._texts.items():
            self._choices[index]["text"] = "".join(parts)
        usage = self._last.get("usage")
        assert usage is not None  # `wants_usage` is true for a request that is folded
        return {
            **head_of(self._last),
            "object": "text_completion",
            "choices": [self._choices[index] for index in sorted(self._choices)],
            "usage": usage,
        }


ROUTES = endpoint(
    "completions",
    Route(
        "POST",
        "/completions",
        create_completion,
        "Create completion",
        PathPrefixes.MODEL,
        answer=Completion,
        body=CompletionRequest,
        chunk=CompletionChunk,
        scope="write",
    ),
)
