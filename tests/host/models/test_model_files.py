"""What --model may be on this disk, and what it is then called."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from host.errors import HostError
from host.models.model_files import FolderCatalog, find, lora, model_spec
from host.models.spec import FoundModel, Lora
from host.options import HostOptions


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model folder; the current folder is an empty one beside it."""
    folder = tmp_path / "models"
    for name in (
        "single.gguf",
        "tiny/tiny-v1.gguf",
        "sharded/big-00001-of-00002.gguf",
        "sharded/big-00002-of-00002.gguf",
        "broken/big-00001-of-00003.gguf",
        "broken/big-00003-of-00003.gguf",
        "vision/model-Q4.gguf",
        "vision/mmproj-model.gguf",
        "several/a.gguf",
        "several/b.gguf",
        "none/config.json",
    ):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    empty = tmp_path / "elsewhere"
    empty.mkdir()
    monkeypatch.chdir(empty)
    return folder


@pytest.mark.parametrize(
    ("wanted", "file", "name"),
    [
        ("tiny", "tiny/tiny-v1.gguf", "tiny"),
        ("tiny/", "tiny/tiny-v1.gguf", "tiny"),
        ("tiny/tiny-v1.gguf", "tiny/tiny-v1.gguf", "tiny-v1"),
        ("tiny/tiny-v1", "tiny/tiny-v1.gguf", "tiny-v1"),
        ("single.gguf", "single.gguf", "single"),
        ("single", "single.gguf", "single"),
        ("sharded", "sharded/big-00001-of-00002.gguf", "sharded"),
        ("sharded/big-00001-of-00002.gguf", "sharded/big-00001-of-00002.gguf", "big"),
        ("sharded/big-00002-of-00002.gguf", "sharded/big-00001-of-00002.gguf", "big"),
        ("vision", "vision/model-Q4.gguf", "vision"),
        ("several/b.gguf", "several/b.gguf", "b"),
    ],
)
def test_a_name_below_the_model_folder(models: Path, wanted: str, file: str, name: str) -> None:
    assert find(wanted, models) == FoundModel(models / file, name)


