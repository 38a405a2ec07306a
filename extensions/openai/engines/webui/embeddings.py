"""A webui's embedding model: sentence-transformers, in the webui's own environment.

Source: sentence-transformers, `SentenceTransformer`. The library tokenizes, pools and batches; one call
computes at a time.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from ...schemas import bad_request
from ..callback_bridge import Emit, iterate_callback
from ..encoders import EncoderEngine, Input, VectorBatches, Vectors
from ..model_spec import ModelLoadError
from ..protocol import Capability, EngineInfo, VectorTraits

DEFAULT_CONTEXT_TOKENS = 512  # where the model says nothing
BATCH_TEXTS = 32
AUTO = "auto"


class SentenceTransformersEmbedder(EncoderEngine):
    """One model. Thread-safe."""

    def __init__(self, model: str, *, device: str, shortening: str = "auto") -> None:
        """`model`: a name of the hub, or a folder. `device`: of torch; auto: the best one. Raises
        ModelLoadError."""
        try:
            library: Any = import_module("sentence_transformers")
        except ImportError as error:
            raise ModelLoadError(
                "embeddings need the package sentence-transformers in the web UI's environment: pip install "
                "sentence-transformers"
            ) from error
        try:
            self._model = library.SentenceTransformer(
                model, device=None if device == AUTO else device
            )
        except Exception as error:  # of a dozen libraries
            raise ModelLoadError(
                f"the embedding model cannot be loaded ({type(error).__name__})"
            ) from error
        name = model.rstrip("/").rpartition("/")[2]
        tokenizer = self._model.tokenizer
        context = int(self._model.max_seq_length or DEFAULT_CONTEXT_TOKENS)
        self._lock = threading.Lock()
        self._info = EngineInfo(
            model=name,
            created=0,
            owned_by="sentence-transformers",
            context_length=context,
            sampler="llama.cpp",
            fingerprint="fp_" + hashlib.sha256(model.encode()).hexdigest()[:10],
            vocabulary_size=len(tokenizer),
            capabilities=(Capability.EMBEDDINGS,),
            vectors=VectorTraits(
                int(self._model.get_sentence_embedding_dimension()),
                None if shortening == "any" else frozenset(),
            ),
        )

    @property
    def device(self) -> Any:
        """Where it is computed."""
        return self._model.device

    @property
    def info(self) -> EngineInfo:
        return self._info

    def embed(self, inputs: Sequence[Input]) -> VectorBatches:
        def produce(emit: Emit[Vectors]) -> None:
            for at in range(0, len(inputs), BATCH_TEXTS):
                if emit(self._vectors(inputs[at : at + BATCH_TEXTS])):
                    return

        return iterate_callback(produce)

    def _vectors(self, inputs: Sequence[Input]) -> Vectors:
        # The library takes texts only.
        texts = [each if isinstance(each, str) else self.detokenize(each) for each in inputs]
        with self._lock:
            made = self._model.encode(texts, normalize_embeddings=True, convert_to_numpy=True)
            tokens = sum(len(self._model.tokenizer.encode(text)) for text in texts)
        return Vectors(tuple([float(each) for each in vector] for vector in made), tokens)

    def tokenize(self, text: str) -> tuple[int, ...]:
        return tuple(int(token) for token in self._model.tokenizer.encode(text))

    def detokenize(self, tokens: Sequence[int]) -> str:
        if not all(0 <= token < self._info.vocabulary_size for token in tokens):
            raise bad_request.token_id_out_of_range("input", self._info.vocabulary_size)
        return str(self._model.tokenizer.decode(list(tokens), skip_special_tokens=True))

    def close(self) -> None:
        """The library frees the model with the last reference."""
