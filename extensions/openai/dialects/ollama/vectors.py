"""Vectors in Ollama's two shapes."""

from __future__ import annotations

from typing import Any, Protocol

from ...engines.encoders import Vectors
from ...observability.record import RequestRecord
from .answer import OneVector, VectorList, figures_of


class Embeddings(Protocol):
    """What writes vectors as `POST /v1/embeddings` has them."""

    def add(self, batch: Vectors) -> None: ...

    def whole(self) -> Any: ...


class VectorListFold:
    """Those of POST /api/embed."""

    has_ended = False

    def __init__(self, fold: Embeddings, record: RequestRecord) -> None:
        self.add, self._fold, self._record = fold.add, fold, record

    def whole(self) -> VectorList:
        whole, figures = self._fold.whole(), figures_of(self._record, "stop")
        return {
            "model": whole["model"],
            "embeddings": [each["embedding"] for each in whole["data"]],
            "total_duration": figures["total_duration"],
            "load_duration": figures["load_duration"],
            "prompt_eval_count": figures["prompt_eval_count"],
        }


class OneVectorFold:
    """The one of POST /api/embeddings."""

    has_ended = False

    def __init__(self, fold: Embeddings) -> None:
        self.add, self._fold = fold.add, fold

    def whole(self) -> OneVector:
        return {"embedding": self._fold.whole()["data"][0]["embedding"]}
