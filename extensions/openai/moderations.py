"""Moderations: whether texts and pictures are harmful. Reference: "Moderations"."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag
from typing_extensions import TypedDict

from .chat import start_chat
from .engines.moderators import Judgements, ModerationSteps, Moderator
from .engines.protocol import Capability, run_on
from .errors import NotConfigured
from .generation.chat.request import ChatCompletionRequest
from .generation.moderation import judgement_of, question_of
from .generation.plan import Served
from .generation.slot import run_in_slot
from .limits.served_models import SELF
from .schemas import bad_request
from .schemas.task_request import TaskRequest
from .schemas.validation import RequestPart
from .web.responses.response import Response
from .web.responses.streaming import respond
from .web.routing.routes import MODEL, PathPrefixes, Route, endpoint

if TYPE_CHECKING:
    from .web.context import RequestContext

MAX_INPUTS = 256
MAX_CHARACTERS = 1 << 20  # of one text


class TextPart(RequestPart):
    """A text."""

    type: Literal["text"]
    text: str = Field(max_length=MAX_CHARACTERS)


class ImageUrl(RequestPart):
    """Where a picture is."""

    url: str


class ImagePart(RequestPart):
    """A picture."""

    type: Literal["image_url"]
    image_url: ImageUrl


Part = Annotated[TextPart | ImagePart, Field(discriminator="type")]
Text = Annotated[str, Field(max_length=MAX_CHARACTERS)]
Several = Field(min_length=1, max_length=MAX_INPUTS)


def _form(value: object) -> str | None:
    """Which of the three forms an input has, by its first element."""
    if isinstance(value, str):
        return "text"
    if not isinstance(value, list):
        return None
    return "parts" if value and isinstance(value[0], dict) else "texts"


InputField = Annotated[
    Annotated[Text, Tag("text")]
    | Annotated[list[Text], Several, Tag("texts")]
    | Annotated[list[Part], Several, Tag("parts")],
    Discriminator(
        _form, custom_error_type="wrong_type", custom_error_message="a string or an array"
    ),
]


class ModerationRequest(TaskRequest):
    """Judge texts, or a message of texts and pictures."""

    input: InputField = Field(
        description=f"A text, up to {MAX_INPUTS} texts, or one message's parts: `text` and `image_url`."
    )
    model: str | None = Field(
        None, description="A name that GET /v1/models lists. Default: the model for moderation."
    )

    @property
    def texts(self) -> list[str]:
        """The texts, for a model that takes nothing else. Raises InvalidRequest for pictures."""
        given = self.input
        if isinstance(given, str):
            return [given]
        texts = [each for each in given if isinstance(each, str)]
        if texts:
            return texts
        parts = [each for each in given if isinstance(each, TextPart)]
        if len(parts) < len(given):
            raise bad_request.unsupported(
                "input", "holds pictures, which this model is not asked about."
            )
        return ["\n".join(part.text for part in parts)]

    @property
    def inputs(self) -> Any:
        """As engines take it."""
        given = self.input
        if isinstance(given, str):
            return given
        return [each if isinstance(each, str) else each.model_dump() for each in given]


class ModerationResult(TypedDict):
    """What the model says of one text, or of a message."""

    flagged: bool
    categories: Mapping[str, bool]
    category_scores: Mapping[str, float]
    """From 0 to 1."""
    category_applied_input_types: Mapping[str, Sequence[str]]


class Moderation(TypedDict):
    """One result for each text, in their order."""

    id: str
    model: str
    results: list[ModerationResult]


def create_moderation(context: RequestContext, body: ModerationRequest) -> Response:
    """Say whether texts and pictures are harmful, and in which of the reference's categories.

    A model says it, whose name is in the answer: one of another server (`--upstreams`), or one of this server
    that the operator names for it (`--moderation-model`). What it says is worth as much as that model.
    """
    models, own = context.services.models, context.services.settings.moderation_model
    # Clients may leave the model out here, as OpenAI's have a default.
    default = models.default_for(Capability.MODERATION)
    if own is None or (
        body.model is not None and models.is_able(Capability.MODERATION, body.model)
    ):
        served = context.serve_able(Capability.MODERATION, body.model or default, body.timeout)
        steps = _steps(served, body.inputs)
    else:
        name = models.loaded().name if own == SELF else own
        served = context.serve(name, body.timeout)
        steps = _by_chats(served, body.texts)
    return respond(context, steps, stream=False, fold=_Fold(served))


def _by_chats(served: Served, texts: Sequence[str]) -> ModerationSteps:
    """By a model of this server that writes: one chat for each text."""
    capabilities = served.info.capabilities
    if Capability.GRAMMAR not in capabilities:
        raise NotConfigured(
            f"The model for moderation, {served.info.model}, cannot be held to the categories."
        )
    for text in texts:
        question = question_of(text, logprobs=Capability.LOGPROBS in capabilities)
        body = served.settled(ChatCompletionRequest.model_validate(question))
        chunks, whole = start_chat(body, served, None)
        try:
            for chunk in chunks:
                if chunk is None:
                    yield None
                else:
                    whole.add(chunk)
        finally:
            chunks.close()
        choice = whole.whole()["choices"][0]
        logprobs = choice["logprobs"]
        tokens = logprobs["content"] if logprobs is not None else []
        judged = judgement_of(choice["message"]["content"] or "", tokens)
        yield Judgements((judged,), 0)  # the chat has counted its tokens


def _steps(served: Served, inputs: Any) -> ModerationSteps:
    record = served.request.record
    steps = run_in_slot(
        served, lambda: run_on(served.engine, Moderator, lambda engine: engine.moderate(inputs))
    )
    try:
        for step in steps:
            if step is not None:
                record.prompt_tokens += step.tokens
            yield step
    finally:
        steps.close()


class _Fold:
    has_ended = False

    def __init__(self, served: Served) -> None:
        self._served = served
        self._results: list[ModerationResult] = []

    def add(self, step: Judgements) -> None:
        self._results += [
            {
                "flagged": each.flagged,
                "categories": each.categories,
                "category_scores": each.scores,
                "category_applied_input_types": each.input_types
                or {name: ["text"] for name in each.categories},
            }
            for each in step.judgements
        ]

    def whole(self) -> Moderation:
        return {
            "id": "modr-" + secrets.token_hex(16),
            "model": self._served.info.model,
            "results": self._results,
        }


ROUTES = endpoint(
    "moderations",
    Route(
        *("POST", "/moderations", create_moderation, "Create a moderation"),
        PathPrefixes.API,
        answer=Moderation,
        body=ModerationRequest,
        scope="write",
        usage="moderations",
        example={"model": MODEL, "input": "I want to hug them."},
    ),
)
