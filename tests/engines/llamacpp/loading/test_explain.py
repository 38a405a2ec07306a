"""--explain prints what would be chosen before anything is loaded, and a start chooses that."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import xllamacpp

from extensions.openai.engines.llamacpp import factory
from extensions.openai.engines.llamacpp.engine import LlamaCppEngine
from extensions.openai.engines.llamacpp.loading import params
from extensions.openai.engines.model_spec import ModelLoadError
from extensions.openai.engines.tokens.gguf import read_header
from extensions.openai.engines.tuning import DEFAULT_TUNING, Tuning
from host.main import main
from host.models.spec import ModelSpec
from tests.support.random_model import write_model


def spec(
    model: Path,
    *,
    context: int = 0,
    layers: int = -1,
    threads: int = 0,
    tuning: Tuning = DEFAULT_TUNING,
) -> ModelSpec:
    return ModelSpec("llama.cpp", "x", model, context, layers, threads, 4, tuning=tuning)


def test_it_says_what_the_start_says(random_model: Path, caplog: pytest.LogCaptureFixture) -> None:
    said = "\n".join(factory.explain(spec(random_model)))
    with caplog.at_level("INFO", "openedai"):
        LlamaCppEngine(random_model, name="x").close()
    (need,) = [each.getMessage() for each in caplog.records if "needs " in each.getMessage()]
    assert need in said
    for line in ("context: 2048 tokens (the model's own)", "slots: 4, each with a context of its own",
                 "threads: 1, as its steps are too short", "16 MiB beside the slots, chosen"):  # fmt: skip
        assert line in said


def test_it_says_what_the_operator_has_set(random_model: Path) -> None:
    tuning = Tuning(cache_ram=7, cache_type_k="bf16", batch_size=64, speculative="ngram-simple")
    said = "\n".join(factory.explain(spec(random_model, context=512, threads=3, tuning=tuning)))
    for line in (
        *("context: 512 tokens (--ctx-size)", "threads: 3 (--threads)", "keys bf16, values f16"),
        *("7 MiB beside the slots, set (--cache-ram)", "batch: 64 tokens", "guesses: checked"),
    ):
        assert line in said


@pytest.mark.parametrize(
    ("layers", "tuning", "says"),
    [
        (-1, Tuning(), "as many layers as leave 1024 MiB of each free"),
        (-1, Tuning(fit_target=300), "as many layers as leave 300 MiB of each free"),
        (-1, Tuning(fit="off"), "all layers, if there is one, whether they fit or not"),
        (-1, Tuning(tensor_split=(3.0, 1.0)), "in the parts of --tensor-split"),
        (7, Tuning(), "7 layers, if there is one (--gpu-layers; so --fit chooses nothing)"),
    ],
)
def test_what_a_gpu_gets(random_model: Path, layers: int, tuning: Tuning, says: str) -> None:
    (line,) = [
        each
        for each in factory.explain(spec(random_model, layers=layers, tuning=tuning))
        if each.startswith("GPU:")
    ]
    assert says in line


def test_slots_that_share(random_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = 2048 * read_header(random_model).kv_bytes_per_token
    monkeypatch.setattr(params, "memory_bytes", lambda: 4 * context)
    assert "slots: 4 share one context," in "\n".join(factory.explain(spec(random_model)))


LONG = 65536  # tokens that a model was made for
HELD = 10240  # what memory holds of them


@pytest.fixture
def long_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model that was made for more than a quarter of the memory holds in four slots."""
    file = tmp_path / "long.gguf"
    write_model(file, context=LONG)
    held = 4 * HELD * read_header(file).kv_bytes_per_token
    monkeypatch.setattr(params, "memory_bytes", lambda: 4 * (held + 1000))
    monkeypatch.setattr(params, "SPARE_BYTES", 0)
    return file


def context_said(spec: ModelSpec) -> str:
    (line,) = [each for each in factory.explain(spec) if each.startswith("context: ")]
    return line


def test_the_context_is_what_memory_holds(long_model: Path) -> None:
    asked = spec(long_model)
    assert context_said(asked) == (
        f"context: {HELD} tokens (of the {LONG} that the model was made for, see --ctx-size; what memory "
        "holds for each of 4 slots)"
    )
    engine = LlamaCppEngine(long_model, name="x")
    assert engine.info.context_length == HELD
    engine.close()
    assert factory.outline(asked).info.context_length == HELD


@pytest.mark.parametrize("asked", [256, 8192, HELD + 256, LONG])
def test_what_the_operator_asks_for_is_exact(long_model: Path, asked: int) -> None:
    assert context_said(spec(long_model, context=asked)) == f"context: {asked} tokens (--ctx-size)"


def test_enough_memory_gives_the_models_own(
    long_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(params, "memory_bytes", lambda: 1 << 40)
    assert context_said(spec(long_model)) == f"context: {LONG} tokens (the model's own)"


def test_what_shares_its_memory_does_not_grow(
    long_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(params, "memory_bytes", lambda: 1 << 40)
    shared = replace(spec(long_model), shares_memory=True)
    assert context_said(shared).startswith("context: 8192 tokens (") and "--models" in context_said(
        shared
    )
    slow = spec(long_model, tuning=Tuning(flash_attn="off"))
    assert context_said(slow).startswith("context: 8192 tokens (")


def test_memory_for_less_than_the_least_context(
    long_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = read_header(long_model).kv_bytes_per_token
    monkeypatch.setattr(params, "memory_bytes", lambda: 4 * 8192 * token)
    assert context_said(spec(long_model)).startswith("context: 8192 tokens (")
    assert "slots: 4 share one context" in "\n".join(factory.explain(spec(long_model)))


@pytest.mark.parametrize(
    ("layers", "card", "context"),
    [(-1, 9216, 9216), (-1, LONG, HELD), (0, 0, HELD), (-1, 0, 8192)],
)
def test_a_gpu_keeps_room_for_its_layers(
    layers: int, card: int, context: int, long_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`card`: the tokens for each of 4 slots that a GPU's memory holds beside the weights."""
    held = card * 4 * read_header(long_model).kv_bytes_per_token
    memory = long_model.stat().st_size + held
    devices = [{"type": "GPU", "memory_total": memory}, {"type": "CPU", "memory_total": 1 << 40}]
    monkeypatch.setattr(xllamacpp, "get_device_info", lambda: devices)
    assert context_said(spec(long_model, layers=layers)).startswith(f"context: {context} tokens")


def test_it_refuses_what_the_start_would(tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF")
    with pytest.raises(ModelLoadError):
        factory.explain(spec(broken))


def test_the_host_ends_after_it(random_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--model", str(random_model), "--explain"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("random") and "needs " in said and "http://" not in said
