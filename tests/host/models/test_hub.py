"""Downloads, end to end: the real command line against a real HTTP server on this machine."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from host.errors import HostError
from host.models.hub import Request
from tests.host.conftest import Host, until, wait_for
from tests.host.fake_hub import FakeHub

CHUNK = 10 * 1024 * 1024
"""huggingface_hub writes in pieces of this size, so this is what a broken download keeps."""


def refusal(result: subprocess.CompletedProcess[str]) -> str:
    """The one line of a refused start, apart from the line that says what is asked for."""
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr
    lines = [line for line in result.stderr.splitlines() if not line.startswith("asking for")]
    assert len(lines) == 1, result.stderr
    return lines[0].removeprefix("error: ")


def spec_line(result: subprocess.CompletedProcess[str]) -> list[str]:
    assert result.returncode == 0, result.stderr
    return next(line for line in result.stdout.splitlines() if line.startswith("SPEC")).split()


def test_download_takes_the_preferred_file_and_then_needs_no_network(
    probe: Host, hub: FakeHub
) -> None:
    repository = hub.add("some/model-GGUF", **{"m-Q2_K": 500, "m-Q4_K_M": 900, "m-F16": 2000})
    first = spec_line(probe.serve("--model", "hf:some/model-GGUF"))
    path = probe.root / "models/some_model-GGUF/m-Q4_K_M.gguf"
    assert first[1:3] == ["some_model-GGUF", str(path)]
    assert path.read_bytes() == repository.files["m-Q4_K_M.gguf"]
    assert [file.name for file in path.parent.iterdir()] == ["m-Q4_K_M.gguf"], (
        "nothing is left over"
    )

    asked = len(hub.requests)
    assert spec_line(probe.serve("--model", "hf:some/model-GGUF")) == first
    assert len(hub.requests) == asked


@pytest.mark.parametrize(
    ("wanted", "file"),
    [("m-F16.gguf", "m-F16"), ("m-F16", "m-F16"), ("*q2*", "m-Q2_K"), ("q8_0", "m-Q8_0")],
)
def test_file_is_a_path_a_pattern_or_a_quantisation(
    probe: Host, hub: FakeHub, wanted: str, file: str
) -> None:
    hub.add("some/model", **{"m-Q2_K": 500, "m-Q8_0": 900, "m-F16": 2000, "mmproj-m-Q8_0": 9})
    line = spec_line(probe.serve("--model", f"hf:some/model:{wanted}"))
    assert line[1:3] == [file, str(probe.root / f"models/some_model/{file}.gguf")]


def test_the_encoder_comes_with_its_model(probe: Host, hub: FakeHub) -> None:
    files = {"mmproj-m-F16": 300, "mmproj-m-BF16": 300, "q/m-Q8_0": 900, "m-Q2_K": 500}
    hub.add("some/model", **files)
    folder = probe.root / "models/some_model"
    line = spec_line(probe.serve("--model", "hf:some/model", "--no-mmproj"))
    assert line[2:] == [str(folder / "q/m-Q8_0.gguf"), "4", "0", "None"]
    assert not list(folder.glob("mmproj*"))
    line = spec_line(probe.serve("--model", "hf:some/model:Q2_K"))
    assert line[2:] == [str(folder / "m-Q2_K.gguf"), "4", "0", str(folder / "mmproj-m-F16.gguf")]
    line = spec_line(probe.serve("--model", "hf:some/model:Q8_0"))
    assert line[5] == str(folder / "mmproj-m-F16.gguf")
    assert not list(folder.glob("mmproj-m-BF16*"))


def test_all_shards_are_downloaded(probe: Host, hub: FakeHub) -> None:
    shards = {f"q/m-Q8_0-0000{part}-of-00002": 600 for part in (1, 2)}
    hub.add("some/model", **shards)
    line = spec_line(probe.serve("--model", "hf:some/model"))
    assert line[2].endswith("models/some_model/q/m-Q8_0-00001-of-00002.gguf")
    assert (probe.root / "models/some_model/q/m-Q8_0-00002-of-00002.gguf").stat().st_size == 600


def test_a_body_cut_short_is_resumed(probe: Host, hub: FakeHub) -> None:
    repository = hub.add("some/model", m=2 * CHUNK + 5000)
    repository.cut = [CHUNK + 3000]
    path = Path(spec_line(probe.serve("--model", "hf:some/model"))[2])
    assert path.read_bytes() == repository.files["m.gguf"]
    assert hub.ranges() == [None, f"bytes={CHUNK}-"]


def test_a_download_that_keeps_breaking_off_says_that_it_can_be_resumed(
    probe: Host, hub: FakeHub
) -> None:
    repository = hub.add("some/model", m=2 * CHUNK)
    repository.cut = [CHUNK + 3000] + [0] * 50
    result = probe.run("--model", "hf:some/model")
    assert result.returncode == 2
    assert result.stderr.splitlines()[-1].endswith("(the same command resumes it)")
    (part,) = (probe.root / "models/some_model").iterdir()
    assert part.stat().st_size == CHUNK


def test_a_stopped_download_is_resumed_by_the_next_run(probe: Host, hub: FakeHub) -> None:
    repository = hub.add("some/model", m=2 * CHUNK + 5000)
    repository.stall_after = CHUNK + 3000
    folder = probe.root / "models/some_model"
    process = probe.start("--model", "hf:some/model")
    wait_for(lambda: any(part.stat().st_size == CHUNK for part in folder.glob("*.part")))
    process.send_signal(signal.SIGINT)
    assert process.wait(50) == 0

    repository.stall_after = None
    result = probe.serve("--model", "hf:some/model")
    assert "resuming m.gguf at 10.49 MB" in result.stderr
    assert Path(spec_line(result)[2]).read_bytes() == repository.files["m.gguf"]
    assert hub.ranges() == [None, f"bytes={CHUNK}-"]
    assert [file.name for file in folder.iterdir()] == ["m.gguf"]


def test_part_of_an_older_content_is_not_continued(probe: Host, hub: FakeHub) -> None:
    repository = hub.add("some/model", m=900)
    folder = probe.root / "models/some_model"
    folder.mkdir(parents=True)
    (folder / "m.gguf.0123456789abcdef.part").write_bytes(b"old")
    assert (
        Path(spec_line(probe.serve("--model", "hf:some/model"))[2]).read_bytes()
        == (repository.files["m.gguf"])
    )
    assert [file.name for file in folder.iterdir()] == ["m.gguf"]


def test_a_second_download_of_the_same_file_is_refused(probe: Host, hub: FakeHub) -> None:
    hub.add("some/model", m=900).stall_after = 100
    first = probe.start("--model", "hf:some/model")
    wait_for(lambda: len(hub.ranges()) == 1)
    assert refusal(probe.run("--model", "hf:some/model")) == (
        "m.gguf is being downloaded by another process"
    )
    first.kill()


def test_progress_is_a_bar_on_a_terminal(probe: Host, hub: FakeHub) -> None:
    fcntl, pty, termios = (pytest.importorskip(name) for name in ("fcntl", "pty", "termios"))
    hub.add("some/model", m=900)
    ours, theirs = pty.openpty()
    # A terminal without a size gets a bar without a width.
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "server.py", "--model", "hf:some/model"],
        cwd=probe.root,
        env=probe.environment,
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
    )
    until(process, "READY")
    process.terminate()
    process.communicate(timeout=20)
    os.close(theirs)
    shown = os.read(ours, 100_000).decode()
    os.close(ours)
    assert "m.gguf: 100%" in shown


def test_progress_is_lines_in_a_log(probe: Host, hub: FakeHub) -> None:
    hub.add("some/model", m=2 * CHUNK).stall_after = CHUNK + 3000
    process = probe.start("--model", "hf:some/model")
    assert process.stderr is not None
    lines = [process.stderr.readline() for _ in range(2)]
    assert lines == ["asking for some/model\n", "downloading m.gguf: 10.49 MB of 20.97 MB\n"]


def test_wrong_name(probe: Host, hub: FakeHub) -> None:
    line = refusal(probe.run("--model", "hf:no/such"))
    assert line == f"no repository no/such on {hub.address}; if it is a private one, set HF_TOKEN"


def test_gated(probe: Host, hub: FakeHub) -> None:
    hub.add("some/model", m=900).refusal = (403, "GatedRepo")
    line = refusal(probe.run("--model", "hf:some/model"))
    assert "some/model is gated" in line
    assert "HF_TOKEN" in line


def test_token_is_not_enough(probe: Host, hub: FakeHub) -> None:
    hub.add("some/model", m=900).refusal = (403, "")
    result = probe.run("--model", "hf:some/model", "--verbose", HF_TOKEN="hf_verysecret")
    assert result.returncode == 2
    assert "set HF_TOKEN to a token that may" in result.stderr
    assert "hf_verysecret" not in result.stdout + result.stderr


def test_hub_in_trouble(probe: Host, hub: FakeHub) -> None:
    hub.add("some/model", m=900).refusal = (500, "")
    line = refusal(probe.run("--model", "hf:some/model"))
    assert line == f"{hub.address} answered 500 when asked for some/model"


def test_no_network(probe: Host) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
        line = refusal(probe.run("--model", "hf:some/model", HF_ENDPOINT=address))
    assert line.startswith(f"cannot download some/model from {address}:")
    assert "refused" in line and line.endswith("A file needs none: --model PATH")


def test_offline_mode(probe: Host, hub: FakeHub) -> None:
    line = refusal(probe.run("--model", "hf:some/model", HF_HUB_OFFLINE="1"))
    assert line.startswith("HF_HUB_OFFLINE is set")


def test_no_gguf_in_the_repository(probe: Host, hub: FakeHub) -> None:
    hub.add("some/model").files["model.safetensors"] = b"x"
    line = refusal(probe.run("--model", "hf:some/model"))
    assert line == "there is no GGUF file in the repository some/model"


def test_no_such_file_lists_what_there_is(probe: Host, hub: FakeHub) -> None:
    hub.add("some/model", **{"m-Q2_K": 500, "m-Q8_0": 900})
    line = refusal(probe.run("--model", "hf:some/model:Q4_K_M"))
    assert line == "no GGUF file 'Q4_K_M' in some/model, which has: m-Q2_K.gguf, m-Q8_0.gguf"


def test_no_space(probe: Host, hub: FakeHub) -> None:
    hub.add("some/model", m=900).claimed_sizes["m.gguf"] = 10**16
    line = refusal(probe.run("--model", "hf:some/model"))
    assert line.startswith(f"no space in {probe.root / 'models/some_model'}: 10,000,000.0 GB")
    assert not hub.ranges(), "it was seen before the download"


@pytest.mark.skipif(sys.platform == "win32", reason="needs the shell's ulimit")
def test_a_write_that_fails(probe: Host, hub: FakeHub) -> None:
    """A file size limit is a real failing write that needs neither root nor a full disk."""
    hub.add("some/model", m=3_000_000)
    result = subprocess.run(
        f"ulimit -f 1000; exec '{sys.executable}' server.py --model hf:some/model",
        shell=True,
        cwd=probe.root,
        env=probe.environment,
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert result.returncode == 2, result.stderr
    assert "takes no file as large as those of some/model" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("name", ["hf:", "hf:model", "hf:a/b/c", "hf:a/..", "hf:a b/c", "hf:a/b:"])
def test_a_name_of_the_wrong_form(name: str) -> None:
    with pytest.raises(HostError, match="hf:OWNER/REPO"):
        Request.parse(name)


def test_a_path_that_leads_out_of_the_folder_is_passed_over(probe: Host, hub: FakeHub) -> None:
    hub.add("some/model", **{"../../evil": 900})
    assert "no GGUF file" in refusal(probe.run("--model", "hf:some/model"))
    assert not list(probe.root.rglob("evil*"))
