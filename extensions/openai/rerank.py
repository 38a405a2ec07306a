"""Rerank: documents, the best answer to a query first. Not OpenAI's; Jina's and Cohere's shapes."""

from __future__ import annotations

import math
import secrets
from collections.abc import Sequence
from operator import methodcaller
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AliasChoices, Field
from typing_extensions import NotRequired, TypedDict

from .engines.encoders import Reranker, ScoreBatches, Scores
from .engines.protocol import Capability, ask, run_on
from .engines.tokens.context_length import max_tokens_of
from .errors import InputTooLong
from .generation.encoding import MAX_TOKEN_CHARACTERS
from .generation.plan import Served
from .generation.slot import run_in_slot
from .schemas import bad_request
from .schemas.task_request import TaskRequest
from .schemas.validation import RequestPart
from .web.responses.response import Response
from .web.responses.streaming import respond
from .web.routing.routes import MODEL, PathPrefixes, Route, endpoint

if TYPE_CHECKING:
    from .web.context import RequestContext

MAX_DOCUMENTS = 2048
MAX_MARKS = 64  # special tokens of a pair, whatever the model
ADVICE = "Shorten the document or the query."


class TextDocument(RequestPart):
    """A document as an object."""

    text: str


class RerankRequest(TaskRequest):
    """Order documents by a query."""

    query: str = Field(min_length=1, description="What is looked for.")
    documents: Annotated[
        list[str | TextDocument], Field(min_length=1, max_length=MAX_DOCUMENTS)
    ] = Field(
        validation_alias=AliasChoices("documents", "texts"),
        description=f"Up to {MAX_DOCUMENTS} texts, or objects with a `text`.",
    )
    top_n: int | None = Field(
        None,
        validation_alias=AliasChoices("top_n", "top_k"),
        ge=1,
        description="How many results to answer with, the best ones. Default: all.",
    )
    return_documents: bool | None = Field(
        None, description="Put each document's text into its result. Default: no."
    )
    raw_scores: bool | None = Field(
        None,
        description="Answer with the model's own numbers (logits) in place of values from 0 to 1.",
    )

    @property
    def texts(self) -> list[str]:
        return [each if isinstance(each, str) else each.text for each in self.documents]

    @property
    def prompt(self) -> list[str]:
        """What limits of tokens are estimated by: each document is read together with the query."""
        return [self.query + text for text in self.texts]


class RerankedText(TypedDict):
    """A document as it was sent."""

    text: str


class RerankResult(TypedDict):
    """One document."""

    index: int
    """Its place among those that were sent."""
    relevance_score: float
    """From 0 to 1, or the model's own number."""
    document: NotRequired[RerankedText]


class RerankUsage(TypedDict):
    """The tokens of the query with each document."""

    prompt_tokens: int
    total_tokens: int


class ApiVersion(TypedDict):
    version: str


class BilledUnits(TypedDict):
    search_units: int


class RerankMeta(TypedDict):
    """As Cohere's clients read it."""

    api_version: ApiVersion
    billed_units: BilledUnits


class Reranked(TypedDict):
    """The documents, the best one first. Jina's clients read `object`, `model` and `usage`, Cohere's `id` and
    `meta`."""

    id: str
    object: Literal["list"]
    model: str
    results: list[RerankResult]
    usage: RerankUsage
    meta: RerankMeta


def rerank(context: RequestContext, body: RerankRequest) -> Response:
    """Order documents by how well they answer a query, the best one first.

    A rerank model reads the query together with each document; the operator loads it beside the chat model
    (`--rerank-model`).
    """
    served = context.serve_able(Capability.RERANK, body.model, body.timeout)
    texts = body.texts
    _check_lengths(body.query, texts, served)
    return respond(
        context, _batches(served, body.query, texts), stream=False, fold=_Fold(served, body)
    )


def _check_lengths(query: str, texts: Sequence[str], served: Served) -> None:
    """Raises InputTooLong for a pair that the model cannot read as a whole."""
    context, empty = served.info.context_length, [at for at, text in enumerate(texts) if not text]
    if empty:
        raise bad_request.wrong_length(f"documents[{empty[0]}]", "string", 0, low=1)
    if served.info.is_remote:
        return  # the other server counts
    longest = MAX_TOKEN_CHARACTERS * context
    around = max_tokens_of(query) + MAX_MARKS
    for at, text in enumerate(texts):
        if max_tokens_of(text) + around <= context:
            continue
        tokens = ask(
            served.engine,
            Reranker,
            methodcaller("pair_tokens", query[:longest], text[:longest]),
        )
        if tokens > context:
            raise InputTooLong(
                tokens=tokens, context_length=context, param=f"documents[{at}]", advice=ADVICE
            )


def _batches(served: Served, query: str, texts: Sequence[str]) -> ScoreBatches:
    record = served.request.record
    batches = run_in_slot(
        served,
        lambda: run_on(
            served.engine, Reranker, lambda engine: engine.score_documents(query, texts)
        ),
    )
    try:
        for batch in batches:
            if batch is not None:
                record.prompt_tokens += batch.tokens
            yield batch
    finally:
        batches.close()


class _Fold:
    """Sorts the documents once all have their scores."""

    has_ended = False

    def __init__(self, served: Served, body: RerankRequest) -> None:
        self._served, self._body = served, body
        self._scores: list[float] = []
        self._are_relevances = False

    def add(self, batch: Scores) -> None:
        self._scores += batch.scores
        self._are_relevances = batch.are_relevances
        if self._are_relevances and self._body.raw_scores:
            raise bad_request.unsupported(
                "raw_scores", "is nothing that this model's server answers with."
            )

    def whole(self) -> Reranked:
        tokens, body = self._served.request.record.prompt_tokens, self._body
        order = sorted(range(len(self._scores)), key=lambda at: -self._scores[at])
        return {
            "id": "rerank-" + secrets.token_hex(16),
            "object": "list",
            "model": self._served.info.model,
            "results": [self._result(at) for at in order[: body.top_n]],
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
            "meta": {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}},
        }

    def _result(self, at: int) -> RerankResult:
        score = self._scores[at]
        is_final = self._body.raw_scores or self._are_relevances
        result: RerankResult = {
            "index": at,
            "relevance_score": score if is_final else sigmoid(score),
        }
        if self._body.return_documents:
            result["document"] = {"text": self._body.texts[at]}
        return result


def sigmoid(logit: float) -> float:
    """From a logit to a value between 0 and 1."""
    return 1 / (1 + math.exp(-max(-700.0, logit)))


def _at(path: str, addresses: PathPrefixes) -> Route:
    return Route(
        *("POST", path, rerank, "Rerank documents", addresses),
        answer=Reranked,
        body=RerankRequest,
        scope="write",
        usage="rerank",
        example={"model": MODEL, "query": "pets", "documents": ["The cat sat.", "The sun shines."]},
    )


ROUTES = endpoint("rerank", _at("/rerank", PathPrefixes.API), _at("/v2/rerank", PathPrefixes.ROOT))
