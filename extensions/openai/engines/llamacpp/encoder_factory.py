"""llama.cpp's module for `engines/registry.py` that loads embedding and rerank models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...settings import Settings
from ..model_spec import ModelLoadError, ModelOutline, ModelSpec
from ..protocol import Capability, VectorTraits
from ..tokens.gguf import BadModelFile, GGUFHeader, read_header
from .embeddings import LlamaCppEmbedder
from .encoder import RANK, LlamaCppEncoder, width_of
from .loading.memory import gigabytes
from .loading.outline import remote_outline
from .reranker import LlamaCppReranker

NO_FILE = "The llama.cpp loader needs a model file"


def task_of(spec: ModelSpec) -> Capability | None:
    """What a model does that only reads; None: it writes text. Raises ModelLoadError."""
    if spec.task == "text":
        return None
    if spec.task != "auto":
        return Capability(spec.task)
    try:
        header = read_header(_file(spec))
    except BadModelFile as error:
        raise ModelLoadError(str(error)) from error
    if _says(header, "attention.causal") is not False:
        return None
    return Capability.RERANK if _says(header, "pooling_type") == RANK else Capability.EMBEDDINGS


def make_encoder(
    spec: ModelSpec, capability: Capability, settings: Settings, name: str
) -> LlamaCppEncoder:
    """Load the model beside another one. Raises ModelLoadError."""
    return _make(spec, capability, settings, name, settings.embedding_context)


def make_alone(spec: ModelSpec, capability: Capability, settings: Settings) -> LlamaCppEncoder:
    """Load the model that the spec is of. Raises ModelLoadError."""
    return _make(spec, capability, settings, spec.name, spec.context_length)


def _make(
    spec: ModelSpec, capability: Capability, settings: Settings, name: str, context_length: int
) -> LlamaCppEncoder:
    return _kind(capability)(
        _file(spec),
        name=name,
        context_length=context_length,
        gpu_layers=spec.gpu_layers,
        threads=spec.threads,
        parallel=spec.parallel,
        shortening=settings.embedding_dimensions,
    )


def outline_encoder(spec: ModelSpec, capability: Capability) -> ModelOutline:
    """What the file says. Raises ModelLoadError."""
    file = _file(spec)
    header, cache = _kind(capability).read(
        file,
        context_length=spec.context_length,
        gpu_layers=spec.gpu_layers,
        parallel=spec.parallel,
    )
    # A model that looks both ways keeps nothing of its texts.
    kept = header.kv_bytes_per_token if _says(header, "attention.causal") is not False else 0
    is_embedder = capability is Capability.EMBEDDINGS
    return remote_outline(
        file,
        header,
        cache,
        token_bytes=kept,
        parallel=2 * cache.slots,
        capabilities=(capability,),
        vectors=VectorTraits(width_of(header), None) if is_embedder else None,
    )


def explain_encoder(spec: ModelSpec, capability: Capability) -> tuple[str, ...]:
    """What `make_alone` would choose. Raises ModelLoadError."""
    found = outline_encoder(spec, capability)
    context, texts = found.info.context_length, found.info.parallel // 2
    chosen = "its file says so (--task)" if spec.task == "auto" else "--task"
    return (
        f"for {capability}: {chosen}",
        f"context {context}: tokens of a text; {texts} texts at once",
        f"needs {gigabytes(found.bytes)} GB, the process included",
    )


def _kind(capability: Capability) -> type[LlamaCppEncoder]:
    return LlamaCppReranker if capability is Capability.RERANK else LlamaCppEmbedder


def _says(header: GGUFHeader, key: str) -> Any:
    return header.metadata.get(f"{header.architecture}.{key}")


def _file(spec: ModelSpec) -> Path:
    if spec.path is None:
        raise ModelLoadError(NO_FILE)
    return spec.path
