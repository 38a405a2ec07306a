"""llama.cpp's parameters for a model: slots, cache, batches, threads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ....system.machine import memory_bytes
from ...tuning import DEFAULT_TUNING, Tuning
from .tuning import tune

DEFAULT_CONTEXT_TOKENS = 8192
"""At least, unless the model has fewer or --ctx-size says something else."""
CONTEXT_STEP = 256  # llama.cpp rounds contexts up to it
SPARE_BYTES = 1 << 30
"""Of the memory, for all that is neither weights nor caches."""
TINY_MODEL_BYTES = 64 << 20
"""A smaller model runs on one thread: its steps are so short that on a busy machine threads would mostly wait
for each other."""
TINY_PROMPT_CACHE = 16 << 20
"""Memory for prompts of a tiny model whose slot went to another request: it reads them quickly."""
PROMPT_CACHE_PART, MAX_PROMPT_CACHE = 8, 8 << 30
"""The same for others: this part of the machine's memory, and at most so many bytes."""
CHECKPOINTS = 4
"""Of a slot, in models that need them: enough to go back to the last two prompts. Each has the whole state of
the recurrent layers, up to 150 MB, and copies of the slot have them too."""
LEAST_KEPT, TINY_LEAST_KEPT = 32, 256
"""So many tokens are worth a copy in that memory."""


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


def cache_for(
    trained: int, requested: int, bytes_per_token: int, slots: int, room: int = 0
) -> Cache:
    """The cache for a model trained for `trained` tokens (0: unknown). `requested`: the operator's context
    length (0: as many tokens as fit into `room`, in bytes, for each slot)."""
    context = requested
    if not requested:
        fitting = room // max(1, bytes_per_token * slots)
        context = max(DEFAULT_CONTEXT_TOKENS, fitting - fitting % CONTEXT_STEP)
    context = min(context, trained or requested or DEFAULT_CONTEXT_TOKENS)
    return Cache(context, _contexts_that_fit(bytes_per_token * context, slots), slots)


def room_for_contexts(weights: int, gpu_layers: int, tuning: Tuning) -> int:
    """Bytes that contexts may take by themselves beside a model's weights: a quarter of the memory at most.

    It depends on nothing that changes while the machine runs, so the same start chooses the same."""
    if tuning.flash_attn == "off":  # then a step's memory grows with the context, too
        return 0
    memory = memory_bytes()
    room = min(memory // 4, memory - weights - SPARE_BYTES)
    cards = gpu_bytes(gpu_layers)
    if cards:  # a longer context must not take the place of layers
        room = min(room, cards - weights - SPARE_BYTES)
    return max(0, room)


def params_for(
    model: Path,
    cache: Cache,
    *,
    gpu_layers: int = -1,
    threads: int = 0,
    loras: Sequence[tuple[Path, float]] = (),
    mmproj: Path | None = None,
    tuning: Tuning = DEFAULT_TUNING,
) -> Any:
    """xllamacpp's CommonParams, without the address to listen on. Raises ImportError, ModelLoadError."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(model)
    params.n_ctx = cache.context * cache.contexts
    params.n_parallel = cache.slots
    # With separate slots, answers are bit-identical whatever else runs.
    params.kv_unified = cache.shared
    params.kv_unified_per_slot = cache.context if cache.shared else 0
    params.n_gpu_layers = gpu_layers
    if mmproj is not None:
        params.mmproj.path = str(mmproj)
        params.mmproj_use_gpu = gpu_layers != 0
    # Prompts whose slot goes to another request are kept by `prompt_cache`, which tells callers apart.
    # llama.cpp's own cache would also empty idle slots that share the KV cache.
    params.cache_ram_mib = 0
    params.n_ctx_checkpoints = CHECKPOINTS
    # Those go first that are oldest, however near they are to others: `prompt_cache/checkpoints.py`.
    params.checkpoint_min_step = 0
    params.prefill_assistant = False
    # We render prompts, so that llama.cpp never runs the model's own template, which may be hostile.
    params.chat_template = "chatml"
    threads = threads or (1 if is_tiny(model) else 0)
    if threads:
        params.cpuparams.n_threads = threads
        params.cpuparams_batch.n_threads = threads
    tune(params, tuning, gpu_layers)
    params.lora_adapters = [
        xllamacpp.CommonAdapterLoraInfo(str(path), scale) for path, scale in loras
    ]
    params.ui = False
    params.server_tools = []
    params.endpoint_slots = False
    params.cors_origins = ""
    params.warmup = False
    return params


def is_tiny(model: Path) -> bool:
    return model.stat().st_size < TINY_MODEL_BYTES


def least_kept(model: Path) -> int:
    """How many tokens of a prompt are worth a copy."""
    return TINY_LEAST_KEPT if is_tiny(model) else LEAST_KEPT


def prompt_cache_bytes(model: Path, tuning: Tuning) -> int:
    """Memory for prompts whose slot went to another request."""
    if tuning.cache_ram >= 0:
        return tuning.cache_ram << 20
    if is_tiny(model):
        return TINY_PROMPT_CACHE
    return min(memory_bytes() // PROMPT_CACHE_PART, MAX_PROMPT_CACHE)


def _contexts_that_fit(bytes_per_context: int, wanted: int) -> int:
    """How many whole contexts the cache holds: at least 1, at most `wanted`."""
    return max(1, min(wanted, memory_bytes() // 4 // max(1, bytes_per_context)))


def all_memory(gpu_layers: int) -> int:
    """Bytes available to a model: this machine's memory, and that of its GPUs if they are used."""
    return memory_bytes() + gpu_bytes(gpu_layers)


def gpu_bytes(gpu_layers: int) -> int:
    """Bytes of all GPUs, if they are used."""
    import xllamacpp

    cards = xllamacpp.get_device_info() if gpu_layers else []
    return sum(int(card.get("memory_total", 0)) for card in cards if "GPU" in str(card.get("type")))
