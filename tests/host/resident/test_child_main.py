"""What the process of a model tells the one that started it."""

from __future__ import annotations

from pathlib import Path

import pytest

from host.models import read_ahead
from host.resident import child_main


def test_it_tells_how_much_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    first, second = tmp_path / "1.gguf", tmp_path / "2.gguf"
    first.write_bytes(bytes(10 << 20))  # blocks of 8 MiB are read
    second.write_bytes(bytes(6 << 20))
    monkeypatch.setattr(read_ahead, "WORTH_IT", 1)
    monkeypatch.setattr(read_ahead, "free_memory", lambda: 1 << 40)
    assert child_main.read_and_tell([first, second])
    lines = capfd.readouterr().out.splitlines()
    assert [child_main.progress_in(line) for line in lines] == [0.5, 0.62, 1.0]


@pytest.mark.parametrize("line", ["progress: far", "progress: ", "reading model.gguf: 1 GB", ""])
def test_other_lines_are_for_the_log(line: str) -> None:
    assert child_main.progress_in(line) is None
