"""System One: the same decisions in the shape of TypeSafe's API; llama-server, vLLM and Ollama have it.

POST /v1/systemone   {"state", "questions": {name: {"type", "instructions", "criteria"}}}
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import orjson
from pydantic import Field
from typing_extensions import TypedDict

from .decisions import shares_of
from .dialects.decisions.request import (
    MAX_CHOICES,
    MAX_LEVELS,
    MAX_QUESTIONS,
    ChoiceQuestion,
    DecisionRequest,
    Level,
    Option,
    PredicateQuestion,
    Question,
    ScoreQuestion,
)
from .generation.deciding import Shares, confidence
from .generation.plan import Served
from .generation.usage import UsageCount
from .schemas import bad_request
from .schemas.task_request import TaskRequest
from .schemas.validation import RequestPart
from .web.responses.response import Response
from .web.responses.streaming import respond
from .web.routing.routes import MODEL, PathPrefixes, Route, endpoint

if TYPE_CHECKING:
    from .web.context import RequestContext

Content = str | dict[str, Any] | list[Any]
"""A text, or JSON, which the model reads as text."""


class _Asked(RequestPart):
    instructions: Content


class NoulCriteria(RequestPart):
    """What each side means."""

    true: str | None = None
    false: str | None = None


class Noul(_Asked):
    """Yes or no."""

    type: Literal["noul"]
    criteria: NoulCriteria | None = None


class Choice(_Asked):
    """One of several names, each with a description or none."""

    type: Literal["choice"]
    criteria: Annotated[dict[str, str | None], Field(min_length=2, max_length=MAX_CHOICES)]


class Score(_Asked):
    """A level of a scale, the lowest first."""

    type: Literal["score"]
    criteria: Annotated[list[Content], Field(min_length=2, max_length=MAX_LEVELS)]


SystemOneQuestion = Annotated[Noul | Choice | Score, Field(discriminator="type")]


class SystemOneRequest(TaskRequest):
    """Ask typed questions about a state."""

    state: Content = Field(description="What the questions are about: a text, or JSON.")
    questions: Annotated[
        dict[str, SystemOneQuestion], Field(min_length=1, max_length=MAX_QUESTIONS)
    ] = Field(
        description="Questions by name. `noul`: yes or no. `choice`: `criteria` has a description or null "
        "for each name. `score`: `criteria` lists levels, the lowest first."
    )

    @property
    def prompt(self) -> list[Any]:
        """What limits of tokens are estimated by."""
        return [self.state, *self.questions.values()]


class NoulAnswer(TypedDict):
    """`noul`: the probability of yes."""

    type: Literal["noul"]
    noul: float


class NamedChoiceAnswer(TypedDict):
    type: Literal["choice"]
    choice: str
    probabilities: dict[str, float]
    confidence: float


class LevelAnswer(TypedDict):
    """`score`: the mean of the levels' numbers, weighted by their probabilities."""

    type: Literal["score"]
    score: float
    legend: dict[str, Any]
    probabilities: dict[str, float]
    confidence: float


SystemOneAnswer = NoulAnswer | NamedChoiceAnswer | LevelAnswer


class SystemOneUsage(TypedDict):
    input_tokens: int
    output_tokens: Literal[0]


class SystemOne(TypedDict):
    """The answers by the names of their questions."""

    model: str
    answers: dict[str, SystemOneAnswer]
    usage: SystemOneUsage


def create_systemone_decision(context: RequestContext, body: SystemOneRequest) -> Response:
    """The same as `POST /v1/decisions`, in TypeSafe's shape."""
    served = context.serve(body.model or context.services.models.loaded().name, body.timeout)
    count = UsageCount(1, served.request.record)
    same = DecisionRequest(
        model=served.info.model,
        input=_text(body.state),
        questions=[_question(name, each) for name, each in body.questions.items()],
    )
    return respond(
        context,
        shares_of(same, served, count, param="state"),
        stream=False,
        fold=_Fold(body, served, count),
    )


def _text(content: Content) -> str:
    return content if isinstance(content, str) else orjson.dumps(content).decode()


def _question(name: str, asked: Noul | Choice | Score) -> Question:
    instructions = _text(asked.instructions)
    if not instructions:
        raise bad_request.wrong_length(f"questions.{name}.instructions", "string", 0, low=1)
    if isinstance(asked, Noul):
        sides = asked.criteria or NoulCriteria()
        means = [(word, what) for word, what in (("Yes", sides.true), ("No", sides.false)) if what]
        lines = [instructions, *(f"{word} means: {what}" for word, what in means)]
        return PredicateQuestion(type="predicate", instructions="\n".join(lines))
    if isinstance(asked, Choice):
        options = [Option(value=value, description=what) for value, what in asked.criteria.items()]
        return ChoiceQuestion(type="choice", instructions=instructions, choices=options)
    levels = [Level(label=_text(level)) for level in asked.criteria]
    return ScoreQuestion(type="score", instructions=instructions, levels=levels)


class _Fold:
    has_ended = False

    def __init__(self, body: SystemOneRequest, served: Served, count: UsageCount) -> None:
        self._asked = list(body.questions.items())
        self._served, self._count = served, count
        self._answers: dict[str, SystemOneAnswer] = {}

    def add(self, shares: Shares) -> None:
        name, asked = self._asked[len(self._answers)]
        self._answers[name] = _answer(asked, shares)

    def whole(self) -> SystemOne:
        tokens = self._count.total()["prompt_tokens"]
        return {
            "model": self._served.info.model,
            "answers": self._answers,
            "usage": {"input_tokens": tokens, "output_tokens": 0},
        }


def _answer(asked: Noul | Choice | Score, shares: Shares) -> SystemOneAnswer:
    if isinstance(asked, Noul):
        return {"type": "noul", "noul": shares[0]}
    if isinstance(asked, Choice):
        probabilities = dict(zip(asked.criteria, shares, strict=True))
        return {
            "type": "choice",
            "choice": max(probabilities, key=probabilities.__getitem__),
            "probabilities": probabilities,
            "confidence": confidence(shares),
        }
    return {
        "type": "score",
        "score": sum(at * share for at, share in enumerate(shares)),
        "legend": {str(at): level for at, level in enumerate(asked.criteria)},
        "probabilities": {str(at): share for at, share in enumerate(shares)},
        "confidence": confidence(shares),
    }


ROUTES = endpoint(
    "decisions",
    Route(
        *("POST", "/systemone", create_systemone_decision, "Create a System One decision"),
        PathPrefixes.API,
        answer=SystemOne,
        body=SystemOneRequest,
        scope="write",
        usage="completions",
        example={
            "model": MODEL,
            "state": "I was charged twice!",
            "questions": {"angry": {"type": "noul", "instructions": "Is the customer angry?"}},
        },
    ),
)
