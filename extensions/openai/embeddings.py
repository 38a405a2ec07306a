"""Embeddings: texts into vectors. Reference: "Embeddings"."""

from __future__ import annotations

import math
import sys
from array import array
from base64 import b64encode
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import orjson
from pydantic import Discriminator, Field, Tag
from typing_extensions import TypedDict

from .engines.encoders import (
    Embedder,
    EmbeddingTask,
    Input,
    RemoteEmbedder,
    VectorBatches,
    Vectors,
)
from .engines.protocol import Capability, run_on
from .generation.encoding import fitting
from .generation.plan import Served
from .generation.slot import run_in_slot
from .schemas import bad_request
from .schemas.task_request import TaskRequest
from .web.responses.response import Response
from .web.responses.streaming import respond
from .web.routing.routes import MODEL, PathPrefixes, Route, endpoint

if TYPE_CHECKING:
    from .web.context import RequestContext

MAX_INPUTS = 2048
ALL_THAT_FITS = -1

Text = Annotated[str, Field(min_length=1)]
TokenIds = Annotated[list[int], Field(min_length=1)]
Several = Field(min_length=1, max_length=MAX_INPUTS)


def _form(value: object) -> str | None:
    """Which of the four forms an input has, by its first element."""
    if isinstance(value, str):
        return "text"
    if not isinstance(value, list):
        return None
    first = value[0] if value else ""
    return "lists" if isinstance(first, list) else "texts" if isinstance(first, str) else "tokens"


InputField = Annotated[
    Annotated[Text, Tag("text")]
    | Annotated[list[Text], Several, Tag("texts")]
    | Annotated[TokenIds, Tag("tokens")]
    | Annotated[list[TokenIds], Several, Tag("lists")],
    Discriminator(
        _form, custom_error_type="wrong_type", custom_error_message="a string or an array"
    ),
]


class EmbeddingsRequest(TaskRequest):
    """Create embeddings."""

    input: InputField = Field(
        description=f"A text, up to {MAX_INPUTS} of them, token ids, or up to {MAX_INPUTS} lists of them. A "
        "text gets the special tokens that the model wants around it; token ids are taken as they are."
    )
    dimensions: int | None = Field(
        None,
        ge=1,
        description="The numbers of a vector. Fewer than the model's: the first ones, scaled to length 1; "
        "only for models that were trained for it.",
    )
    encoding_format: Literal["float", "base64"] | None = Field(
        None,
        description="`float`: a list of numbers; `base64`: the same as 32-bit floats, little-endian. "
        "Default `float`.",
    )
    truncate_prompt_tokens: int | None = Field(
        None,
        ge=ALL_THAT_FITS,
        description="Keep the first so many tokens of each input, special ones included; -1: as many as the "
        "model reads. Default: a longer input is refused. vLLM's name.",
    )
    truncate: bool | Literal["NONE", "END"] | None = Field(
        None,
        description="True or `END`: as `truncate_prompt_tokens: -1`. Under the name of other servers.",
    )

    @property
    def inputs(self) -> list[tuple[str, Input]]:
        """Each input, with the path of its field."""
        given = self.input
        if isinstance(given, str):
            return [("input", given)]
        if isinstance(given[0], int):
            return [("input", tuple(token for token in given if isinstance(token, int)))]
        return [
            (f"input[{at}]", tuple(each) if isinstance(each, list) else str(each))
            for at, each in enumerate(given)
        ]

    def limit(self, context_length: int) -> int | None:
        """The tokens to cut inputs to; None: they are not cut. Raises InvalidRequest for two limits."""
        cuts = self.truncate in (True, "END")
        if self.truncate_prompt_tokens is None:
            return context_length if cuts else None
        if self.truncate is not None and not cuts:
            raise bad_request.conflicting("truncate", "truncate_prompt_tokens")
        if self.truncate_prompt_tokens == 0:
            raise bad_request.out_of_range("truncate_prompt_tokens", 0, low=1, high=None)
        return (
            context_length
            if self.truncate_prompt_tokens == ALL_THAT_FITS
            else self.truncate_prompt_tokens
        )


