"""Progress lines, and reading ahead, which shows them."""

from __future__ import annotations

import io
import time
from pathlib import Path

import pytest

from host.models import progress, read_ahead
from host.models.progress import Progress, readable


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1 kB"), (10_485_760, "10.49 MB"),
     (4_368_439_584, "4.4 GB"), (10**15, "1,000,000.0 GB")],
)  # fmt: skip
def test_readable(count: int, text: str) -> None:
    assert readable(count) == text


def test_a_terminal_gets_one_line_that_moves() -> None:
    shown = Terminal()
    bar = Progress("reading m.gguf", 2000, shown)
    bar.update(1)
    assert shown.getvalue() == "", "what is over at once shows nothing"
    for done in (1000, 2000):
        time.sleep(progress.ON_TERMINAL + 0.01)
        bar.update(done)
    bar.close()
    first, second = shown.getvalue().removeprefix("\r").split("\r")
    assert first.rstrip() == "reading m.gguf: 1 kB of 2 kB"
    assert second.rstrip(" \n") == "reading m.gguf: 2 kB of 2 kB"
    assert second.endswith("\n")


def test_a_log_gets_few_lines() -> None:
    shown = io.StringIO()
    bar = Progress("downloading m.gguf", None, shown)
    begin = time.monotonic()
    while time.monotonic() < begin + progress.FIRST + 0.3:
        bar.update(500)
        time.sleep(0.01)
    bar.close()
    assert shown.getvalue() == "downloading m.gguf: 500 bytes\n"


def test_reading_ahead_is_for_files_that_are_large_and_fit(tmp_path: Path) -> None:
    large, small = tmp_path / "large.gguf", tmp_path / "small.gguf"
    with large.open("wb") as stream:
        stream.truncate(read_ahead.WORTH_IT)  # a hole: it has the size and takes no space
    small.write_bytes(b"GGUF")
    enough = 2 * read_ahead.WORTH_IT
    assert read_ahead.read_ahead([large, small], enough)
    assert not read_ahead.read_ahead([small], enough)
    assert not read_ahead.read_ahead([large], read_ahead.WORTH_IT)
    assert not read_ahead.read_ahead([large], 0)
    assert not read_ahead.read_ahead([large, tmp_path / "gone.gguf"], enough)


def test_free_memory(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:  4000 kB\nMemAvailable:    2048 kB\n")
    assert read_ahead.free_memory(meminfo) == 2 << 20
    assert read_ahead.free_memory(tmp_path / "none") == 0
