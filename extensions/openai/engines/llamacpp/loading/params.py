"""llama.cpp's parameters for a model: slots, cache, batches, threads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ....system.machine import memory_bytes

DEFAULT_CONTEXT_TOKENS = 8192  # unless the model has fewer or --ctx-size asks for more
BATCH_TOKENS = 512  # of a prompt per step; work ends within a step once the client has left
TINY_MODEL_BYTES = 64 << 20
"""A smaller model runs on one thread: its steps are so short that on a busy machine threads would mostly wait
for each other."""
PROMPT_CACHE_MIB = 512  # host memory for prompts whose slot went to another request
TINY_PROMPT_CACHE_MIB = 16  # the same for a tiny model, which reads prompts quickly


@dataclass(frozen=True, slots=True)
class Cache:
    """The KV cache: the length of a context, and how many contexts fit."""

    context: int
    """Tokens that one answer may use, including the prompt."""
    contexts: int
    slots: int

    @property
    def shared(self) -> bool:
        """Whether slots share the cache, because memory does not hold a context for each."""
        return self.contexts < self.slots


def cache_for(trained: int, requested: int, bytes_per_token: int, slots: int) -> Cache:
    """The cache for a model trained for `trained` tokens (0: unknown). `requested`: the operator's context
    length (0: the default)."""
    context = min(trained or DEFAULT_CONTEXT_TOKENS, requested or DEFAULT_CONTEXT_TOKENS)
    return Cache(context, _contexts_that_fit(bytes_per_token * context, slots), slots)


def params_for(
    model: Path,
    cache: Cache,
    *,
    gpu_layers: int = -1,
    threads: int = 0,
    loras: Sequence[tuple[Path, float]] = (),
    mmproj: Path | None = None,
) -> Any:
    """xllamacpp's CommonParams, without the address to listen on. Raises ImportError."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(model)
    params.n_ctx = cache.context * cache.contexts
    params.n_parallel = cache.slots
    # With separate slots, answers are bit-identical whatever else runs.
    params.kv_unified = cache.shared
    params.kv_unified_per_slot = cache.context if cache.shared else 0
    params.n_batch = BATCH_TOKENS
    params.n_ubatch = BATCH_TOKENS
    params.n_gpu_layers = gpu_layers
    if mmproj is not None:
        params.mmproj.path = str(mmproj)
        params.mmproj_use_gpu = gpu_layers != 0
    params.cache_ram_mib = PROMPT_CACHE_MIB
    params.prefill_assistant = False
    # We render prompts, so that llama.cpp never runs the model's own template, which may be hostile.
    params.chat_template = "chatml"
    if model.stat().st_size < TINY_MODEL_BYTES:
        params.cache_ram_mib = TINY_PROMPT_CACHE_MIB
        threads = threads or 1
    if threads:
        params.cpuparams.n_threads = threads
        params.cpuparams_batch.n_threads = threads
    params.lora_adapters = [
        xllamacpp.CommonAdapterLoraInfo(str(path), scale) for path, scale in loras
    ]
    params.ui = False
    params.server_tools = []
    params.endpoint_slots = False
    params.cors_origins = ""
    params.warmup = False
    return params


def _contexts_that_fit(bytes_per_context: int, wanted: int) -> int:
    """How many whole contexts the cache holds: at least 1, at most `wanted`."""
    return max(1, min(wanted, memory_bytes() // 4 // max(1, bytes_per_context)))


def all_memory(gpu_layers: int) -> int:
    """Bytes available to a model: this machine's memory, and that of its GPUs if they are used."""
    import xllamacpp

    cards = xllamacpp.get_device_info() if gpu_layers else []
    return memory_bytes() + sum(
        int(card.get("memory_total", 0)) for card in cards if "GPU" in str(card.get("type"))
    )
