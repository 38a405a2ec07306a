"""The operator's choices as llama.cpp's parameters."""

from __future__ import annotations

from typing import Any

from ...model_spec import ModelLoadError
from ...tuning import Tuning

BATCH_TOKENS = 512  # of a prompt per step; work ends within a step once the client has left


def tune(params: Any, tuning: Tuning, gpu_layers: int) -> None:
    """Set them on xllamacpp's CommonParams. Raises ModelLoadError for what does not go together."""
    import xllamacpp as x

    _check(tuning)
    params.n_batch = tuning.batch_size or max(BATCH_TOKENS, tuning.ubatch_size)
    params.n_ubatch = tuning.ubatch_size or params.n_batch
    params.cache_type_k = getattr(x.ggml_type, f"GGML_TYPE_{tuning.cache_type_k.upper()}")
    params.cache_type_v = getattr(x.ggml_type, f"GGML_TYPE_{tuning.cache_type_v.upper()}")
    attention = {"auto": "AUTO", "on": "ENABLED", "off": "DISABLED"}[tuning.flash_attn]
    params.flash_attn_type = getattr(x.llama_flash_attn_type, f"LLAMA_FLASH_ATTN_TYPE_{attention}")
    if tuning.threads_batch:
        params.cpuparams_batch.n_threads = tuning.threads_batch
    numa = "disabled" if tuning.numa == "off" else tuning.numa
    params.numa = getattr(x.ggml_numa_strategy, f"GGML_NUMA_STRATEGY_{numa.upper()}")
    if tuning.mlock or tuning.no_mmap:
        mode = "MMAP_MLOCK" if not tuning.no_mmap else "MLOCK" if tuning.mlock else "NONE"
        params.load_mode = getattr(x.llama_load_mode, f"LLAMA_LOAD_MODE_{mode}")
    if tuning.rope_scaling != "model":
        name = f"LLAMA_ROPE_SCALING_TYPE_{tuning.rope_scaling.upper()}"
        params.rope_scaling_type = getattr(x.llama_rope_scaling_type, name)
    params.rope_freq_base, params.rope_freq_scale = tuning.rope_freq_base, tuning.rope_freq_scale
    params.yarn_orig_ctx = tuning.yarn_orig_ctx
    split = f"LLAMA_SPLIT_MODE_{tuning.split_mode.upper()}"
    params.split_mode = getattr(x.llama_split_mode, split)
    params.main_gpu = tuning.main_gpu
    if tuning.tensor_split:
        known = len(params.tensor_split)
        if len(tuning.tensor_split) > known:
            raise ModelLoadError(f"--tensor-split may have {known} parts at most")
        params.tensor_split = [*tuning.tensor_split, *[0.0] * (known - len(tuning.tensor_split))]
    _fit(params, tuning)
    _speculate(params.speculative, tuning, gpu_layers)


def _fit(params: Any, tuning: Tuning) -> None:
    if (tuning.fit, tuning.fit_target) != ("on", -1) and not hasattr(params, "fit_params"):
        raise ModelLoadError("--fit and --fit-target need a newer xllamacpp")
    if tuning.fit == "off":
        params.fit_params = False
    elif tuning.fit_target >= 0:
        params.fit_params_target = [tuning.fit_target << 20] * len(params.fit_params_target)


def _speculate(speculative: Any, tuning: Tuning, gpu_layers: int) -> None:
    from xllamacpp import common_speculative_type

    kinds = []
    if tuning.draft_model is not None:
        speculative.draft.mparams.path = str(tuning.draft_model)
        speculative.draft.n_gpu_layers = gpu_layers
        kinds.append("DRAFT_SIMPLE")
    if tuning.speculative != "off":
        kinds.append(tuning.speculative.replace("-", "_").upper())
    if not kinds:
        return
    speculative.types = [
        getattr(common_speculative_type, f"COMMON_SPECULATIVE_TYPE_{kind}") for kind in kinds
    ]
    if tuning.draft_max:
        speculative.draft.n_max = tuning.draft_max


def _check(tuning: Tuning) -> None:
    if tuning.cache_type_v not in ("f32", "f16", "bf16") and tuning.flash_attn == "off":
        raise ModelLoadError("--cache-type-v needs flash attention: leave --flash-attn on or auto")
    if tuning.ubatch_size > (tuning.batch_size or tuning.ubatch_size):
        raise ModelLoadError("--ubatch-size may be --batch-size at most")
    if tuning.fit_target >= 0 and tuning.fit == "off":
        raise ModelLoadError("--fit-target needs --fit on")
    if tuning.yarn_orig_ctx and tuning.rope_scaling not in ("yarn", "model"):
        raise ModelLoadError("--yarn-orig-ctx needs --rope-scaling yarn")
    if tuning.draft_max and tuning.draft_model is None and tuning.speculative == "off":
        raise ModelLoadError("--draft-max needs --draft-model or --speculative")
