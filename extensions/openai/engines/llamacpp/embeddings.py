"""An embedding model in llama.cpp: texts into vectors.

Pooling is what the model's file says, mean where it says nothing; vectors have length 1. llama.cpp sends them
as base64 of 32-bit floats, which is exact and half as long as numbers in JSON.
"""

from __future__ import annotations

import base64
import sys
from array import array
from collections.abc import Sequence

from ..callback_bridge import Emit, iterate_callback
from ..encoders import Input, VectorBatches, Vectors
from ..protocol import Capability
from ..tokens.gguf import GGUFHeader
from .encoder import MEAN, NONE, RANK, LlamaCppEncoder, calls_of, size_of


class LlamaCppEmbedder(LlamaCppEncoder):
    """One embedding model."""

    capability = Capability.EMBEDDINGS

    @staticmethod
    def pooling(header: GGUFHeader) -> int | None:
        """Mean where the file says nothing."""
        said = header.metadata.get(f"{header.architecture}.pooling_type", NONE)
        return MEAN if said in (NONE, RANK) else None

    def embed(self, inputs: Sequence[Input]) -> VectorBatches:
        def produce(emit: Emit[Vectors]) -> None:
            for part in calls_of(inputs, size_of):
                if emit(self._vectors(part)):
                    return

        return iterate_callback(produce)

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
