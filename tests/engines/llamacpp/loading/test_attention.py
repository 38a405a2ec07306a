"""Flash attention where the operator leaves it open: off where it is slower."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from extensions.openai.engines.llamacpp import factory
from extensions.openai.engines.llamacpp.engine import LlamaCppEngine
from extensions.openai.engines.llamacpp.loading import attention, params
from extensions.openai.engines.llamacpp.loading.attention import with_attention
from extensions.openai.engines.llamacpp.loading.params import TINY_MODEL_BYTES, Cache
from extensions.openai.engines.protocol import GenerateRequest
from extensions.openai.engines.tokens.gguf import GGUFHeader
from extensions.openai.engines.tuning import DEFAULT_TUNING, Tuning
from host.models.spec import ModelSpec

GIB = 1 << 30
OWN = Cache(8192, 4, 4)
SHARED = Cache(8192, 2, 4)
HEADER = GGUFHeader({"general.architecture": "llama", "llama.attention.head_count": 32})


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file as large as a real model's, on a machine of 16 GiB without a GPU."""
    monkeypatch.setattr(attention, "memory_bytes", lambda: 16 * GIB)
    monkeypatch.setattr(attention, "gpu_bytes", lambda layers: 0)
    path = tmp_path / "model.gguf"
    with path.open("wb") as file:
        file.truncate(TINY_MODEL_BYTES)
    return path


def chosen(model: Path, tuning: Tuning = DEFAULT_TUNING, **given: Any) -> Tuning:
    header, cache = given.pop("header", HEADER), given.pop("cache", OWN)
    return with_attention(tuning, model, header, cache, **({"gpu_layers": -1} | given))


def test_a_processor_computes_without_it(model: Path) -> None:
    assert chosen(model) == Tuning(flash_attn="off", ubatch_size=128)
    kept = Tuning(cache_type_k="q8_0", threads_batch=3)
    assert chosen(model, kept) == replace(kept, flash_attn="off", ubatch_size=128)


@pytest.mark.parametrize(
    ("asked", "steps"),
    [
        (Tuning(ubatch_size=256, batch_size=512), 256),
        (Tuning(batch_size=32), 32),
        (Tuning(batch_size=512), 128),
    ],
)
def test_the_operators_steps_hold(asked: Tuning, steps: int, model: Path) -> None:
    assert chosen(model, asked) == replace(asked, flash_attn="off", ubatch_size=steps)


@pytest.mark.parametrize("asked", ["on", "off"])
def test_the_operators_choice_holds(asked: Any, model: Path) -> None:
    assert chosen(model, Tuning(flash_attn=asked)) == Tuning(flash_attn=asked)


@pytest.mark.parametrize(
    "given",
    [
        {"tuning": Tuning(cache_type_v="q8_0")},
        {"cache": SHARED},
        {"mmproj": Path("encoder.gguf")},
        {"header": GGUFHeader(HEADER.metadata | {"llama.expert_count": 8})},
        {"header": GGUFHeader(HEADER.metadata | {"llama.ssm.state_size": 8})},
        {"cache": Cache(1 << 17, 4, 4)},
        {"tuning": Tuning(batch_size=2048, ubatch_size=2048)},
    ],
)
def test_it_is_left_to_the_engine(given: dict[str, Any], model: Path) -> None:
    """Values that need it, caches that slots share, pictures, experts, recurrent layers, too much memory."""
    assert chosen(model, **given) == given.get("tuning", DEFAULT_TUNING)


def test_a_gpu_is_faster_with_it(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "gpu_bytes", lambda layers: 8 * GIB if layers else 0)
    assert chosen(model) == DEFAULT_TUNING
    assert chosen(model, gpu_layers=0).flash_attn == "off"


def test_a_tiny_model_keeps_it(random_model: Path) -> None:
    assert chosen(random_model) == DEFAULT_TUNING


def test_an_engine_answers_as_with_it(random_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That it is off can be seen by the fingerprint."""
    monkeypatch.setattr(params, "TINY_MODEL_BYTES", 0)
    found = {}
    for name, tuning in (
        ("auto", DEFAULT_TUNING),
        ("on", Tuning(flash_attn="on")),
        ("off", Tuning(flash_attn="off", ubatch_size=128)),
    ):
        engine = LlamaCppEngine(random_model, name="x", threads=1, tuning=tuning)
        try:
            request = GenerateRequest("abcdefg " * 60, 16, {"temperature": 0.0})
            pieces = [piece.text for piece in engine.generate(request) if piece is not None]
            found[name] = (engine.info.fingerprint, "".join(pieces))
        finally:
            engine.close()
    assert found["auto"] == found["off"]
    assert found["on"][0] != found["off"][0] and found["on"][1] == found["off"][1]


def test_the_start_says_so(random_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = ModelSpec("llama.cpp", "x", random_model, 0, -1, 0, 4, tuning=DEFAULT_TUNING)
    assert "flash attention: auto (--flash-attn)" in factory.explain(spec)
    monkeypatch.setattr(params, "TINY_MODEL_BYTES", 0)
    (line,) = [each for each in factory.explain(spec) if each.startswith("flash attention: ")]
    assert line.startswith(
        "flash attention: off, as a processor is faster without it, in steps of 128 tokens"
    )
