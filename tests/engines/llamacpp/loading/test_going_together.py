"""What llama.cpp cannot do with a model is one clear line before it is loaded.

Sources: `llama-context.cpp` (the sizes of heads), `common/speculative.cpp` (the tokens of a draft model).
llama.cpp aborts the process for a draft model with recurrent layers.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from extensions.openai.engines.llamacpp.factory import check, explain, make
from extensions.openai.engines.llamacpp.loading.going_together import check_cache_types, check_draft
from extensions.openai.engines.model_spec import ModelLoadError
from extensions.openai.engines.tokens.gguf import GGUFHeader, Value
from extensions.openai.engines.tuning import Tuning
from extensions.openai.settings import Settings
from host.models.spec import ModelSpec
from tests.support.random_architectures import write_hybrid_model, write_recurrent_model
from tests.support.random_model import write_model, write_sentencepiece_model


def refusal(model: Path, **chosen: Any) -> str:
    """What is said of it, wherever it is found."""
    spec = ModelSpec("llama.cpp", "x", model, 0, -1, 0, 4, tuning=Tuning(**chosen))
    said = set()
    for ask in (check, explain, lambda spec: make(spec, Settings())):
        with pytest.raises(ModelLoadError) as refused:
            ask(spec)
        said.add(str(refused.value))
    (line,) = said
    assert "\n" not in line
    return line


@pytest.mark.parametrize(("flag", "name"), [("cache_type_k", "-k"), ("cache_type_v", "-v")])
def test_heads_that_a_quantised_cache_cannot_hold(random_model: Path, flag: str, name: str) -> None:
    assert refusal(random_model, **{flag: "q8_0"}) == (
        f"--cache-type{name} q8_0 needs heads of a multiple of 32 values, and those of "
        f"{random_model.name} have 16: use f16"
    )


def test_heads_that_it_holds(random_model: Path) -> None:
    header = GGUFHeader(
        {
            "general.architecture": "llama",
            "llama.embedding_length": 96,
            "llama.attention.head_count": 3,
        }
    )
    check_cache_types(header, "x.gguf", Tuning(cache_type_k="q8_0", cache_type_v="q4_0"))
    wide = GGUFHeader(header.metadata | {"llama.attention.value_length": 80})
    check_cache_types(wide, "x.gguf", Tuning(cache_type_k="q8_0"))
    with pytest.raises(ModelLoadError, match=r"--cache-type-v q4_0 .* have 80"):
        check_cache_types(wide, "x.gguf", Tuning(cache_type_v="q4_0"))


def _other_end(path: Path) -> Path:
    return write_model(path, end="<|over|>")


@pytest.mark.parametrize("write", [write_sentencepiece_model, _other_end])
def test_a_draft_model_with_other_tokens(
    random_model: Path, tmp_path: Path, write: Callable[[Path], Path]
) -> None:
    draft = write(tmp_path / "draft.gguf")
    assert refusal(random_model, draft_model=draft) == (
        f"--draft-model draft.gguf has other tokens than {random_model.name}: take a small model of the "
        "same family"
    )


@pytest.mark.parametrize("write", [write_recurrent_model, write_hybrid_model])
def test_a_draft_model_that_cannot_go_back(
    random_model: Path, tmp_path: Path, write: Callable[[Path], Path]
) -> None:
    draft = write(tmp_path / "draft.gguf")
    assert refusal(random_model, draft_model=draft).startswith(
        "--draft-model draft.gguf has recurrent layers"
    )


@pytest.mark.parametrize(("more", "refused"), [(0, False), (128, False), (129, True)])
def test_a_draft_model_that_is_padded(more: int, refused: bool) -> None:
    tokens: list[Value] = [str(number) for number in range(300)]
    base: dict[str, Value] = {"general.architecture": "llama", "tokenizer.ggml.model": "gpt2"}
    header = GGUFHeader(base | {"tokenizer.ggml.tokens": tokens})
    draft = GGUFHeader(base | {"tokenizer.ggml.tokens": [*tokens, *["pad"] * more]})
    for one, other in ((header, draft), (draft, header)):
        if refused:
            with pytest.raises(ModelLoadError, match="has other tokens"):
                check_draft(one, "a", other, "b")
        else:
            check_draft(one, "a", other, "b")
