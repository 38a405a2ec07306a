"""`openedai batch`: a file of requests to a file of results."""

from __future__ import annotations

import contextlib
import io
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from extensions.openai.engines.echo import EchoEngine
from extensions.openai.hosts.launch import launcher
from openedai.__main__ import main
from openedai.batch_progress import Progress
from openedai.batch_server import BatchFailure
from openedai.commands import batch
from tests.conftest import Serve
from tests.support.batches import chat_line, read_lines
from tests.support.process import ROOT, ServerProcess

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


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), BatchFailure("it is gone")])
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
    assert said.endswith(f"--base-url {url}")
    assert run(*said.split()) == 0
    assert len(read_lines(out.read_bytes())) == 3


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="it has no device that is full")
def test_results_that_find_no_room_are_not_made_once_more(
    serve: Serve,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    port = serve(EchoEngine(), store="memory").port
    monkeypatch.setenv("OPENEDAI_API_PORT", str(port))
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.setattr(batch, "in_process", lambda command, key: pytest.fail("made once more"))
    file = tmp_path / "in.jsonl"
    file.write_bytes(b"".join(chat_line(f"{n}", "long " * 200) for n in range(50)))
    assert run(file, "-o", "/dev/full") == 2
    said = capsys.readouterr().err
    assert "No space left" in said and "no server answers" not in said
    [again] = re.findall("for its results: openedai batch (batch_.*)", said)
    out = tmp_path / "out.jsonl"
    assert run(*again.replace("/dev/full", str(out)).split()) == 0
    assert len(read_lines(out.read_bytes())) == 50


def test_what_cannot_be_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "in.jsonl"
    assert run(file) == 2
    file.write_bytes(b"wrong\n")
    assert run(file) == 2
    assert "no request with a `url`" in capsys.readouterr().err
    file.write_bytes(GOOD)
    assert run(file, "--base-url", "http://127.0.0.1:1/v1") == 2
    assert "openedai run" in capsys.readouterr().err


def test_a_file_that_is_changed_while_the_model_is_loaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its batch would be of another scope than this process, which would wait for ever."""
    file = tmp_path / "in.jsonl"
    file.write_bytes(GOOD)

    def changed(flags: Any, program: str, work: Any, **more: Any) -> int:
        file.write_bytes(GOOD + GOOD)
        status: int = work(SimpleNamespace(stopping=False))
        return status

    monkeypatch.setattr("host.main.run", changed)
    for name in ("listens", "batch_scope"):
        monkeypatch.setattr(launcher, name, getattr(launcher, name))
    assert run(file, "--", "--loader", "echo") == 2
    assert f"{file} was changed while the model was loaded" in capsys.readouterr().err


def started(data: Path, *words: str | Path, **more: Any) -> subprocess.Popen[str]:
    """The command in a process of its own, with a store of its own."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("OPENEDAI_", "OPENAI_"))
    }
    environment = {**inherited, "OPENEDAI_DATA_FOLDER": str(data), "OPENEDAI_API_PORT": "1"}
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **more}
    command = [sys.executable, "-m", "openedai", "batch", *map(str, words)]
    return subprocess.Popen(command, cwd=ROOT, env=environment, text=True, **options)


def ran(data: Path, *words: str | Path) -> tuple[int, str]:
    """The exit status, and what was written for people."""
    with started(data, *words) as process:
        output, error = process.communicate()
    assert output == ""
    return process.returncode, error


@pytest.mark.timeout(240)
@pytest.mark.parametrize("flags", [["--loader", "echo"], []])
def test_in_this_process(tmp_path: Path, flags: list[str], embedded_model: Path | None) -> None:
    if not flags and embedded_model is None:
        pytest.skip("this tree has no embedded model")
    file, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    file.write_bytes(GOOD + chat_line("bad", "x", temperature="hot"))
    behind = ["--", *flags] if flags else []
    status, said = ran(tmp_path / "data", file, "-o", out, *behind)
    assert status == 1 and "3 answers, 1 errors" in said
    assert ("answering in this process" in said) is (not flags)
    assert "POST /v1/chat/completions" not in said
    lines = {line["custom_id"]: line for line in read_lines(out.read_bytes())}
    assert lines.keys() == {"0", "1", "2", "bad"}
    assert lines["bad"]["response"]["status_code"] == 400
    assert lines["1"]["response"]["body"]["object"] == "chat.completion"


def test_the_results_are_those_of_a_server(serve: Serve, tmp_path: Path) -> None:
    file, ours, theirs = (tmp_path / f"{name}.jsonl" for name in ("in", "ours", "theirs"))
    file.write_bytes(GOOD)
    url = f"http://127.0.0.1:{serve(EchoEngine(), store='memory').port}/v1"
    assert run(file, "-o", theirs, "--base-url", url) == 0
    assert ran(tmp_path / "data", file, "-o", ours, "--", "--loader", "echo")[0] == 0

    def said(path: Path) -> dict[str, Any]:
        bodies = {
            line["custom_id"]: line["response"]["body"] for line in read_lines(path.read_bytes())
        }
        return {
            name: (body["choices"], body["usage"], body["model"]) for name, body in bodies.items()
        }

    assert said(ours) == said(theirs)


