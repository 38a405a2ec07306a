"""Embeddings and rerank by another server."""

from __future__ import annotations

import math
import sys
from array import array
from base64 import b64decode
from collections.abc import Mapping, Sequence
from typing import Any

from ....errors import UpstreamFailed
from ....schemas import bad_request
from ...callback_bridge import Emit
from ...encoders import EmbeddingTask, Input, ScoreBatches, Scores, VectorBatches, Vectors
from ...remote.estimates import tokens_in
from ..kinds import KindRow
from .exchange import Exchanges, count, read_leniently

INPUTS_AT_ONCE = 256
"""Of one request to the other server: what is kept of its answer is bounded, and others get their turn."""


def embed(task: EmbeddingTask, exchanges: Exchanges, kind: KindRow) -> VectorBatches:
    """The vectors, by `POST /embeddings`."""
    body: dict[str, Any] = {"encoding_format": "base64"}
    if task.dimensions is not None:
        body["dimensions"] = task.dimensions
    if task.truncate_to is not None:
        if not kind.truncates:
            raise bad_request.unsupported(
                "truncate_prompt_tokens", "is nothing that this model's server takes."
            )
        body["truncate_prompt_tokens"] = task.truncate_to

    def work(emit: Emit[Vectors | None]) -> None:
        for at in range(0, len(task.inputs), INPUTS_AT_ONCE):
            inputs = task.inputs[at : at + INPUTS_AT_ONCE]
            answer = exchanges.json("/embeddings", {**body, "input": _sent(inputs)}, emit)
            if emit(_vectors(answer, inputs)):
                return

    return exchanges.begin(work)


def _sent(inputs: Sequence[Input]) -> list[Any]:
    return [text if isinstance(text, str) else list(text) for text in inputs]


def _vectors(answer: Any, inputs: Sequence[Input]) -> Vectors:
    with read_leniently():
        by_index = {int(each["index"]): _vector(each["embedding"]) for each in answer["data"]}
        vectors = tuple(by_index[at] for at in range(len(inputs)))
        if len({len(vector) for vector in vectors}) != 1 or len(answer["data"]) != len(inputs):
            raise ValueError
    used = answer.get("usage")
    tokens = count(used.get("prompt_tokens")) if isinstance(used, Mapping) else None
    return Vectors(vectors, _estimate(inputs) if tokens is None else tokens)


def _vector(written: str | list[float]) -> array[float]:
    """Numbers, or 32-bit floats in base64."""
    if isinstance(written, str):
        vector = array("f")
        vector.frombytes(b64decode(written, validate=True))
        if sys.byteorder == "big":
            vector.byteswap()
    else:
        vector = array("f", written)
    if not vector or not all(map(math.isfinite, vector)):
        raise UpstreamFailed("The server that has the model answered vectors that are none.")
    return vector


def _estimate(inputs: Sequence[Input]) -> int:
    return sum(tokens_in(text) if isinstance(text, str) else len(text) for text in inputs)


def score(
    query: str, documents: Sequence[str], exchanges: Exchanges, kind: KindRow
) -> ScoreBatches:
    """The scores, by `POST /rerank`."""
    body: dict[str, Any] = {"query": query, "documents": list(documents), **kind.rerank_fields}

    def work(emit: Emit[Scores | None]) -> None:
        emit(_scores(exchanges.json("/rerank", body, emit), query, documents, kind))

    return exchanges.begin(work)


def _scores(answer: Any, query: str, documents: Sequence[str], kind: KindRow) -> Scores:
    with read_leniently():
        results = answer["results"]
        by_index = {int(each["index"]): float(each["relevance_score"]) for each in results}
        scores = tuple(by_index[at] for at in range(len(documents)))
        if not all(map(math.isfinite, scores)):
            raise ValueError
    return Scores(scores, _rerank_tokens(answer, query, documents), not kind.scores_are_logits)


def _rerank_tokens(answer: Any, query: str, documents: Sequence[str]) -> int:
    used = answer.get("usage")
    if isinstance(used, Mapping):
        for name in ("prompt_tokens", "total_tokens"):
            if (tokens := count(used.get(name))) is not None:
                return tokens
    return len(documents) * tokens_in(query) + sum(map(tokens_in, documents))
