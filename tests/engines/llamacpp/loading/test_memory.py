"""How much memory is said to be needed."""

from __future__ import annotations

from pathlib import Path

import pytest

from extensions.openai.engines.llamacpp.engine import LlamaCppEngine
from extensions.openai.engines.llamacpp.loading.memory import memory_need
from extensions.openai.engines.llamacpp.loading.params import Cache
from extensions.openai.engines.tokens.gguf import GGUFHeader

LLAMA_3_1_8B = GGUFHeader(
    {
        "general.architecture": "llama",
        "llama.block_count": 32,
        "llama.embedding_length": 4096,
        "llama.attention.head_count": 32,
        "llama.attention.head_count_kv": 8,
    }
)


def sized(path: Path, size: int) -> Path:
    with path.open("wb") as file:
        file.truncate(size)
    return path


def test_it_is_what_llama_cpp_says_of_a_well_known_model(tmp_path: Path) -> None:
    """`llama_kv_cache: size = 1024.00 MiB (8192 cells, 32 layers)` for Llama 3.1 8B."""
    file = sized(tmp_path / "model.gguf", 4_920_000_000)
    need = memory_need(LLAMA_3_1_8B.kv_bytes_per_token, [file], Cache(8192, 1, 2), 512 << 20)
    assert need.contexts == 1024 << 20
    assert str(need) == "needs 6.5 GB: weights 4.9, 1 context 1.1, cache 0.5"
    four = memory_need(LLAMA_3_1_8B.kv_bytes_per_token, [file], Cache(8192, 4, 4), 512 << 20)
    assert str(four) == "needs 9.8 GB: weights 4.9, 4 contexts 4.3, cache 0.5"


def test_all_files_count(tmp_path: Path) -> None:
    first = sized(tmp_path / "big-00001-of-00002.gguf", 1000)
    sized(tmp_path / "big-00002-of-00002.gguf", 500)
    sized(tmp_path / "other-00002-of-00002.gguf", 7000)
    encoder = sized(tmp_path / "mmproj.gguf", 30)
    need = memory_need(LLAMA_3_1_8B.kv_bytes_per_token, [first, encoder], Cache(1, 1, 1), 0)
    assert need.weights == 1530


def test_the_start_says_it(random_model: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "openedai"):
        LlamaCppEngine(random_model, name="random", threads=1).close()
    (line,) = [r.getMessage() for r in caplog.records if r.getMessage().startswith("needs ")]
    assert "4 contexts" in line and len("08:00:00 INFO openedai: " + line) <= 80
