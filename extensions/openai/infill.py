"""Infill: the text between two others, with other files of the repository. Not OpenAI's; llama-server's.

The same as `suffix` of `POST /v1/completions`, in the shape that llama.vim, llama.vscode and others ask.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field
from typing_extensions import TypedDict

from .engines.protocol import RepositoryFile
from .generation.answer_head import answer_head
from .generation.events import Event
from .generation.plan import Generation, PromptPlan, asked_of
from .generation.request import GenerationRequest
from .generation.sampling.unsupported_fields import IN_OTHER_DIALECTS, NeutralValues
from .generation.timings import Timings, timings_of
from .schemas.validation import RequestPart, Unsupported
from .web.responses.dialects import OPENAI, Dialect
from .web.responses.response import Response
from .web.responses.sse import StopEvents
from .web.responses.streaming import respond
from .web.routing.routes import PathPrefixes, Route, endpoint

if TYPE_CHECKING:
    from .web.context import RequestContext

MAX_FILES = 1024
WITHOUT_EFFECT = ("n_indent", "t_max_prompt_ms", "t_max_predict_ms")
"""What editors send to get a short answer soon: `n_predict`, `stop` and hanging up do that here."""


class ExtraFile(RequestPart):
    """A file of the repository, or a part of one."""

    filename: str = "tmp"
    text: str


class InfillRequest(GenerationRequest):
    """Fill in the middle. Names beyond llama-server's are the native sampler's, or say so."""

    least_tokens: ClassVar[int] = 0
    refused: ClassVar[NeutralValues] = {
        name: values for name, values in IN_OTHER_DIALECTS.items() if name not in WITHOUT_EFFECT
    }

    input_prefix: str = Field(description="The text before the answer.")
    input_suffix: str = Field(description="The text after the answer.")
    input_extra: Annotated[list[ExtraFile], Field(max_length=MAX_FILES)] | None = Field(
        None,
        description="Other files of the repository, each with `filename` and `text`. What does not fit is "
        "left out from the beginning.",
    )
    prompt: str | None = Field(
        None,
        description="What stands behind `input_prefix`: the beginning of the line at the cursor.",
    )
    n_probs: Annotated[int | None, Unsupported((0,))] = Field(
        None, description="Refused: an answer has no log-probabilities."
    )
    response_fields: Annotated[list[str], Field(max_length=64)] | None = Field(
        None,
        description="The fields of the answer that are wanted; `timings/prompt_ms` is one inside `timings`.",
    )
    cache_prompt: bool | None = Field(None, description="Taken: what prompts share is always kept.")
    id_slot: int | None = Field(None, description="Taken and without effect.")
    n_indent: int | None = Field(None, description="Taken and without effect.")
    t_max_prompt_ms: float | None = Field(None, description="Taken and without effect.")
    t_max_predict_ms: float | None = Field(None, description="Taken and without effect.")

    @property
    def limit(self) -> tuple[int | None, str]:
        return self.agreed_limit(None, "n_predict")

    @property
    def left_out(self) -> list[str]:
        return [name for name in WITHOUT_EFFECT if (getattr(self, name) or 0) > 0]

    @property
    def files(self) -> tuple[RepositoryFile, ...]:
        return tuple(RepositoryFile(each.filename, each.text) for each in self.input_extra or ())


class Infilled(TypedDict, total=False):
    """The answer, or the fields of it that were asked for; in a stream a part, with `stop` the last."""

    index: int
    content: str
    stop: bool
    model: str
    tokens_predicted: int
    tokens_evaluated: int
    tokens_cached: int
    truncated: Literal[False]
    """Of the text at the cursor nothing is ever cut."""
    stop_type: Literal["eos", "limit", "word"]
    stopping_word: str
    timings: Timings


def infill(context: RequestContext, body: InfillRequest) -> Response:
    """Write what stands between `input_prefix` and `input_suffix`, in one piece or as a stream.

    For models that were made for it: capability `infill`.
    """
    served = context.serve(body.model or context.services.models.loaded().name, body.timeout)
    asked = asked_of(served.settled(body), alternatives="n_probs", logprobs="n_probs")
    before = body.input_prefix + (body.prompt or "")
    plan = PromptPlan(asked, (before,), candidates=1, suffix=body.input_suffix, files=body.files)
    return respond(
        context,
        _parts(plan.start(served)),
        stream=bool(body.stream),
        fold=_Fold(body.response_fields),
    )


def _parts(generation: Generation) -> Generator[Infilled | None, None, None]:
    events, count = generation.events, generation.usage
    head = answer_head("infill-", generation.info)
    count.record.answer = head["id"]
    try:
        for event in events:
            if event is None:
                yield None
                continue
            count.add(event)
            part: Infilled = {"index": 0, "content": event.text, "stop": False}
            if event.finish is not None:
                part["stop"], part["model"] = True, head["model"]
                part.update(_end(event, generation))  # type: ignore[typeddict-item]
                yield part
            elif event.text:
                yield part
    finally:
        events.close()


def _end(event: Event, generation: Generation) -> Mapping[str, Any]:
    """What is known of an answer that is complete."""
    record = generation.usage.record
    word = event.stop_string or ""
    return {
        "tokens_predicted": record.completion_tokens,
        "tokens_evaluated": record.prompt_tokens,
        "tokens_cached": record.cached_tokens,
        "truncated": False,
        "stop_type": "limit" if event.finish == "length" else "word" if word else "eos",
        "stopping_word": word,
        "timings": timings_of(record),
    }


class _Fold:
    """Combines parts into the whole."""

    def __init__(self, wanted: list[str] | None) -> None:
        """`wanted`: the fields to answer with; None: all."""
        self._wanted = wanted
        self._texts: list[str] = []
        self._last: Infilled

    def add(self, part: Infilled) -> None:
        self._last = part
        self._texts.append(part["content"])

    @property
    def has_ended(self) -> bool:
        return self._last["stop"]

    def whole(self) -> Mapping[str, Any]:
        whole: dict[str, Any] = {**self._last, "content": "".join(self._texts)}
        if self._wanted is None:
            return whole
        flat = {f"timings/{name}": value for name, value in whole["timings"].items()} | whole
        return {name: flat[name] for name in self._wanted if name in flat}


ROUTES = endpoint(
    "infill",
    Route(
        *("POST", "/infill", infill, "Fill in the middle, as llama-server"),
        PathPrefixes.ROOT,
        answer=Infilled,
        body=InfillRequest,
        chunk=Infilled,
        scope="write",
        example={"input_prefix": "def add(a, b):\n", "input_suffix": "\n", "n_predict": 20},
    ),
    dialect=Dialect(StopEvents(), OPENAI.error, OPENAI.error_type),
)
