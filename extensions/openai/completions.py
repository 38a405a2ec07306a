"""Completions: continue a prompt. Reference: "Completions" (legacy)."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from functools import partial
from typing import Annotated, Literal

from flask import Response
from pydantic import Field
from typing_extensions import NotRequired, TypedDict

from . import models, refusals
from .engines.base import EngineInfo, Finish, GenerateRequest, Piece, Pieces, PromptUsage
from .errors import ContextLengthExceeded
from .generation.answer import AnswerHead, answer_head, head_of
from .generation.request import GenerationRequest
from .generation.run import Event, Events, run
from .generation.sampling import to_native
from .generation.usage import Usage, UsageCount
from .routing import Addresses, Call, Route
from .streaming import respond
from .validation import NotYet

MAX_PROMPTS = 2048
Prompt = str | tuple[int, ...]

TokenIds = Annotated[list[int], Field(min_length=1)]


class CompletionRequest(GenerationRequest):
    """Create completion. Names beyond the reference's are the native sampler's."""

    prompt: (
        str
        | Annotated[list[str], Field(min_length=1, max_length=MAX_PROMPTS)]
        | TokenIds
        | Annotated[list[TokenIds], Field(min_length=1, max_length=MAX_PROMPTS)]
        | None
    ) = Field(
        None,
        description="A string, several, token ids, or several lists of them. Nothing, or an empty "
        "string: the beginning of a new document.",
    )
    max_tokens: int | None = Field(
        None,
        ge=0,
        description="Tokens to generate at most, 16 unless given. With the prompt they must fit into "
        "the model's context.",
    )
    echo: bool | None = Field(None, description="Put the prompt in front of the answer.")
    suffix: Annotated[str | None, NotYet(("",))] = Field(None, description="Not there yet.")
    logprobs: Annotated[int | None, NotYet()] = Field(None, description="Not there yet.")
    best_of: Annotated[int | None, NotYet((1,))] = Field(None, description="Not there yet.")

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
    logprobs: None
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


def create_completion(call: Call, body: CompletionRequest) -> Response:
    """Continue each prompt `n` times; choice `i` belongs to prompt `i // n`."""
    info = models.serving(call, body.model)
    prompts = body.prompts
    n = body.n or 1
    if len(prompts) * n > MAX_PROMPTS:
        raise refusals.out_of_range("n", n, low=None, high=MAX_PROMPTS // len(prompts))
    stops, usage = body.stops, body.wants_usage
    sampling, grammar = to_native(body, info.sampler), body.grammar_for(info)
    max_tokens = 16 if body.max_tokens is None else body.max_tokens
    if max_tokens > info.context_length:
        raise ContextLengthExceeded(
            prompt_tokens=len(_tokens(call, prompts[0])),
            max_tokens=max_tokens,
            context_length=info.context_length,
            param="max_tokens",
        )
    requests = [
        GenerateRequest(prompt, max_tokens, sampling, seed, grammar)
        for prompt in prompts
        for seed in body.seeds(n)
    ]
    start = partial(_read_only, call) if max_tokens == 0 else call.services.engine.generate
    events = run(
        [partial(start, request) for request in requests],
        scheduler=call.services.scheduler,
        slots=info.parallel,
        stops=stops,
    )
    echoes = [_text(call, prompt) for prompt in prompts] if body.echo else None
    chunks = _chunks(events, info, n, echoes, usage=usage)
    return respond(call, chunks, stream=bool(body.stream), fold=fold)


def _read_only(call: Call, request: GenerateRequest) -> Pieces:
    """The answer of no tokens: max_tokens 0, useful to echo or to count a prompt."""
    tokens = len(_tokens(call, request.prompt))
    context_length = call.services.engine.info.context_length
    if tokens > context_length:
        raise ContextLengthExceeded(
            prompt_tokens=tokens, max_tokens=0, context_length=context_length, param="prompt"
        )
    yield Piece(prompt=PromptUsage(tokens), finish="length")


def _tokens(call: Call, prompt: Prompt) -> Sequence[int]:
    return call.services.engine.tokenize(prompt) if isinstance(prompt, str) else prompt


def _text(call: Call, prompt: Prompt) -> str:
    return prompt if isinstance(prompt, str) else call.services.engine.detokenize(prompt)


def _chunks(
    events: Events, info: EngineInfo, n: int, echoes: Sequence[str] | None, *, usage: bool
) -> Generator[CompletionChunk | None, None, None]:
    """Events in the shape of the reference. `echoes`: the prompts' texts, to be put in front."""
    head = answer_head("cmpl-", info)
    count = UsageCount(n)
    echoed: set[int] = set()

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

    def choice(event: Event, text: str) -> CompletionChoice:
        return {
            "text": text,
            "index": event.index,
            "logprobs": None,
            "finish_reason": event.finish,
        }

    try:
        for event in events:
            if event is None:
                yield None
                continue
            count.add(event)
            text = event.text
            if echoes is not None and event.index not in echoed:
                echoed.add(event.index)
                text = echoes[event.index // n] + text
            if text or event.finish:
                yield chunk(choice(event, text))
        if usage:
            last = chunk()
            last["usage"] = count.total()
            yield last
    finally:
        events.close()


def fold(chunks: Iterable[CompletionChunk]) -> Completion:
    """The whole object that the chunks of a stream (with usage) add up to."""
    choices: dict[int, CompletionChoice] = {}
    for chunk in chunks:
        for part in chunk["choices"]:
            whole = choices.setdefault(part["index"], {**part, "text": ""})
            whole["text"] += part["text"]
            whole["finish_reason"] = part["finish_reason"]
    usage = chunk.get("usage")
    assert usage is not None  # `wants_usage` is true for a request that is folded
    return {
        **head_of(chunk),
        "object": "text_completion",
        "choices": [choices[index] for index in sorted(choices)],
        "usage": usage,
    }


ROUTES = (
    Route(
        "POST",
        "/completions",
        create_completion,
        "Create completion",
        Addresses.MODEL,
        answer=Completion,
        body=CompletionRequest,
        chunk=CompletionChunk,
    ),
)
