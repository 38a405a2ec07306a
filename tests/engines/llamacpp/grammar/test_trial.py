"""Whether llama.cpp follows grammars with a model's vocabulary, tried when it is loaded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from extensions.openai.engines.llamacpp.engine import LlamaCppEngine
from extensions.openai.engines.llamacpp.grammar.keeper import keeper_file
from tests.support.api import Api
from tests.support.random_model import write_model


def test_a_vocabulary_that_llama_cpp_misreads_is_found_out(tmp_path: Path) -> None:
    """Where texts get a space before them, as in Llama 2, its grammars are made of other texts; so they are
    matched here (`test_matched_answers.py`)."""
    path, key = tmp_path / "spaced.gguf", b"tokenizer.ggml.add_space_prefix\x07\0\0\0"
    assert keeper_file().count(key + b"\0") == 1
    path.write_bytes(keeper_file().replace(key + b"\0", key + b"\1"))
    engine = LlamaCppEngine(path, name="spaced", threads=1)
    try:
        assert engine.matched is not None
        assert "grammar" in engine.info.capabilities
    finally:
        engine.close()


@pytest.mark.parametrize("odd", [0, 30, 31])
def test_texts_in_json_whatever_the_number_of_tokens(tmp_path: Path, odd: int) -> None:
    """llama.cpp's library fails where it is one less than a multiple of 32."""
    engine = LlamaCppEngine(
        write_model(tmp_path / "m.gguf", odd=odd), name="m", threads=1, parallel=1
    )
    try:
        assert len(engine.info.token_bytes or ()) % 32 == odd
        assert (engine.matched is not None) == (odd == 31)
        text = {"type": "string", "minLength": 3, "maxLength": 5}
        schema: dict[str, object] = {"type": "object", "properties": {"x": text}, "required": ["x"]}
        schema["additionalProperties"] = False
        for seed in range(5):
            answer = Api(engine).complete("a", guided_json=schema, seed=seed, max_tokens=200)
            found = json.loads(answer["choices"][0]["text"])
            assert 3 <= len(found["x"]) <= 5
    finally:
        engine.close()
