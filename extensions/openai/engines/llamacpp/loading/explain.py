"""What would be chosen for a model, and why, read from its file's header: nothing is loaded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from ....system.machine import memory_bytes
from ...tokens.gguf import GGUFHeader
from ...tuning import Tuning
from .attention import with_attention
from .memory import gigabytes, memory_need
from .own_sampling import own_sampling
from .params import DEFAULT_CONTEXT_TOKENS, Cache, is_tiny, prompt_cache_bytes
from .tuning import BATCH_TOKENS


def explain(
    model: Path,
    header: GGUFHeader,
    cache: Cache,
    files: Iterable[Path],
    *,
    asked_context: int,
    threads: int,
    gpu_layers: int,
    tuning: Tuning,
    mmproj: Path | None = None,
    shares_memory: bool = False,
) -> Iterator[str]:
    """Lines for the operator. `asked_context`, `threads`: as the operator has set them, or 0."""
    token_bytes, prompts = (
        tuning.kv_bytes(header.kv_bytes_per_token),
        prompt_cache_bytes(model, tuning),
    )
    yield f"{memory_need(token_bytes, files, cache, prompts)}; the machine has {gigabytes(memory_bytes())}"
    why = _why_context(header.context_length, asked_context, cache, shares_memory=shares_memory)
    yield f"context: {cache.context} tokens ({why})"
    if cache.shared:
        contexts = "one context" if cache.contexts == 1 else f"{cache.contexts} contexts"
        yield (
            f"slots: {cache.slots} share {contexts}, as a quarter of the memory holds no more (--parallel, "
            "--ctx-size, --cache-type-k, --cache-type-v)"
        )
    else:
        yield f"slots: {cache.slots}, each with a context of its own (--parallel)"
    yield f"KV cache: {token_bytes:,} bytes a token, keys {tuning.cache_type_k}, values {tuning.cache_type_v}"
    if threads:
        yield f"threads: {threads} (--threads)"
    elif is_tiny(model):
        yield "threads: 1, as its steps are too short to be parted (--threads)"
    else:
        yield "threads: as many as there are cores (--threads)"
    yield f"batch: {tuning.batch_size or BATCH_TOKENS} tokens of a prompt a step (--batch-size)"
    chosen = with_attention(tuning, model, header, cache, gpu_layers=gpu_layers, mmproj=mmproj)
    yield _why_attention(tuning, chosen)
    yield f"GPU: {_why_layers(gpu_layers, tuning)}"
    part = "set" if tuning.cache_ram >= 0 else "chosen by the model's and the machine's size"
    yield f"prompt cache: {prompts >> 20} MiB beside the slots, {part} (--cache-ram)"
    own = own_sampling(model, header)
    if own:
        values = ", ".join(f"{name}={value}" for name, value in own.items())
        yield f"sampling: {values}, as its files say (--model-defaults)"
    if tuning.cache_disk is not None:
        yield f"prompt cache on the disk: {tuning.cache_disk_size} MiB (--cache-disk, --cache-disk-size)"
    if tuning.draft_model is not None or tuning.speculative != "off":
        draft = "" if tuning.draft_model is None else f"of {tuning.draft_model.name} "
        yield f"guesses: {draft}checked by the model (--draft-model, --speculative)"


def _why_attention(asked: Tuning, chosen: Tuning) -> str:
    if asked == chosen:
        return f"flash attention: {asked.flash_attn} (--flash-attn)"
    return (
        f"flash attention: off, as a processor is faster without it, in steps of {chosen.ubatch_size} tokens "
        "(--flash-attn, --ubatch-size)"
    )


def _why_layers(gpu_layers: int, tuning: Tuning) -> str:
    if gpu_layers >= 0:
        return f"{gpu_layers} layers, if there is one (--gpu-layers; so --fit chooses nothing)"
    if tuning.fit == "off":
        return "all layers, if there is one, whether they fit or not (--fit off)"
    if tuning.tensor_split:
        return (
            "all layers, if there is one, in the parts of --tensor-split (so --fit chooses nothing)"
        )
    free = "1024" if tuning.fit_target < 0 else str(tuning.fit_target)
    return f"as many layers as leave {free} MiB of each free, if there is one (--fit-target, --gpu-layers)"


def _why_context(trained: int, asked: int, cache: Cache, *, shares_memory: bool) -> str:
    if asked and trained and asked > trained:
        return f"the model was made for no more, --ctx-size asks for {asked}"
    if asked:
        return "--ctx-size"
    if cache.context == trained:
        return "the model's own"
    if not trained:
        return "the default, as its file does not say what it was made for, see --ctx-size"
    of = f"of the {trained} that the model was made for, see --ctx-size"
    if shares_memory:
        return f"{of}, as --models shares the memory"
    if cache.context == DEFAULT_CONTEXT_TOKENS:
        return f"{of}; memory holds no more for each of {cache.slots} slots"
    return f"{of}; what memory holds for each of {cache.slots} slots"
