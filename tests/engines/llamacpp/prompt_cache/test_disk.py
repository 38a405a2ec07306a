"""Prompts outlive a restart, in files that only their owner may read; nothing else is given to llama.cpp."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from extensions.openai.engines.llamacpp.engine import LlamaCppEngine
from extensions.openai.engines.llamacpp.prompt_cache.disk import Disk
from extensions.openai.engines.llamacpp.prompt_cache.prompt import Prompt
from extensions.openai.engines.model_spec import ModelLoadError
from extensions.openai.engines.protocol import CacheUse, GenerateRequest
from extensions.openai.engines.tuning import Tuning

STATE = bytes(range(256)) * 8


def text(number: int, length: int) -> str:
    return "".join(random.Random(number).choices("abcdfgijklmnop ", k=length))


def cached(engine: LlamaCppEngine, prompt: str, space: str) -> int:
    request = GenerateRequest(prompt, 1, {"temperature": 0.0}, cache=CacheUse(space, 1, 1))
    (usage,) = [piece.prompt for piece in engine.generate(request) if piece and piece.prompt]
    return usage.cached


def test_a_restart_reads_no_prompt_again(random_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "prompts"
    tuning = Tuning(cache_disk=folder)

    def started() -> LlamaCppEngine:
        return LlamaCppEngine(random_model, name="x", parallel=1, tuning=tuning)

    engine = started()
    assert cached(engine, text(1, 1200), "ann") == 0
    assert cached(engine, text(2, 1200), "ann") == 0
    engine.close()
    files = list(folder.iterdir())
    assert len(files) == 2 and folder.stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}

    engine = started()
    assert cached(engine, text(1, 1200), "ben") == 0, "another key's"
    assert cached(engine, text(1, 1200) + "b", "ann") >= 1199
    assert cached(engine, text(2, 1200) + "b", "ann") >= 1199
    engine.close()
    other = LlamaCppEngine(random_model, name="another", parallel=1, tuning=tuning)
    assert cached(other, text(2, 1200), "ann") == 0, "of another model"
    other.close()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "state"
    path.write_bytes(STATE)
    return path


def written(folder: Path, source: Path, limit: int = 1 << 20) -> Path:
    Disk(folder, "fp", limit).write(Prompt("ann", "text", (1, 2)), 2, ((1, True),), False, source)
    (path,) = folder.iterdir()
    return path


def test_what_is_written_is_read(tmp_path: Path, source: Path) -> None:
    written(tmp_path / "disk", source)
    (state,) = Disk(tmp_path / "disk", "fp", 1 << 20).states()
    assert state.head.prompt == Prompt("ann", "text", (1, 2)) and state.head.tokens == 2
    with (tmp_path / "copy").open("wb") as target:
        assert state.copy_to(target)
    assert (tmp_path / "copy").read_bytes() == STATE
    assert not Disk(tmp_path / "disk", "other", 1 << 20).states()


def flipped(at: int) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        data = bytearray(path.read_bytes())
        data[at] ^= 1
        path.write_bytes(data)

    return damage


@pytest.mark.parametrize(
    "damage",
    [
        *(flipped(0), flipped(26), flipped(40), flipped(90)),  # the magic, length, digest and head
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(path.read_bytes() + b"x"),
        lambda path: path.write_bytes(b""),
        lambda path: path.chmod(0o644),
        lambda path: path.rename(path.with_suffix(".else")),
        lambda path: (path.rename(path.with_suffix(".real")), path.symlink_to(path.with_suffix(".real"))),
    ],
)  # fmt: skip
def test_a_file_that_is_not_as_it_was_written_is_left_alone(
    damage: Callable[[Path], object], tmp_path: Path, source: Path
) -> None:
    damage(written(tmp_path / "disk", source))
    assert Disk(tmp_path / "disk", "fp", 1 << 20).states() == []


def test_a_damaged_state_is_not_used(tmp_path: Path, source: Path) -> None:
    flipped(-1)(written(tmp_path / "disk", source))
    (state,) = Disk(tmp_path / "disk", "fp", 1 << 20).states()
    with (tmp_path / "copy").open("wb") as target:
        assert not state.copy_to(target)


def test_the_oldest_files_make_room(tmp_path: Path, source: Path) -> None:
    folder = tmp_path / "disk"
    disk = Disk(folder, "fp", 2 * len(STATE) + 1200)
    for number in range(4):
        disk.write(Prompt("ann", "", (number,)), 1, (), False, source)
        for age, state in enumerate(reversed(disk.states())):
            os.utime(state.path, ns=(0, 10**9 * (9 - age)))
    assert [state.head.prompt.ids for state in disk.states()] == [(2,), (3,)]
    assert sum(file.stat().st_size for file in folder.iterdir()) <= disk.limit
    Disk(folder, "fp", 100).write(Prompt("ann", "", (9,)), 1, (), False, source)
    assert len(disk.states()) == 2, "what never fits drops nothing"


def test_a_folder_that_others_may_read_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with pytest.raises(ModelLoadError, match="chmod 700"):
        Disk(tmp_path, "fp", 100)


def test_a_full_disk_is_a_line_in_the_log(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    disk = Disk(tmp_path / "disk", "fp", 1 << 20)
    monkeypatch.setattr("shutil.copyfileobj", full)
    disk.write(Prompt("ann", "secret words", (1,)), 1, (), False, source)
    assert "No space left" in caplog.text and "secret" not in caplog.text
    assert not list((tmp_path / "disk").iterdir())
