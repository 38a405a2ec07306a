"""Model files that say what cannot be are refused with a reason, before llama.cpp sees them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from extensions.openai.engines.llamacpp.engine import LlamaCppEngine
from extensions.openai.engines.model_spec import ModelLoadError
from extensions.openai.engines.tokens import gguf
from extensions.openai.engines.tokens.gguf import BadModelFile, read_header
from extensions.openai.engines.tokens.gguf_checks import (
    check_memory,
    read_encoder,
    read_lora,
    read_model,
)
from tests.engines.tokens.fuzz_gguf import load, survivors
from tests.support.gguf_files import (
    ARRAY,
    BOOL,
    F32,
    STRING,
    U32,
    U64,
    Tensor,
    changed,
    take_apart,
)

TOKENS = "tokenizer.ggml."
Entries = Mapping[str, tuple[int, Any] | None]


@pytest.fixture(scope="module")
def model(embedded_model: Path | None) -> Path:
    if embedded_model is None:
        pytest.skip("this tree has no embedded model")
    return embedded_model


def texts(model: Path, key: str) -> list[str]:
    found = read_header(model).metadata[TOKENS + key]
    assert isinstance(found, list)
    return [str(text) for text in found]


def refused(path: Path) -> str:
    with pytest.raises(BadModelFile) as caught:
        read_model(path)
    assert path.name in str(caught.value) and str(path.parent) not in str(caught.value)
    return str(caught.value)


IMPOSSIBLE: dict[str, tuple[Entries, str]] = {
    "no context": ({"llama.context_length": (U32, 0)}, "context_length"),
    "an endless context": ({"llama.context_length": (U32, 2**32 - 1)}, "context_length"),
    "a context that is a text": ({"llama.context_length": (STRING, "4096")}, "context_length"),
    "a context that is a list": ({"llama.context_length": (ARRAY, (U32, [1]))}, "context_length"),
    "a context that is true": ({"llama.context_length": (BOOL, True)}, "context_length"),
    "a context that is not said": ({"llama.context_length": None}, "context_length"),
    "100,000 layers": ({"llama.block_count": (U32, 100_000)}, "block_count"),
    "more layers than tensors": ({"llama.block_count": (U32, 100)}, "block_count"),
    "no layers": ({"llama.block_count": (U32, 0)}, "block_count"),
    "no heads": ({"llama.attention.head_count": (U32, 0)}, "head_count"),
    "no heads in any layer": (
        {"llama.attention.head_count": (ARRAY, (U32, [0] * 5))},
        "head_count",
    ),
    "heads of too few layers": (
        {"llama.attention.head_count": (ARRAY, (U32, [8]))},
        "for 5 layers",
    ),
    "heads that are not said": ({"llama.attention.head_count": None}, "head_count"),
    "no heads for keys": ({"llama.attention.head_count_kv": (U32, 0)}, "head_count_kv"),
    "heads that do not divide": ({"llama.attention.head_count_kv": (U32, 3)}, "does not divide"),
    "a width of 2**32 - 1": ({"llama.embedding_length": (U32, 2**32 - 1)}, "embedding_length"),
    "a width of 2**63": ({"llama.embedding_length": (U64, 2**63)}, "embedding_length"),
    "no key": ({"llama.attention.key_length": (U32, 0)}, "key_length"),
    "513 experts": ({"llama.expert_count": (U32, 513)}, "expert_count"),
    "experts that are never used": ({"llama.expert_count": (U32, 8)}, "expert_used_count"),
    "more experts than there are": ({"llama.expert_used_count": (U32, 2)}, "expert_used_count"),
    "more to predict than layers": ({"llama.nextn_predict_layers": (U32, 9)}, "nextn"),
    "an epsilon that is no number": (
        {"llama.attention.layer_norm_rms_epsilon": (F32, float("nan"))},
        "epsilon",
    ),
    "an epsilon below 0": ({"llama.attention.layer_norm_rms_epsilon": (F32, -1.0)}, "epsilon"),
    "an infinite frequency": ({"llama.rope.freq_base": (F32, float("inf"))}, "freq_base"),
    "unknown scaling": ({"llama.rope.scaling.type": (STRING, "x")}, "rope.scaling.type"),
    "no architecture": ({"general.architecture": None}, "architecture"),
    "an architecture that is a number": ({"general.architecture": (U32, 1)}, "architecture"),
    "an alignment of 3": ({"general.alignment": (U32, 3)}, "alignment"),
    "no vocabulary": ({TOKENS + "tokens": None}, "vocabulary"),
    "a vocabulary that is a text": ({TOKENS + "tokens": (STRING, "abc")}, "tokens"),
    "a vocabulary of numbers": ({TOKENS + "tokens": (ARRAY, (U32, [1, 2]))}, "tokens"),
    "an empty vocabulary": ({TOKENS + "tokens": (ARRAY, (STRING, []))}, "elements"),
    "a tokenizer that is none": ({TOKENS + "model": (STRING, "no_vocab")}, "vocabulary"),
    "types of too few tokens": ({TOKENS + "token_type": (ARRAY, (5, [1] * 9))}, "token_type"),
    "types that are texts": (
        {TOKENS + "token_type": (ARRAY, (STRING, ["a"] * 2560))},
        "token_type",
    ),
    "scores of too few tokens": ({TOKENS + "scores": (ARRAY, (F32, [0.0]))}, "scores"),
    "merges that are numbers": ({TOKENS + "merges": (ARRAY, (U32, [1]))}, "merges"),
    "a beginning that is no token": ({TOKENS + "bos_token_id": (U32, 2560)}, "bos_token_id"),
    "an end that is no token": ({TOKENS + "eos_token_id": (U32, 2**31)}, "eos_token_id"),
    "a template that is a number": ({"tokenizer.chat_template": (U32, 1)}, "chat_template"),
    "an adapter": ({"general.type": (STRING, "adapter")}, "not a language model"),
    "a part without the others": ({"split.count": (2, 3)}, "in 3 files"),
    "a count of parts that is a text": ({"split.count": (STRING, "3")}, "split.count"),
}


@pytest.mark.parametrize("case", IMPOSSIBLE)
def test_what_cannot_be_is_refused_with_the_reason(model: Path, tmp_path: Path, case: str) -> None:
    entries, reason = IMPOSSIBLE[case]
    assert reason in refused(changed(model, tmp_path / "odd.gguf", entries))


def test_tokens_and_embeddings_must_be_as_many(model: Path, tmp_path: Path) -> None:
    tokens = [*texts(model, "tokens"), "one more"]
    more = {TOKENS + "tokens": (ARRAY, (STRING, tokens)), TOKENS + "token_type": None}
    assert "embeddings for 2560" in refused(changed(model, tmp_path / "odd.gguf", more))


def test_a_token_may_not_come_twice(model: Path, tmp_path: Path) -> None:
    """llama.cpp ends the process."""
    tokens = texts(model, "tokens")
    tokens[100] = tokens[101]
    twice = {TOKENS + "tokens": (ARRAY, (STRING, tokens))}
    assert "twice" in refused(changed(model, tmp_path / "odd.gguf", twice))


def test_an_entry_or_a_tensor_may_not_come_twice(model: Path, tmp_path: Path) -> None:
    parts = take_apart(model)
    parts.more = [(b"general.name", *parts.entries["general.name"])]
    assert "twice" in refused(parts.write(tmp_path / "entry.gguf"))
    parts = take_apart(model)
    parts.tensors.append(parts.tensors[0])
    assert "twice" in refused(parts.write(tmp_path / "tensor.gguf"))


@pytest.mark.parametrize(
    "row",
    [
        Tensor(b"w", (2**40, 2**40), 0, 0),
        Tensor(b"w", (2**63, 2), 0, 0),
        Tensor(b"w", (0, 5), 0, 0),
        Tensor(b"w", (), 0, 0),
        Tensor(b"w", (1, 1, 1, 1, 1), 0, 0),
        Tensor(b"w", (33,), 8, 0),
        Tensor(b"w", (32,), 0, 7),
        Tensor(b"w", (32,), 0, 2**40),
        Tensor(b"w", (1 << 30,), 0, 0),
        Tensor(b"w", (32,), 99, 2**63),
        Tensor(b"w" * 64, (32,), 0, 0),
    ],
)
def test_a_tensor_must_be_possible_and_in_the_file(
    model: Path, tmp_path: Path, row: Tensor
) -> None:
    parts = take_apart(model)
    parts.tensors.append(row)
    refused(parts.write(tmp_path / "odd.gguf"))


def test_block_sizes_are_those_of_ggml() -> None:
    from gguf.constants import GGML_QUANT_SIZES

    known = {int(kind): sizes for kind, sizes in GGML_QUANT_SIZES.items()}
    assert {kind: known[kind] for kind in gguf.BLOCK_SIZES if kind in known} == {
        kind: sizes for kind, sizes in gguf.BLOCK_SIZES.items() if kind in known
    }
    assert known.keys() <= gguf.BLOCK_SIZES.keys()


def test_a_context_that_memory_cannot_hold_is_refused(model: Path) -> None:
    header = read_model(model)
    check_memory(header, model.name, 4096, 4096 * header.kv_bytes_per_token)
    with pytest.raises(BadModelFile, match=r"4097 tokens.*--ctx-size"):
        check_memory(header, model.name, 4097, 4096 * header.kv_bytes_per_token)


def test_models_in_parts(model: Path, tmp_path: Path) -> None:
    parts = take_apart(model)
    tensors = parts.tensors
    parts.set("split.count", 2, 2)
    for number, rows in ((1, tensors[:20]), (2, tensors[20:])):
        parts.set("split.no", 2, number - 1)
        parts.tensors = rows
        parts.write(tmp_path / f"m-{number:05}-of-00002.gguf")
    first, second = (tmp_path / f"m-{number:05}-of-00002.gguf" for number in (1, 2))
    assert len(read_model(first).tensors) == len(tensors)
    assert "Give the first one" in refused(second)
    second.write_bytes(first.read_bytes())
    with pytest.raises(BadModelFile, match="not part of the same model"):
        read_model(first)
    second.unlink()
    with pytest.raises(BadModelFile, match="00002-of-00002"):
        read_model(first)


@pytest.mark.parametrize(
    "entries",
    [
        {"clip.vision.patch_size": (U32, 0)},
        {"clip.vision.image_size": (U32, 0)},
        {"clip.vision.patch_size": (U32, 64)},
        {"clip.vision.attention.head_count": (U32, 0)},
        {"clip.vision.attention.head_count": (U32, 3)},
        {"clip.audio.attention.head_count": (U32, 0)},
        {"clip.vision.block_count": (U32, 100_000)},
        {"clip.vision.embedding_length": (U64, 2**63)},
        {"clip.vision.image_mean": (ARRAY, (F32, [0.5]))},
        {"clip.vision.image_std": (ARRAY, (STRING, ["a", "b", "c"]))},
        {"clip.audio.num_mel_bins": (U32, 0)},
        {"clip.has_vision_encoder": (U32, 1)},
        {"clip.vision.projector_type": (U32, 1)},
        {"general.architecture": (STRING, "llama")},
    ],
)
def test_an_encoder_must_be_possible(encoder: Path, tmp_path: Path, entries: Entries) -> None:
    read_encoder(encoder)
    with pytest.raises(BadModelFile, match=r"odd\.gguf"):
        read_encoder(changed(encoder, tmp_path / "odd.gguf", entries))


def test_a_lora_must_be_one(model: Path, tmp_path: Path) -> None:
    lora = {
        "general.type": (STRING, "adapter"),
        "adapter.type": (STRING, "lora"),
        "adapter.lora.alpha": (F32, 16.0),
    }
    read_lora(changed(model, tmp_path / "lora.gguf", lora))
    for entries in ({}, {**lora, "adapter.lora.alpha": (F32, float("nan"))}):
        with pytest.raises(BadModelFile):
            read_lora(changed(model, tmp_path / "odd.gguf", entries))
    with pytest.raises(ModelLoadError, match="not a LoRA"):
        LlamaCppEngine(model, name="m", loras=[(model, 1.0)])


def test_damaged_files_are_refused_or_work(model: Path, tmp_path: Path) -> None:
    """Hundreds of damaged heads, and a look at what llama.cpp makes of those that pass."""
    found, reported = survivors(model, tmp_path, count=400, seed=3)
    chosen = found[:12]
    assert len(chosen) == 12
    for what, outcome in zip(reported, load(chosen), strict=False):
        assert not outcome.startswith("died"), f"{what}: {outcome}"
