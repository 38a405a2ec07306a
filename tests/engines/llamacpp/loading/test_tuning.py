"""The operator's choices reach llama.cpp, and what does not go together is one clear line.

Source: xllamacpp's CommonParams; the sizes of llama.cpp's types are those of ggml's blocks.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import xllamacpp

from extensions.openai.engines.llamacpp.engine import LlamaCppEngine
from extensions.openai.engines.llamacpp.loading.params import Cache, params_for, prompt_cache_bytes
from extensions.openai.engines.model_spec import ModelLoadError
from extensions.openai.engines.protocol import GenerateRequest
from extensions.openai.engines.tuning import SPECULATIONS, Tuning


def params(model: Path, **chosen: Any) -> Any:
    return params_for(model, Cache(512, 2, 2), tuning=Tuning(**chosen))


def test_they_are_llama_cpps(random_model: Path) -> None:
    found = params(
        random_model, cache_type_k="q8_0", cache_type_v="q4_0", flash_attn="on", batch_size=256,
        ubatch_size=64, threads_batch=3, numa="isolate", mlock=True, rope_scaling="yarn",
        rope_freq_base=5e5, rope_freq_scale=0.25, yarn_orig_ctx=4096, tensor_split=(3.0, 1.0),
        split_mode="row", main_gpu=1, draft_model=random_model, speculative="ngram-mod", draft_max=5,
        fit_target=256,
    )  # fmt: skip
    kinds = xllamacpp.common_speculative_type
    assert found.cache_type_k == xllamacpp.ggml_type.GGML_TYPE_Q8_0
    assert found.cache_type_v == xllamacpp.ggml_type.GGML_TYPE_Q4_0
    assert found.flash_attn_type == xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_ENABLED
    assert (found.n_batch, found.n_ubatch, found.cpuparams_batch.n_threads) == (256, 64, 3)
    assert found.numa == xllamacpp.ggml_numa_strategy.GGML_NUMA_STRATEGY_ISOLATE
    assert found.load_mode == xllamacpp.llama_load_mode.LLAMA_LOAD_MODE_MMAP_MLOCK
    yarn = xllamacpp.llama_rope_scaling_type.LLAMA_ROPE_SCALING_TYPE_YARN
    assert (found.rope_scaling_type, found.yarn_orig_ctx) == (yarn, 4096)
    assert (found.rope_freq_base, found.rope_freq_scale) == (5e5, 0.25)
    assert list(found.tensor_split[:3]) == [3.0, 1.0, 0.0] and found.main_gpu == 1
    assert found.split_mode == xllamacpp.llama_split_mode.LLAMA_SPLIT_MODE_ROW
    assert found.speculative.draft.mparams.path == str(random_model)
    assert found.speculative.draft.n_max == 5
    assert found.fit_params and set(found.fit_params_target) == {256 << 20}
    assert not params(random_model, fit="off").fit_params
    assert found.speculative.types == [
        kinds.COMMON_SPECULATIVE_TYPE_DRAFT_SIMPLE, kinds.COMMON_SPECULATIVE_TYPE_NGRAM_MOD
    ]  # fmt: skip


def test_by_default_they_are_llama_cpps_own(random_model: Path) -> None:
    own, found = xllamacpp.CommonParams(), params(random_model)
    for name in ("cache_type_k", "cache_type_v", "flash_attn_type", "numa", "load_mode", "split_mode",
                 "rope_scaling_type", "rope_freq_base", "rope_freq_scale", "main_gpu", "fit_params",
                 "fit_params_target", "tensor_split"):  # fmt: skip
        assert getattr(found, name) == getattr(own, name), name
    assert found.speculative.types == own.speculative.types
    assert (found.n_batch, found.n_ubatch) == (512, 512)


@pytest.mark.parametrize(
    ("chosen", "says"),
    [
        ({"cache_type_v": "q8_0", "flash_attn": "off"}, "--cache-type-v needs flash attention"),
        ({"batch_size": 64, "ubatch_size": 128}, "--ubatch-size may be --batch-size at most"),
        ({"fit": "off", "fit_target": 5}, "--fit-target needs --fit on"),
        ({"tensor_split": (1.0,) * 129}, "--tensor-split may have 128 parts at most"),
        (
            {"yarn_orig_ctx": 9, "rope_scaling": "linear"},
            "--yarn-orig-ctx needs --rope-scaling yarn",
        ),
        ({"draft_max": 4}, "--draft-max needs --draft-model or --speculative"),
    ],
)
def test_what_does_not_go_together(random_model: Path, chosen: dict[str, Any], says: str) -> None:
    with pytest.raises(ModelLoadError, match=says):
        params(random_model, **chosen)


def test_an_xllamacpp_that_cannot_fit(random_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = xllamacpp.CommonParams()

    class Older:
        """Without `fit_params`."""

        def __init__(self) -> None:
            for name in dir(own):
                if not name.startswith(("_", "fit_")):
                    setattr(self, name, getattr(own, name))

    monkeypatch.setattr(xllamacpp, "CommonParams", Older)
    assert params(random_model).n_parallel == 2
    with pytest.raises(ModelLoadError, match="need a newer xllamacpp"):
        params(random_model, fit="off")


def test_a_smaller_type_makes_the_kv_cache_smaller() -> None:
    """Blocks of 32 values: f16 64 bytes, q8_0 34, q4_0 18."""
    assert Tuning(cache_type_k="q8_0", cache_type_v="q8_0").kv_bytes(128) == 68
    assert Tuning(cache_type_k="q8_0", cache_type_v="q4_0").kv_bytes(128) == 52
    assert Tuning().kv_bytes(128) == 128


def test_memory_for_prompts(random_model: Path) -> None:
    assert prompt_cache_bytes(random_model, Tuning()) == 16 << 20
    assert prompt_cache_bytes(random_model, Tuning(cache_ram=3)) == 3 << 20
    assert prompt_cache_bytes(random_model, Tuning(cache_ram=0)) == 0


@pytest.mark.parametrize("speculative", [*SPECULATIONS, "draft"])
def test_guesses_change_no_answer(random_model: Path, speculative: str) -> None:
    """At temperature 0; the draft model is the model itself."""
    chosen: dict[str, Any] = {"speculative": speculative}
    if speculative == "draft":
        chosen = {"draft_model": random_model}
    texts = []
    for tuning in (Tuning(), Tuning(**chosen)):
        engine = LlamaCppEngine(random_model, name="x", parallel=1, tuning=tuning)
        request = GenerateRequest("abc abc abc abc abc ", 24, {"temperature": 0.0})
        texts.append([piece.text for piece in engine.generate(request) if piece is not None])
        engine.close()
    assert "".join(texts[0]) == "".join(texts[1])
