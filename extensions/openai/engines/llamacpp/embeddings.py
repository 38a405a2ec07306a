"""An embedding model in llama.cpp: texts into vectors.

Pooling is what the model's file says, mean where it says nothing; vectors have length 1. llama.cpp sends them
as base64 of 32-bit floats, which is exact and half as long as numbers in JSON.
"""

from __future__ import annotations

import base64
import sys
from array import array
from collections.abc import Callable, Iterator, Sequence

from ..callback_bridge import Emit, iterate_callback
from ..encoders import Input, VectorBatches, Vectors
from ..protocol import Capability
from ..tokens.gguf import GGUFHeader
from .encoder import MEAN, NONE, RANK, LlamaCppEncoder, calls_of, size_of
from .step_share import LONG_BYTES, LONG_TOKENS


class LlamaCppEmbedder(LlamaCppEncoder):
    """One embedding model."""

    capability = Capability.EMBEDDINGS

    @staticmethod
    def pooling(header: GGUFHeader) -> int | None:
        """Mean where the file says nothing."""
        said = header.metadata.get(f"{header.architecture}.pooling_type", NONE)
        return MEAN if said in (NONE, RANK) else None

    def embed(self, inputs: Sequence[Input]) -> VectorBatches:
        def produce(emit: Emit[Vectors | None]) -> None:
            for part, long_tokens in self._parts(inputs):
                if emit(self._shared(part, long_tokens, lambda: emit(None))):
                    return

        return iterate_callback(produce)

    def _parts(self, inputs: Sequence[Input]) -> Iterator[tuple[Sequence[Input], int]]:
        """The inputs of each call, in order, and the tokens of a long text, which has a call of its own."""
        if self.share is None:
            yield from ((part, 0) for part in calls_of(inputs, size_of))
            return
        short: list[Input] = []
        for each in inputs:
            if isinstance(each, str) and size_of(each) > LONG_BYTES:
                each = self.tokenize(each)
            if isinstance(each, str) or len(each) <= LONG_TOKENS:
                short.append(each)
                continue
            yield from ((part, 0) for part in calls_of(short, size_of))
            short = []
            yield (each,), len(each)
        yield from ((part, 0) for part in calls_of(short, size_of))

    def _shared(
        self, inputs: Sequence[Input], long_tokens: int, is_left: Callable[[], bool]
    ) -> Vectors | None:
        """None where the client has left while a long text waited."""
        if self.share is None or not long_tokens:
            return self._vectors(inputs)
        with self.share.of(long_tokens):
            return None if is_left() else self._vectors(inputs)

    def _vectors(self, inputs: Sequence[Input]) -> Vectors:
        body = {"input": inputs, "encoding_format": "base64"}
        answer = self.call(lambda memory, data: memory.handle_embeddings(data), body)
        ordered = sorted(answer["data"], key=lambda each: int(each["index"]))
        vectors = tuple(_floats(each["embedding"]) for each in ordered)
        return Vectors(vectors, int(answer["usage"]["prompt_tokens"]))


def _floats(text: str) -> array[float]:
    vector = array("f", base64.b64decode(text))
    if sys.byteorder == "big":
        vector.byteswap()
    return vector
