"""`--models`: a file or a folder of models to load on request, and the command line of each."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from host.command_line import read
from host.errors import HostError
from host.models.model_files import model_spec
from host.options import HostOptions
from host.resident.rows import Row, arguments_of, read_rows


@pytest.fixture
def folder(tmp_path: Path, embedded_model: Path | None) -> Path:
    if embedded_model is None:
        pytest.skip("this tree has no embedded model")
    models = tmp_path / "models"
    (models / "beside").mkdir(parents=True)
    shutil.copy(embedded_model, models / "one.gguf")
    shutil.copy(embedded_model, models / "beside" / "model.gguf")
    (models / "beside" / "adapter.gguf.txt").write_text("no model")
    return models


def rows(where: Path, models: Path, **options: Any) -> tuple[Row, ...]:
    given = HostOptions(models=str(where), model_dir=models, **options)
    return read_rows(given, model_spec(replace(given, lora=())))


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "models.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def test_a_file(tmp_path: Path, folder: Path) -> None:
    file = written(
        tmp_path,
        "models:\n"
        "  short: one.gguf\n"
        "  long: {model: beside, ctx-size: 512, aliases: [other], pinned: true, idle: 60,\n"
        "    tensor-split: [3, 1]}\n",
    )
    short, long = rows(file, folder, threads=1)
    assert (short.name, short.aliases, short.pinned, short.idle_s) == ("short", (), False, 0.0)
    assert short.spec.path == folder / "one.gguf"
    assert (long.name, long.aliases, long.pinned, long.idle_s) == ("long", ("other",), True, 60.0)
    assert long.spec.context_length == 512 and long.spec.threads == 1
    assert long.arguments["ctx-size"] == 512 and long.arguments["tensor-split"] == [3.0, 1.0]


def test_adapters_are_models_beside_it(tmp_path: Path, folder: Path) -> None:
    (folder / "legal.gguf.lora").write_bytes(b"x")
    file = written(
        tmp_path,
        "models: {base: {model: one.gguf, ctx-size: 512, aliases: [b], pinned: true,\n"
        "  sampling: {temperature: 0.2}, adapters: {legal: 'legal.gguf.lora:0.5'}}}",
    )
    base, legal = rows(file, folder)
    assert (base.name, base.root, base.spec.loras) == ("base", None, ())
    assert (legal.name, legal.root, legal.aliases, legal.pinned) == (
        "base:legal",
        "base",
        (),
        False,
    )
    (lora,) = legal.spec.loras
    assert (lora.path, lora.scale) == (folder / "legal.gguf.lora", 0.5)
    assert legal.spec.context_length == 512
    assert base.sampling == legal.sampling == {"temperature": 0.2}
    assert legal.arguments["lora"] == ["legal.gguf.lora:0.5"]


def test_a_chat_template_of_its_own(tmp_path: Path, folder: Path) -> None:
    template = tmp_path / "template.jinja"
    template.write_text("{{ messages }}", encoding="utf-8")
    file = written(
        tmp_path, f"models: {{a: {{model: one.gguf, chat-template-file: '{template}'}}}}"
    )
    (row,) = rows(file, folder)
    assert row.spec.chat_template == "{{ messages }}"
    assert f"--chat-template-file={template}" in arguments_of(row.options, row.spec)
    assert row.arguments["chat-template-file"] == "template.jinja"


def test_a_folder_has_all_but_the_hosts_own(folder: Path) -> None:
    assert [row.name for row in rows(folder, folder)] == ["beside", "one"]
    own = str(folder / "one.gguf")
    assert [row.name for row in rows(folder, folder, model=own)] == ["beside"]


def test_the_command_line_loads_the_same(tmp_path: Path, folder: Path) -> None:
    file = written(
        tmp_path,
        "models: {long: {model: beside, ctx-size: 512, mlock: true, tensor-split: [3, 1], cache-ram: 7}}",
    )
    (row,) = rows(file, folder, threads=2, parallel=3)
    options, _ = read(arguments_of(row.options, row.spec), [])
    spec = model_spec(options)
    assert spec.path == row.spec.path
    assert row.spec.shares_memory and not spec.shares_memory
    assert replace(spec, name="", shares_memory=True) == replace(row.spec, name="")


def test_what_belongs_to_the_hosts_own_model_stays_with_it(
    tmp_path: Path, folder: Path, embedded_model: Path
) -> None:
    file = written(tmp_path, "models: {short: one.gguf}")
    (row,) = rows(file, folder, lora=(str(embedded_model),), draft_model=str(embedded_model))
    assert not row.spec.loras and row.spec.tuning.draft_model is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("other: {}", "has no `models:`"),
        ("models: {}", "no model in"),
        ("models: {a b: one.gguf}", "'a b' is no name for a model"),
        ("models: {a: {ctx-size: 512}}", "a: `model` names what to load"),
        ("models: {a: {model: one.gguf, ctx-sise: 512}}", "a: unknown 'ctx-sise'"),
        ("models: {a: {model: one.gguf, listen: true}}", "a: unknown 'listen'"),
        ("models: {a: {model: one.gguf, ctx-size: many}}", "a: ctx-size: a whole number"),
        ("models: {a: {model: one.gguf, aliases: b}}", "a: aliases: a list of names"),
        ("models: {a: {model: one.gguf, pinned: maybe}}", "a: pinned: true or false"),
        ("models: {a: {model: nothing.gguf}}", "a: no model 'nothing.gguf'"),
        ("models: {a: {model: one.gguf, sampling: 3}}", "a: sampling: names with values"),
        ("models: {a: {model: one.gguf, adapters: {'b c': x}}}", "'b c' is no name for an adapter"),
        (
            "models: {a: {model: one.gguf, adapters: {b: nothing}}}",
            "a:b: --lora: no file 'nothing'",
        ),
        (
            "models: {a: {model: one.gguf, chat-template-file: no.jinja}}",
            "--chat-template-file: No",
        ),
        ("models: {a: one.gguf, b: {model: one.gguf, aliases: [a]}}", "the name a is there twice"),
        ("models: {openedai-tiny: one.gguf}", "the name openedai-tiny is there twice"),
        ("models: [", "not valid YAML"),
    ],
)
def test_one_clear_line(tmp_path: Path, folder: Path, text: str, words: str) -> None:
    with pytest.raises(HostError) as caught:
        rows(written(tmp_path, text), folder)
    message = str(caught.value)
    assert message.startswith("--models") and words in message and "\n" not in message


def test_no_such_file(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(HostError, match="there is no file or folder"):
        rows(tmp_path / "nothing.yaml", folder)


def test_a_host_without_a_model_of_its_own_loads_them_with_llama_cpp(folder: Path) -> None:
    found = rows(folder, folder, loader="upstream")
    assert [row.spec.loader for row in found] == ["llama.cpp"] * 2
    assert found[0].spec.path == folder / "beside" / "model.gguf"
