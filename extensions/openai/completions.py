"""Completions: continue a prompt. Reference: "Completions" (legacy)."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import AliasChoices, Discriminator, Field, Tag
from typing_extensions import NotRequired

from .engines.protocol import EngineInfo, Finish
from .generation.answer_head import AnswerHead, answer_head
from .generation.continue_prompt import Prompt
from .generation.events import Event
from .generation.logprobs import CompletionLogprobs, append_logprobs, completion_logprobs
from .generation.plan import Generation, PromptPlan, asked_of
from .generation.prompt_progress import ProgressReporter, PromptProgress
from .generation.request import MAX_TOKENS_ALIASES, ChoicesRequest
from .generation.sampling.profiles import profile_of
from .generation.sampling.unsupported_fields import IN_COMPLETIONS, NeutralValues
from .generation.stop_report import LOOP, StopReport, StopReporter
from .generation.timings import Timings, timings_of
from .generation.usage import Usage, UsageCount
from .schemas import bad_request
from .web.context import SESSION_HEADER
from .web.responses.response import Response
from .web.responses.streaming import respond
from .web.routing.routes import MODEL, PathPrefixes, Route, endpoint

if TYPE_CHECKING:
    from .web.context import RequestContext

MAX_PROMPTS = 2048
DEFAULT_MAX_TOKENS = 16
REFERENCE_LOGPROBS = 5

TokenIds = Annotated[list[int], Field(min_length=1)]


def _prompt_form(value: object) -> str | None:
    """Which of the four forms a prompt has, by its first element."""
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


class CompletionRequest(ChoicesRequest):
    """Create completion. Names beyond the reference's are the native sampler's."""

    refused: ClassVar[NeutralValues] = IN_COMPLETIONS
    elsewhere: ClassVar[Mapping[str, str]] = {"messages": "POST /v1/chat/completions"}
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
        return self.n_probs or None if self.logprobs is None else self.logprobs

    @property
    def limit(self) -> tuple[int | None, str]:
        return self.agreed_limit(self.max_tokens, "max_tokens")

    def check_reference(self) -> None:
        super().check_reference()
        if self.logprobs is not None and self.logprobs > REFERENCE_LOGPROBS:
            raise bad_request.out_of_range(
                "logprobs", self.logprobs, low=None, high=REFERENCE_LOGPROBS
            )

    @property
    def candidates(self) -> int:
        """How many choices to generate for each prompt. Raises InvalidRequest as OpenAI does."""
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


class CompletionChoice(StopReport):
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
    timings: NotRequired[Timings]


class CompletionChunk(AnswerHead):
    """The data of one event; `usage` is there when it was asked for, and null on all but the last."""

    object: Literal["text_completion"]
    choices: list[CompletionChoice]
    usage: NotRequired[Usage | None]
    timings: NotRequired[Timings]
    prompt_progress: NotRequired[PromptProgress]


def create_completion(context: RequestContext, body: CompletionRequest) -> Response:
    """Continue a prompt, in one piece or as a stream (`stream`).

    A prompt is a text or a list of token ids; of several prompts, choice `i` belongs to prompt `i // n`.
    The text is continued as it stands, without the model's chat template: for conversations there is
    `/v1/chat/completions`.
    """
    served = context.serve(body.model, body.timeout)
    if context.session_header is not None:
        context.record.ignored.append(SESSION_HEADER)  # a prompt has no turns
    body = served.settled(body)
    plan = _plan(body, served.info)
    if body.truncate_prompt_tokens is not None:
        from .generation.truncation import truncated  # loaded by requests that ask for it

        plan = truncated(plan, body.truncate_prompt_tokens, served)
    generation = plan.start(served)
    return respond(
        context,
        _chunks(generation, body),
        stream=bool(body.stream),
        fold=Fold(generation.usage, (body.n or 1) * len(body.prompts)),
    )


def _plan(body: CompletionRequest, info: EngineInfo) -> PromptPlan:
    """Make a neutral plan of the request. Raises InvalidRequest for contradicting fields."""
    n, prompts = body.n or 1, tuple(body.prompts)
    # In some engines `best_of` is a parameter of the sampler, not a number of candidates.
    candidates = n if "best_of" in profile_of(info).borrowed else body.candidates
    if len(prompts) * candidates > MAX_PROMPTS:
        raise bad_request.out_of_range("n", candidates, low=None, high=MAX_PROMPTS // len(prompts))
    many = "best_of" if body.best_of else "n" if body.n else "prompt"
    logprobs = "n_probs" if body.logprobs is None else "logprobs"
    return PromptPlan(
        asked_of(
            body,
            n=body.n or 1,
            choices=many,
            alternatives=many if body.alternatives is None else logprobs,
            logprobs=logprobs,
        ),
        prompts,
        candidates,
        DEFAULT_MAX_TOKENS,
        body.suffix or None,
        bool(body.echo),
    )


def _chunks(
    generation: Generation, body: CompletionRequest
) -> Generator[CompletionChunk | None, None, None]:
    """Write events as chunks of the reference."""
    events, count = generation.events, generation.usage
    logprobs, usage = body.alternatives, body.shows_usage
    head = answer_head("cmpl-", generation.info)
    count.record.answer = head["id"]
    reporter = StopReporter(body.reported_stop_tokens) if body.return_stop_reason else None
    echoed: dict[int, int] = {}  # characters of the echoed prompt, by choice

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
        if body.timings_per_token:
            made["timings"] = timings_of(count.record)
        return made

    def reading(progress: PromptProgress) -> CompletionChunk:
        made = chunk(choice(Event(0)))
        made["prompt_progress"] = progress
        return made

    def choice(event: Event) -> CompletionChoice:
        if event.echo:
            echoed[event.index] = len(event.text)
        at = 0 if event.echo else echoed.get(event.index, 0) + event.logprobs_at
        made: CompletionChoice = {
            "text": event.text,
            "index": event.index,
            "logprobs": None if logprobs is None else completion_logprobs(event.logprobs, at),
            "finish_reason": event.finish,
        }
        if reporter is not None or event.loop:
            report = LOOP if reporter is None else reporter.add(event)
            made.update(report)  # type: ignore[typeddict-item]  # a part of its keys
        return made

    wants_progress = body.return_progress and body.stream
    progress = ProgressReporter(count.record) if wants_progress else None
    try:
        for event in events:
            if event is None:
                if progress is not None and (read := progress.new()):
                    yield reading(read)
                yield None
                continue
            count.add(event)
            if progress is not None and (read := progress.end()):
                yield reading(read)
            if event.text or event.finish or event.logprobs:
                yield chunk(choice(event))
        if usage:
            last = chunk()
            last["usage"] = count.total()
            yield last
    finally:
        events.close()


class Fold:
    """Combines chunks into the whole object, with the usage."""

    def __init__(self, usage: UsageCount, choices: int) -> None:
        """`choices`: how many to expect."""
        self._usage = usage
        self._left = choices
        self._choices: dict[int, CompletionChoice] = {}
        self._texts: dict[int, list[str]] = {}
        self._last: CompletionChunk

    def add(self, chunk: CompletionChunk) -> None:
        self._last = chunk
        for part in chunk["choices"]:
            whole = self._choices.setdefault(part["index"], part)
            self._texts.setdefault(part["index"], []).append(part["text"])
            whole["finish_reason"] = part["finish_reason"]
            if "stop_reason" in part:
                whole["stop_reason"] = part["stop_reason"]
                whole["stopping_word"] = part["stopping_word"]
            self._left -= part["finish_reason"] is not None
            if whole is not part and whole["logprobs"] is not None:
                append_logprobs(whole["logprobs"], part["logprobs"])

    @property
    def has_ended(self) -> bool:
        return not self._left

    def whole(self) -> Completion:
        for index, parts in self._texts.items():
            self._choices[index]["text"] = "".join(parts)
        last = self._last
        completion: Completion = {
            "id": last["id"],
            "created": last["created"],
            "model": last["model"],
            "system_fingerprint": last["system_fingerprint"],
            "object": "text_completion",
            "choices": [self._choices[index] for index in sorted(self._choices)],
            "usage": self._usage.total(),
        }
        if "timings" in last:
            completion["timings"] = last["timings"]
        return completion


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
        example={"model": MODEL, "prompt": "Once upon a time", "max_tokens": 40},
        chunk=CompletionChunk,
        cached=True,
        scope="write",
    ),
)
