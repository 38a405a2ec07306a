"""Names as they are found in model repositories."""

from __future__ import annotations

import pytest

from host.models import gguf_names
from host.models.gguf_names import best, matching, models

REPOSITORY = {
    "README.md": 10,
    "Llama-3.2-3B-Instruct-IQ4_XS.gguf": 1800,
    "Llama-3.2-3B-Instruct-Q4_K_M.gguf": 2000,
    "Llama-3.2-3B-Instruct-Q4_K_S.gguf": 1900,
    "Llama-3.2-3B-Instruct-Q8_0.gguf": 3400,
    "f16/Llama-3.2-3B-Instruct-f16-00001-of-00002.gguf": 4000,
    "f16/Llama-3.2-3B-Instruct-f16-00002-of-00002.gguf": 2000,
    "mmproj-Q4_K_M.gguf": 5,
}


def titles(found: list[gguf_names.Model]) -> list[str]:
    return [model.name.removeprefix("Llama-3.2-3B-Instruct-") for model in found]


def test_shards_are_one_model() -> None:
    shards = next(model for model in models(REPOSITORY) if model.shards == 2)
    assert shards.title == "f16/Llama-3.2-3B-Instruct-f16"
    assert shards.name == "Llama-3.2-3B-Instruct-f16"
    assert [file[-10:] for file in shards.files] == ["00002.gguf", "00002.gguf"]
    assert shards.files[0].endswith("-00001-of-00002.gguf")
    assert (shards.size, shards.missing) == (6000, 0)


def test_a_missing_shard_is_counted() -> None:
    (model,) = models({"a-00002-of-00003.gguf": 1, "a-00003-of-00003.gguf": 1})
    assert model.missing == 1


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("Q4_K_M", ["Q4_K_M"]),
        ("q4_k_m", ["Q4_K_M"]),
        ("Q4_K", []),
        ("f16", ["f16"]),
        ("*Q4_K*", ["Q4_K_M", "Q4_K_S"]),
        ("f16/*", ["f16"]),
        ("Llama-3.2-3B-Instruct-Q8_0.gguf", ["Q8_0"]),
        ("Llama-3.2-3B-Instruct-Q8_0", ["Q8_0"]),
        ("f16/Llama-3.2-3B-Instruct-f16-00001-of-00002.gguf", ["f16"]),
        ("mmproj-Q4_K_M.gguf", ["mmproj-Q4_K_M"]),
        ("Q3_K_L", []),
    ],
)
def test_what_a_wanted_file_names(wanted: str, found: list[str]) -> None:
    assert titles(matching(models(REPOSITORY), wanted)) == found


def test_the_best_is_q4_k_m_then_q8_0_then_the_smallest() -> None:
    every = models(REPOSITORY)
    for expected in ("Q4_K_M", "Q8_0", "IQ4_XS"):
        chosen = best(every)
        assert chosen is not None
        assert titles([chosen]) == [expected]
        every = [model for model in every if model != chosen]


def test_a_projector_is_never_chosen() -> None:
    assert best(models({"mmproj-model-f16.gguf": 5})) is None
    assert best([]) is None


def test_stem_keeps_other_endings() -> None:
    assert gguf_names.stem("a.v1.GGUF") == "a.v1"
    assert gguf_names.stem("a.v1.bin") == "a.v1.bin"
