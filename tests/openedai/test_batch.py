"""`openedai batch`: a file of requests to a file of results."""

from __future__ import annotations

import re
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from extensions.openai.engines.echo import EchoEngine
from openedai.__main__ import main
from openedai.commands import batch
from tests.conftest import Serve
from tests.support.batches import chat_line, read_lines

GOOD = b"".join(chat_line(f"{n}", f"Question {n}") for n in range(3))


def run(*words: str | Path) -> int:
    return main(["batch", *map(str, words)])


def test_on_a_server_that_runs(
    serve: Serve, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"http://127.0.0.1:{serve(EchoEngine(), store='memory').port}/v1"
    file, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    file.write_bytes(GOOD)
    assert run(file, "-o", out, "--base-url", url) == 0
    assert "3 answers, 0 errors" in capsys.readouterr().err
    lines = {line["custom_id"]: line for line in read_lines(out.read_bytes())}
    assert lines.keys() == {"0", "1", "2"}
    content = lines["2"]["response"]["body"]["choices"][0]["message"]["content"]
    assert "Question 2" in content
    file.write_bytes(GOOD + chat_line("bad", "x", temperature="hot"))
    assert run(file, "--base-url", url) == 1
    written = tmp_path / "in.results.jsonl"
    assert len(read_lines(written.read_bytes())) == 4
    file.write_bytes(GOOD + b"wrong\n")
    capsys.readouterr()
    assert run(file, "--base-url", url) == 2
    assert "line 4: " in capsys.readouterr().err


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), batch.BatchFailure("it is gone")])
def test_who_stops_to_wait_learns_how_to_go_on(
    serve: Serve,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    failure: BaseException,
) -> None:
    url = f"http://127.0.0.1:{serve(EchoEngine(), store='memory').port}/v1"
    file, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    file.write_bytes(GOOD)

    def sleep(seconds: float) -> None:
        raise failure

    with monkeypatch.context() as patched:
        patched.setattr(batch, "time", SimpleNamespace(sleep=sleep, monotonic=time.monotonic))
        status = run(file, "-o", out, "--base-url", url)
    assert status == (130 if isinstance(failure, KeyboardInterrupt) else 2)
    [said] = re.findall("openedai batch (batch_.*)", capsys.readouterr().err)
    assert run(*said.split(), "--base-url", url) == 0
    assert len(read_lines(out.read_bytes())) == 3


def test_what_cannot_be_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "in.jsonl"
    assert run(file) == 2
    file.write_bytes(b"wrong\n")
    assert run(file) == 2
    assert "no request with a `url`" in capsys.readouterr().err
    file.write_bytes(GOOD)
    assert run(file, "--base-url", "http://127.0.0.1:1/v1") == 2
    assert "openedai run" in capsys.readouterr().err


def test_with_a_model_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPENEDAI_DATA_FOLDER", str(tmp_path / "data"))
    file, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    file.write_bytes(GOOD)
    assert run(file, "-o", out, "--", "--loader", "echo") == 0
    assert len(read_lines(out.read_bytes())) == 3
    assert run(file, "--", "--loader", "none-such") == 2
    assert "did not start" in capsys.readouterr().err
