"""Fill in the middle: the text between two others, for editors. Not OpenAI's; Mistral's shape.

The same as `suffix` of `POST /v1/completions`, with an answer in the shape of a chat's.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field
from typing_extensions import NotRequired, TypedDict

from .engines.protocol import Finish
from .generation.answer_head import AnswerHead, answer_head, head_of
from .generation.plan import Generation, PromptPlan, asked_of
from .generation.request import GenerationRequest
from .generation.usage import Usage
from .schemas import bad_request
from .schemas.validation import RequestModel, all_names, check
from .web.responses.response import Response
from .web.responses.streaming import respond
from .web.routing.routes import MODEL, PathPrefixes, Route, endpoint

if TYPE_CHECKING:
    from .web.context import RequestContext


class FimFields(GenerationRequest):
    """All fields of a completion that are not about several choices."""

    least_tokens: ClassVar[int] = 0
    max_tokens: int | None = Field(None, ge=-1)

    @property
    def limit(self) -> tuple[int | None, str]:
        return self.agreed_limit(self.max_tokens, "max_tokens")


class FimRequest(RequestModel):
    """Fill in the middle. Takes the fields of POST /v1/completions, too."""

    checked_later: ClassVar[frozenset[str]] = all_names(FimFields)

    prompt: str = Field(description="The text before the answer.")
    suffix: str | None = Field(
        None, description="The text after the answer; without one, the prompt is continued."
    )
    model: str | None = Field(None, description="A name that GET /v1/models lists.")
    max_tokens: int | None = Field(
        None, ge=-1, description="Tokens to generate at most. Default: what the context holds."
    )
    stream: bool | None = Field(None, description="Send the answer as it is made.")
    random_seed: int | None = Field(
        None, ge=0, le=2**63 - 1, description="The same seed and request give the same answer."
    )

    @property
    def fields(self) -> FimFields:
        """Those of a completion. Raises InvalidRequest."""
        given = {**dict(self), **(self.model_extra or {})}
        seed = given.pop("random_seed")
        if seed is not None and given.get("seed") not in (None, seed):
            raise bad_request.conflicting("random_seed", "seed")
        if seed is not None:
            given["seed"] = seed
        known = all_names(FimFields)
        return check(FimFields, {name: each for name, each in given.items() if name in known})


class FimMessage(TypedDict):
    """The answer's text."""

    role: Literal["assistant"]
    content: str


class FimChoice(TypedDict):
    """The answer."""

    index: int
    message: FimMessage
    finish_reason: Finish | None


class FimDelta(TypedDict):
    """What a chunk adds; the first one has the role."""

    role: NotRequired[Literal["assistant"]]
    content: str


class FimChunkChoice(TypedDict):
    """A part of the answer."""

    index: int
    delta: FimDelta
    finish_reason: Finish | None


class FimCompletion(AnswerHead):
    """The whole answer."""

    object: Literal["chat.completion"]
    choices: list[FimChoice]
    usage: Usage


class FimChunk(AnswerHead):
    """The data of one event; the last one has the usage."""

    object: Literal["chat.completion.chunk"]
    choices: list[FimChunkChoice]
    usage: NotRequired[Usage]


def create_fim_completion(context: RequestContext, body: FimRequest) -> Response:
    """Write what stands between `prompt` and `suffix`, in one piece or as a stream.

    For models that were made for it: capability `infill`.
    """
    fields = body.fields
    served = context.serve(fields.model, fields.timeout)
    asked = asked_of(served.settled(fields), alternatives="n_probs", logprobs="n_probs")
    plan = PromptPlan(asked, (body.prompt,), candidates=1, suffix=body.suffix or None)
    return respond(context, _chunks(plan.start(served)), stream=bool(body.stream), fold=_Fold())


def _chunks(generation: Generation) -> Generator[FimChunk | None, None, None]:
    events, count = generation.events, generation.usage
    head = answer_head("fim-", generation.info)
    count.record.answer = head["id"]
    delta: FimDelta = {"role": "assistant", "content": ""}
    try:
        for event in events:
            if event is None:
                yield None
                continue
            count.add(event)
            if not (event.text or event.finish):
                continue
            delta["content"] = event.text
            chunk: FimChunk = {
                "id": head["id"],
                "created": head["created"],
                "model": head["model"],
                "system_fingerprint": head["system_fingerprint"],
                "object": "chat.completion.chunk",
                "choices": [{"index": 0, "delta": delta, "finish_reason": event.finish}],
            }
            if event.finish is not None:
                chunk["usage"] = count.total()
            yield chunk
            delta = {"content": ""}
    finally:
        events.close()


class _Fold:
    """Combines chunks into the whole object."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._last: FimChunk
        self._usage: Usage
        self.has_ended = False

    def add(self, chunk: FimChunk) -> None:
        self._last = chunk
        self._texts.append(chunk["choices"][0]["delta"]["content"])
        if "usage" in chunk:
            self._usage, self.has_ended = chunk["usage"], True

    def whole(self) -> FimCompletion:
        finish = self._last["choices"][0]["finish_reason"]
        message: FimMessage = {"role": "assistant", "content": "".join(self._texts)}
        return {
            **head_of(self._last),
            "object": "chat.completion",
            "choices": [{"index": 0, "message": message, "finish_reason": finish}],
            "usage": self._usage,
        }


ROUTES = endpoint(
    "fim",
    Route(
        *("POST", "/fim/completions", create_fim_completion, "Fill in the middle"),
        PathPrefixes.API,
        answer=FimCompletion,
        body=FimRequest,
        chunk=FimChunk,
        scope="write",
        example={"model": MODEL, "prompt": "def f(x):", "max_tokens": 40},
    ),
)
