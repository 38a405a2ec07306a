"""With `--store off` nothing of a request is on any disk, nor in any output."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.process import ServerProcess
from tests.support.wire import ask

MARK = "a-marked-prompt-4711"


def marked(*folders: Path) -> list[Path]:
    """The files with the mark in their bytes or their names."""
    files = [file for folder in folders for file in folder.rglob("*") if file.is_file()]
    return [f for f in files if MARK in str(f) or MARK.encode() in f.read_bytes()]


def open_files(pid: int) -> list[bytes]:
    """What the process has open, files that no folder names among it."""
    found = []
    for handle in Path(f"/proc/{pid}/fd").iterdir():
        try:
            if handle.is_file() and handle.resolve().suffix != ".gguf":
                found.append(handle.read_bytes())
        except OSError:
            pass  # closed meanwhile
    return found


@pytest.mark.parametrize("where", ["off", "sqlite", "encrypted"])
def test_no_byte_is_left(where: str, tmp_path: Path) -> None:
    """Nor in the clear, where what is stored is encrypted. That the search finds what is there is shown by
    the other setting."""
    encrypted = where == "encrypted"
    data, temporary = tmp_path / "data", tmp_path / "tmp"
    data.mkdir()
    temporary.mkdir()
    server = ServerProcess(
        *("--loader", "echo", "--store", "sqlite" if encrypted else where, "--log-format", "json"),
        *(["--store-encryption"] if encrypted else []),
        environment={"OPENEDAI_DATA_FOLDER": str(data), "TMPDIR": str(temporary)},
    )
    try:
        server.wait_until_ready()
        for stream in (False, True):
            body = {
                "model": "m",
                "messages": [{"role": "user", "content": MARK * 200}],
                "metadata": {} if encrypted else {"key": MARK},
                "store": True,
                "stream": stream,
            }
            key = f"{'key' if encrypted else MARK}{stream}"
            answer = ask(server.port, "POST", "/v1/chat/completions", body, idempotency_key=key)
            assert answer.status == 200
            assert (b'"store":false' in answer.body) is (where == "off")
            given = {"model": "m", "input": MARK, "stream": stream}
            answer = ask(server.port, "POST", "/v1/responses", given)
            assert (b'"store":false' in answer.body) is (where == "off")
        in_open = [file for file in open_files(server.process.pid) if MARK.encode() in file]
        found = marked(data, temporary)
    finally:
        server.stop()
    found += marked(data, temporary)
    assert MARK not in server.output
    assert bool(found) is bool(in_open) is (where == "sqlite")