@pytest.mark.timeout(240)
def test_in_this_process_beside_a_server_with_the_same_data(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Neither answers a line of the other one: it may have another model."""
    data, file, out = tmp_path / "data", tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    file.write_bytes(GOOD)
    environment = {"OPENEDAI_DATA_FOLDER": str(data)}
    server = ServerProcess("--loader", "echo", "--batch-lines", "0", environment=environment)
    request.addfinalizer(server.stop)
    server.wait_until_ready()
    with httpx.Client(base_url=f"{server.url}/v1", timeout=50) as client:
        form: Any = {"data": {"purpose": "batch"}, "files": {"file": ("in.jsonl", GOOD)}}
        new = {"input_file_id": client.post("/files", **form).json()["id"]}
        new |= {"endpoint": "/v1/chat/completions", "completion_window": "24h"}
        theirs = client.post("/batches", json=new).json()["id"]
        status, said = ran(data, file, "-o", out, "--", "--loader", "echo")
        assert status == 0 and "3 answers, 0 errors" in said
        ours = client.get("/batches?limit=1").json()["data"][0]
        assert ours["id"] != theirs and ours["status"] == "completed"
        assert len(read_lines(out.read_bytes())) == 3
        left = client.get(f"/batches/{theirs}").json()
        assert (left["status"], left["request_counts"]["completed"]) == ("in_progress", 0)
        status, said = ran(data, theirs, "-o", out, "--", "--loader", "echo")
        assert status == 0 and "3 answers, 0 errors" in said, "it is asked for by its id"
        assert client.get(f"/batches/{theirs}").json()["status"] == "completed"


@pytest.mark.timeout(240)
def test_in_this_process_what_cannot_be_done(tmp_path: Path) -> None:
    file = tmp_path / "in.jsonl"
    file.write_bytes(GOOD + b"wrong\n")
    status, said = ran(tmp_path / "data", file, "--", "--loader", "echo")
    assert status == 2 and "line 4: " in said
    status, said = ran(tmp_path / "data", file, "--", "--loader", "none-such")
    assert status == 2 and "none-such" in said
    status, said = ran(tmp_path / "data", file, "--", "--loader", "echo", "--api-key", "k")
    assert status == 2 and "OPENAI_API_KEY" in said


@pytest.mark.timeout(240)
@pytest.mark.skipif(sys.platform == "win32", reason="it has no such terminals")
def test_ctrl_c_in_this_process_and_the_same_command_goes_on(
    tmp_path: Path, embedded_model: Path | None
) -> None:
    if embedded_model is None:
        pytest.skip("this tree has no embedded model")
    import pty

    data, file, out = tmp_path / "data", tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    long = {"max_tokens": 64, "min_tokens": 64, "model": "openedai-tiny"}
    file.write_bytes(b"".join(chat_line(f"{n}", f"Say {n}.", **long) for n in range(40)))
    words = (file, "-o", out, "--", "--threads", "1", "--batch-lines", "1")
    ours, theirs = pty.openpty()
    with started(data, *words, stderr=theirs) as process:
        os.close(theirs)
        shown = ""
        while not re.search(r" [1-9][0-9]*/40", shown):
            shown += os.read(ours, 4096).decode()
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        assert not children.exists() or children.read_text() == ""
        process.send_signal(signal.SIGINT)
        # Until the last one closes it: then Linux says EIO.
        with contextlib.suppress(OSError):
            while part := os.read(ours, 4096):
                shown += part.decode()
        assert process.wait() == 130
    os.close(ours)
    assert re.search(r"in_progress \[#*\.+\] [0-9]+/40", shown)
    [hint] = re.findall(r"to go on with it: openedai batch (.*)", shown)
    assert hint.split() == [str(word) for word in words] and not out.exists()
    status, said = ran(data, *hint.split())
    assert status == 0 and "40 answers, 0 errors" in said
    [done] = re.findall(r"going on with batch_[0-9a-f]+: ([0-9]+) lines are done", said)
    assert 0 < int(done) < 40
    names = [line["custom_id"] for line in read_lines(out.read_bytes())]
    assert sorted(names) == sorted(map(str, range(40)))


def test_the_line_of_the_terminal() -> None:
    progress = Progress(io.StringIO())
    counts = {"total": 0, "completed": 0, "failed": 0}
    batch = {"status": "validating", "request_counts": counts}
    assert progress.line(batch, 1.0) == "validating 0/0"
    batch = {"status": "in_progress", "request_counts": {**counts, "total": 200}}
    assert progress.line(batch, 2.0) == f"in_progress [{'.' * 20}] 0/200"
    counts = {"total": 200, "completed": 45, "failed": 5}
    batch = {"status": "in_progress", "request_counts": counts}
    bar = "#" * 5 + "." * 15
    assert progress.line(batch, 11.0) == f"in_progress [{bar}] 50/200, 5 errors, 5.0/s, 30 s left"
    progress.show(batch, 12.0)
    progress.end()
    assert isinstance(progress.stream, io.StringIO) and progress.stream.getvalue() == ""
