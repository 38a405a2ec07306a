"""--explain prints what would be chosen before anything is loaded, and a start chooses that."""

from __future__ import annotations

from pathlib import Path

import pytest

from extensions.openai.engines.llamacpp import factory
from extensions.openai.engines.llamacpp.engine import LlamaCppEngine
from extensions.openai.engines.llamacpp.loading import params
from extensions.openai.engines.model_spec import ModelLoadError
from extensions.openai.engines.tokens.gguf import read_header
from extensions.openai.engines.tuning import DEFAULT_TUNING, Tuning
from host.main import main
from host.models.spec import ModelSpec


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
    tuning = Tuning(cache_ram=7, cache_type_k="q8_0", batch_size=64, speculative="ngram-simple")
    said = "\n".join(factory.explain(spec(random_model, context=512, threads=3, tuning=tuning)))
    for line in (
        *("context: 512 tokens (--ctx-size)", "threads: 3 (--threads)", "keys q8_0, values f16"),
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


def test_it_refuses_what_the_start_would(tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF")
    with pytest.raises(ModelLoadError):
        factory.explain(spec(broken))


def test_the_host_ends_after_it(random_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--model", str(random_model), "--explain"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("random") and "needs " in said and "http://" not in said