class Embedding(TypedDict):
    """The vector of one input, of length 1."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class EmbeddingsUsage(TypedDict):
    """The tokens of all inputs, special ones included."""

    prompt_tokens: int
    total_tokens: int


class Embeddings(TypedDict):
    """The vectors, in the order of the inputs."""

    object: Literal["list"]
    data: list[Embedding]
    model: str
    usage: EmbeddingsUsage


def create_embeddings(context: RequestContext, body: EmbeddingsRequest) -> Response:
    """Turn texts into vectors of length 1: texts of similar meaning have a large dot product.

    An embedding model does this, which the operator loads beside the chat model (`--embedding-model`). A text
    has the same vector alone, in a list, and whatever other requests are answered.
    """
    batches, fold = start_embeddings(context, body)
    return respond(context, batches, stream=False, fold=fold)


def start_embeddings(
    context: RequestContext, body: EmbeddingsRequest
) -> tuple[VectorBatches, VectorFold]:
    """The vectors as they come, and what writes them. Raises InvalidRequest."""
    served = context.serve_able(Capability.EMBEDDINGS, body.model, body.timeout)
    dimensions = _dimensions(body, served)
    if served.info.is_remote:
        begin = _remotely(served, body)
    else:
        limit = body.limit(served.info.context_length)
        begin = _here(served, [fitting(served, text, param, limit) for param, text in body.inputs])
    return _batches(served, begin), VectorFold(served, dimensions, body.encoding_format)


def _here(served: Served, inputs: Sequence[Input]) -> Callable[[], VectorBatches]:
    return lambda: run_on(served.engine, Embedder, lambda engine: engine.embed(inputs))


def _remotely(served: Served, body: EmbeddingsRequest) -> Callable[[], VectorBatches]:
    """By another server, which cuts and shortens by itself."""
    inputs = tuple(text for _, text in body.inputs)
    task = EmbeddingTask(inputs, body.dimensions, body.limit(ALL_THAT_FITS))
    return lambda: run_on(served.engine, RemoteEmbedder, lambda engine: engine.embed_remotely(task))


def _dimensions(body: EmbeddingsRequest, served: Served) -> int | None:
    """The numbers to cut vectors to; None: they stay as they are. Raises InvalidRequest."""
    traits, wanted = served.info.vectors, body.dimensions
    if wanted is None or traits is None or wanted == traits.dimensions or served.info.is_remote:
        return None
    if wanted > traits.dimensions:
        raise bad_request.out_of_range("dimensions", wanted, low=1, high=traits.dimensions)
    if traits.shorter is not None and wanted not in traits.shorter:
        raise bad_request.unsupported(
            "dimensions",
            f"must be {traits.dimensions}: the model was not made for shorter vectors, as far as its file "
            "tells (--embedding-dimensions any allows them).",
        )
    return wanted


def _batches(served: Served, begin: Callable[[], VectorBatches]) -> VectorBatches:
    record = served.request.record
    batches = run_in_slot(served, begin)
    try:
        for batch in batches:
            if batch is not None:
                record.prompt_tokens += batch.tokens
            yield batch
    finally:
        batches.close()


class VectorFold:
    """Writes vectors as they come: of 2,048 inputs no more is kept than the answer's own bytes."""

    has_ended = False

    def __init__(self, served: Served, dimensions: int | None, encoding: str | None) -> None:
        self._served, self._dimensions = served, dimensions
        self._write = _as_base64 if encoding == "base64" else _as_numbers
        self._data: list[Embedding] = []

    def add(self, batch: Vectors) -> None:
        for vector in batch.vectors:
            written = self._write(_shortened(vector, self._dimensions))
            self._data.append(
                {"object": "embedding", "index": len(self._data), "embedding": written}
            )

    def whole(self) -> Embeddings:
        tokens = self._served.request.record.prompt_tokens
        return {
            "object": "list",
            "data": self._data,
            "model": self._served.info.model,
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }


def _shortened(vector: Sequence[float], dimensions: int | None) -> array[float]:
    """The first numbers of a vector, scaled to length 1 again; None: all."""
    if dimensions is None:
        return vector if isinstance(vector, array) else array("f", vector)
    first = vector[:dimensions]
    length = math.sqrt(math.fsum(each * each for each in first)) or 1.0
    return array("f", [each / length for each in first])


def _as_base64(vector: array[float]) -> str:
    if sys.byteorder == "big":
        vector = array("f", vector)
        vector.byteswap()
    return b64encode(vector).decode()


def _as_numbers(vector: array[float]) -> list[float]:
    # Written at once: a list of numbers takes six times the memory of their text.
    return orjson.Fragment(orjson.dumps(vector.tolist()))  # type: ignore[return-value]


ROUTES = endpoint(
    "embeddings",
    Route(
        *("POST", "/embeddings", create_embeddings, "Create embeddings"),
        PathPrefixes.MODEL,
        answer=Embeddings,
        body=EmbeddingsRequest,
        scope="write",
        usage="embeddings",
        example={"model": MODEL, "input": "The cat sat on the mat."},
    ),
)