def test_absolute_and_relative_paths(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = models.parent / "no-models"
    assert find(str(models / "tiny"), other).name == "tiny"
    assert find(str(models / "single.gguf"), other).name == "single"
    assert find("../models/tiny", other).name == "tiny"
    monkeypatch.chdir(models / "tiny")
    assert find(".", other).name == "tiny"
    monkeypatch.setenv("HOME", str(models))
    assert find("~/tiny", other) == FoundModel(models / "tiny/tiny-v1.gguf", "tiny")


def test_a_file_without_the_ending_is_taken_at_its_word(models: Path) -> None:
    blob = models / "sha256-0123.bin"
    blob.touch()
    assert find(str(blob), models) == FoundModel(blob, "sha256-0123.bin")


def test_an_empty_folder_here_does_not_hide_a_model_there(models: Path) -> None:
    Path("tiny").mkdir()
    assert find("tiny", models).path == models / "tiny/tiny-v1.gguf"


@pytest.mark.parametrize(
    ("wanted", "line"),
    [
        ("nothing", "no model 'nothing' here or in .*models there: broken, several, sharded, "),
        ("none", "no GGUF file in the folder .*none$"),
        ("several", "several holds several models, name one of its files: a.gguf, b.gguf$"),
        ("broken", "big in .*broken is incomplete: 1 of 3 parts are missing"),
        ("broken/big-00001-of-00003.gguf", "is incomplete"),
        ("several/c.gguf", "no model"),
    ],
)
def test_refusals(models: Path, wanted: str, line: str) -> None:
    with pytest.raises(HostError, match=line) as caught:
        find(wanted, models)
    assert "\n" not in str(caught.value)


def test_a_missing_model_folder(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="models there: none"):
        find("nothing", tmp_path / "no-models")


def test_spec_carries_the_options(models: Path) -> None:
    (models / "style.gguf").touch()
    options = HostOptions(
        model="tiny", model_dir=models, ctx_size=512, gpu_layers=3, threads=2, parallel=7,
        lora=("style.gguf:0.5",),
    )  # fmt: skip
    spec = model_spec(options)
    assert (spec.loader, spec.name, spec.path) == (
        "llama.cpp",
        "tiny",
        models / "tiny/tiny-v1.gguf",
    )
    assert (spec.context_length, spec.gpu_layers, spec.threads, spec.parallel) == (512, 3, 2, 7)
    assert spec.loras == (Lora(models / "style.gguf", 0.5),)


def test_echo_needs_no_model(tmp_path: Path) -> None:
    options = HostOptions(model="nothing", model_dir=tmp_path, loader="echo")
    spec = model_spec(options)
    assert (spec.name, spec.path) == ("echo", None)
    with pytest.raises(HostError, match="no model 'nothing'"):
        model_spec(replace(options, loader="llama.cpp"))


@pytest.mark.parametrize(
    ("text", "scale"), [("a.gguf", 1.0), ("a.gguf:0.25", 0.25), ("a.gguf:-1", -1.0)]
)
def test_lora(tmp_path: Path, text: str, scale: float) -> None:
    (tmp_path / "a.gguf").touch()
    assert lora(text, tmp_path) == Lora(tmp_path / "a.gguf", scale)
    assert lora(f"{tmp_path}/{text}", Path("nowhere")) == Lora(tmp_path / "a.gguf", scale)


def test_lora_with_a_colon_in_its_name(tmp_path: Path) -> None:
    (tmp_path / "a:b.gguf").touch()
    assert lora("a:b.gguf", tmp_path) == Lora(tmp_path / "a:b.gguf", 1.0)


@pytest.mark.parametrize("text", ["b.gguf", "a.gguf:nan", ":1", "a.gguf:"])
def test_lora_refusals(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.gguf").touch()
    with pytest.raises(HostError, match="--lora: no file"):
        lora(text, tmp_path)


@pytest.mark.parametrize(
    ("options", "file"),
    [
        ({"model": "vision"}, "vision/mmproj-model.gguf"),
        ({"model": "vision/model-Q4.gguf"}, "vision/mmproj-model.gguf"),
        ({"model": "vision", "no_mmproj": True}, None),
        ({"model": "tiny"}, None),
        ({"model": "tiny", "mmproj": "vision/mmproj-model.gguf"}, "vision/mmproj-model.gguf"),
        ({"model": "vision", "mmproj": "single.gguf"}, "single.gguf"),
        ({"model": "vision", "mmproj": "single.gguf", "no_mmproj": True}, None),
    ],
)
def test_an_encoder_is_found_beside_its_model(
    models: Path, options: dict[str, Any], file: str | None
) -> None:
    spec = model_spec(HostOptions(model_dir=models, **options))
    assert spec.mmproj == (file and models / file)


def test_an_encoder_beside_several_models_is_nobodys(models: Path) -> None:
    (models / "several/mmproj.gguf").touch()
    assert model_spec(HostOptions(model="several/a.gguf", model_dir=models)).mmproj is None


def test_of_several_encoders_the_one_in_f16_is_taken(models: Path) -> None:
    for name in ("BF16", "F16", "Q8_0"):
        (models / f"vision/mmproj-{name}.gguf").touch()
    (models / "vision/mmproj-model.gguf").unlink()
    spec = model_spec(HostOptions(model="vision", model_dir=models))
    assert spec.mmproj == models / "vision/mmproj-F16.gguf"


def test_an_encoder_that_is_not_there(models: Path) -> None:
    with pytest.raises(HostError, match="--mmproj: no file 'nothing'"):
        model_spec(HostOptions(model="tiny", model_dir=models, mmproj="nothing"))


def test_models_in_the_folder_bring_their_own_encoders(models: Path) -> None:
    projector = models / "vision/mmproj-model.gguf"
    for name in ("mmproj-alone.gguf", "second.gguf"):
        (models / name).touch()
    options = HostOptions(model="tiny", model_dir=models, mmproj=str(projector))
    catalog = model_spec(options).catalog
    assert catalog is not None
    assert not any("mmproj" in name for name in catalog.names())
    assert catalog.find("tiny").mmproj == projector
    assert catalog.find("single").mmproj is None
    assert catalog.find("vision").mmproj == projector
    known = FolderCatalog(
        replace(options, mmproj=None), FoundModel(models / "single.gguf", "s", projector)
    )
    assert known.find("s").mmproj == projector
    assert replace(known, options=replace(options, no_mmproj=True)).find("s").mmproj is None
