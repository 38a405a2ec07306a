"""Decisions: typed questions about an input, answered with probabilities. Reference: "Decisions".

Nothing is written: the model's own probabilities of the answers are read (`generation/deciding.py`).
"""

from __future__ import annotations

from collections.abc import Generator
from functools import partial
from typing import TYPE_CHECKING, Literal

from typing_extensions import TypedDict

from .dialects.decisions.conversation import Conversation
from .dialects.decisions.request import (
    ChoiceQuestion,
    DecisionRequest,
    PredicateQuestion,
    Question,
    check_values,
    labels_of,
)
from .errors import RequestStopped
from .generation.answer_size import Names
from .generation.chat.reasoning import plan_thinking
from .generation.deciding import ALTERNATIVES, DecisionPlan, Shares, confidence
from .generation.plan import Asked, Served
from .generation.sampling.table import NativeSampling
from .generation.usage import UsageCount
from .schemas import bad_request
from .web.responses.response import Response
from .web.responses.streaming import respond
from .web.routing.routes import MODEL, PathPrefixes, Route, endpoint

if TYPE_CHECKING:
    from .web.context import RequestContext


class PredicateAnswer(TypedDict):
    """`probability`: of the statement being true."""

    type: Literal["predicate"]
    name: str | None
    probability: float


class ChoiceProbability(TypedDict):
    value: str | bool
    probability: float


class ChoiceAnswer(TypedDict):
    """The likeliest value. `confidence`: 0 where all are as likely, 1 where one is certain."""

    type: Literal["choice"]
    name: str | None
    choice: str | bool
    probabilities: list[ChoiceProbability]
    confidence: float


class LevelProbability(TypedDict):
    """`value`: the level's place, from 0."""

    value: int
    label: str
    probability: float


class ScoreAnswer(TypedDict):
    """`score`: the mean of the levels' places, weighted by their probabilities."""

    type: Literal["score"]
    name: str | None
    score: float
    probabilities: list[LevelProbability]
    confidence: float


DecisionAnswer = PredicateAnswer | ChoiceAnswer | ScoreAnswer


class InputTokensDetails(TypedDict):
    cached_tokens: int
    cache_write_tokens: Literal[0]


class OutputTokensDetails(TypedDict):
    reasoning_tokens: Literal[0]


class DecisionUsage(TypedDict):
    """Tokens of the prompts, one for each question; what they share is counted as cached."""

    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: Literal[0]
    output_tokens_details: OutputTokensDetails
    total_tokens: int


class Decision(TypedDict):
    """The answers, in the order of the questions."""

    model: str
    answers: list[DecisionAnswer]
    usage: DecisionUsage


def create_decision(context: RequestContext, body: DecisionRequest) -> Response:
    """Answer typed questions about an input with the model's own probabilities.

    Any model with log-probabilities can do it: nothing is written, so an answer takes as long as its prompt
    is read, and what the questions share is read once.
    """
    for at, question in enumerate(body.questions):
        check_values(question, f"questions[{at}]")
    served = context.serve(body.model, body.timeout)
    if served.info.is_remote:
        raise bad_request.unsupported(
            "model", "is another server's, which does not report the probabilities of all answers."
        )
    count = UsageCount(1, served.request.record)
    return respond(
        context, shares_of(body, served, count), stream=False, fold=_Fold(body, served, count)
    )


def shares_of(
    body: DecisionRequest, served: Served, count: UsageCount, *, param: str = "input"
) -> Generator[Shares | None, None, None]:
    """The probabilities of each question's answers; `param`: the input's field. Raises InvalidRequest."""
    if served.info.is_remote:
        raise bad_request.unsupported(
            "model", "is another server's, which does not report the probabilities of all answers."
        )
    asked = Asked(
        NativeSampling(),
        Names("questions", "questions", "questions"),
        limit=1,
        alternatives=ALTERNATIVES,
        logprobs_param="questions",
        cache_salt=body.cache_salt or "",
    )
    thinking = plan_thinking({}, {"thinking": False}, {}, served.info, {}, shown=False)
    conversation = Conversation(body)
    for at, question in enumerate(body.questions):
        plan = DecisionPlan(
            asked,
            partial(conversation.asking, at),
            thinking=thinking,
            labels=labels_of(question),
            param=param,
        )
        generation = plan.start(served, count)
        try:
            for event in generation.events:
                if event is not None:
                    count.add(event)
                yield None
        finally:
            generation.events.close()
        if plan.found.shares is None:
            raise RequestStopped
        yield plan.found.shares


def _answer(question: Question, shares: Shares) -> DecisionAnswer:
    name = question.name
    if isinstance(question, PredicateQuestion):
        return {"type": "predicate", "name": name, "probability": shares[0]}
    if isinstance(question, ChoiceQuestion):
        values = [each.value for each in question.choices]
        best = max(range(len(values)), key=shares.__getitem__)
        return {
            "type": "choice",
            "name": name,
            "choice": values[best],
            "probabilities": [
                {"value": value, "probability": share}
                for value, share in zip(values, shares, strict=True)
            ],
            "confidence": confidence(shares),
        }
    return {
        "type": "score",
        "name": name,
        "score": sum(at * share for at, share in enumerate(shares)),
        "probabilities": [
            {"value": at, "label": level.label, "probability": share}
            for at, (level, share) in enumerate(zip(question.levels, shares, strict=True))
        ],
        "confidence": confidence(shares),
    }


class _Fold:
    has_ended = False

    def __init__(self, body: DecisionRequest, served: Served, count: UsageCount) -> None:
        self._questions, self._served, self._count = body.questions, served, count
        self._answers: list[DecisionAnswer] = []

    def add(self, shares: Shares) -> None:
        self._answers.append(_answer(self._questions[len(self._answers)], shares))

    def whole(self) -> Decision:
        used = self._count.total()
        return {
            "model": self._served.info.model,
            "answers": self._answers,
            "usage": {
                "input_tokens": used["prompt_tokens"],
                "input_tokens_details": {
                    "cached_tokens": used["prompt_tokens_details"]["cached_tokens"],
                    "cache_write_tokens": 0,
                },
                "output_tokens": 0,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": used["prompt_tokens"],
            },
        }


ROUTES = endpoint(
    "decisions",
    Route(
        *("POST", "/decisions", create_decision, "Create a decision"),
        PathPrefixes.API,
        answer=Decision,
        body=DecisionRequest,
        scope="write",
        usage="completions",
        example={
            "model": MODEL,
            "input": "I was charged twice!",
            "questions": [
                {"type": "predicate", "instructions": "The customer is angry."},
                {
                    "type": "choice",
                    "instructions": "What is it about?",
                    "choices": [{"value": "billing"}, {"value": "delivery"}],
                },
            ],
        },
    ),
)
