"""The sampling that is written down in a model's files, and beside them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from extensions.openai.engines.llamacpp import factory
from extensions.openai.engines.llamacpp.loading.own_sampling import own_sampling
from extensions.openai.engines.tokens.gguf import GGUFHeader
from host.models.spec import ModelSpec

HEADER = GGUFHeader({"general.sampling.temp": 0.6, "general.sampling.penalty_repeat": 1.1})
CONFIG = "generation_config.json"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    file = tmp_path / "some-model-00001-of-00002.gguf"
    file.touch()
    (tmp_path / "some-model-00002-of-00002.gguf").touch()
    (tmp_path / "mmproj-some-model.gguf").touch()
    return file


def test_the_header(model: Path) -> None:
    assert own_sampling(model, HEADER) == {"temperature": 0.6, "repetition_penalty": 1.1}
    assert own_sampling(model, GGUFHeader({})) == {}


def test_what_is_written_beside_it_goes_first(model: Path) -> None:
    written = {"temperature": 0.7, "top_p": None, "top_k": 20, "eos_token_id": 3, "do_sample": True}
    model.with_name(CONFIG).write_text(json.dumps(written))
    assert own_sampling(model, HEADER) == {"temperature": 0.7, "top_k": 20}
    model.with_name("some-model.yaml").write_text("temperature: 0.2\nxtc_probability: 0.1\n")
    assert own_sampling(model, HEADER) == {"temperature": 0.2, "xtc_probability": 0.1}


def test_a_folder_of_several_models_has_no_configuration_of_one(model: Path) -> None:
    model.with_name(CONFIG).write_text('{"temperature": 0.7}')
    model.with_name("another.gguf").touch()
    assert own_sampling(model, GGUFHeader({})) == {}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (CONFIG, b"{"),
        (CONFIG, b"[1]"),
        (CONFIG, b"[" * 100_000),
        (CONFIG, b"\xff"),
        (CONFIG, b" " * (1 << 20) + b"{}"),
        ("some-model.yaml", b"a: [}"),
        ("some-model.yaml", b"just words"),
        ("some-model.yaml", b"0x" + b"f" * 5000 + b": 1"),
    ],
)
def test_what_cannot_be_read_is_told(
    model: Path, name: str, text: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    model.with_name(name).write_bytes(text)
    assert own_sampling(model, HEADER) == {}
    assert f"{name} is not used" in caplog.text and str(model.parent) not in caplog.text


def test_explain_names_it(random_model: Path, tmp_path: Path) -> None:
    file = tmp_path / random_model.name
    file.symlink_to(random_model)
    file.with_suffix(".yaml").write_text("temperature: 0.2\n")
    spec: Any = ModelSpec("llama.cpp", "x", file, 0, -1, 0, 4)
    assert "sampling: temperature=0.2, as its files say" in "\n".join(factory.explain(spec))
