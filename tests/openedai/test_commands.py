"""`openedai COMMAND`, each in a process of its own, as it is typed."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from openedai.commands import COMMANDS
from tests.support.process import ROOT, ServerProcess
from tests.support.wire import ask

MODEL = ROOT / "models/openedai-tiny/openedai-tiny.gguf"


def openedai(
    *arguments: str, given: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("OPENEDAI_", "OPENAI_"))}
    return subprocess.run(
        [sys.executable, "-m", "openedai", *arguments],
        cwd=ROOT,
        env=inherited | {"COLUMNS": "80"} | environment,
        input=given,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    process = ServerProcess("--loader", "echo", "--api-key", "sk-right")
    try:
        process.wait_until_ready()
        yield process
    finally:
        process.stop()


@pytest.mark.parametrize("arguments", [[], ["--help"], ["help"]])
def test_help_lists_the_commands(arguments: list[str]) -> None:
    done = openedai(*arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert all(re.search(rf"^  {name} +\S", done.stdout, re.MULTILINE) for name in COMMANDS)
    assert max(map(len, done.stdout.splitlines())) < 80


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_help_in_80_columns(name: str) -> None:
    done = openedai(name, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"usage: openedai {name}")
    assert max(map(len, done.stdout.splitlines())) <= 80


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["mdels"], "there is no command and no file 'mdels' (did you mean models?)"),
        (["sk-secret"], "a key is no command (openedai --help lists the commands)"),
        (["none.gguf"], "no model 'none.gguf' here or in"),
        (["-m", "none"], "no model 'none' here or in"),
        (["run", "none"], "no model 'none' here or in"),
        (["README.md"], "README.md is not a GGUF model file."),
        (["keys", "revoke", "gone"], "there is no key gone"),
        (["keys", "usage", "--by", "day"], "argument --by: some of key, user, model"),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path: Path, arguments: list[str], line: str) -> None:
    done = openedai(*arguments, OPENEDAI_DATA_FOLDER=str(tmp_path))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {line}") and len(done.stderr.splitlines()) == 1


def test_version() -> None:
    lines = openedai("version").stdout.splitlines()
    assert lines[0] == "openedai 0.1.0" and any(line.startswith("xllamacpp 2") for line in lines)
    assert openedai("--version").stdout.splitlines() == lines
    assert openedai("version", OPENEDAI_DATA_FOLDER="/srv/data").stdout.endswith(
        "data in /srv/data\n"
    )
    assert openedai("version", OPENEDAI_API_PORT="x").returncode == 0


def test_a_reader_that_has_enough() -> None:
    command = f"{sys.executable} -m openedai version | true"
    done = subprocess.run(
        ["sh", "-c", command], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""


def test_models(tmp_path: Path) -> None:
    shutil.copy(MODEL, tmp_path / "mine.gguf")
    (tmp_path / "broken.gguf").write_bytes(b"GGUF\x03")
    (tmp_path / "mmproj-x.gguf").write_bytes(b"GGUF")
    folder = ("--model-dir", str(tmp_path))
    models = json.loads(openedai("models", *folder, "--json", OPENEDAI_MODEL="mine").stdout)
    by_name = {each["name"]: each for each in models}
    assert list(by_name) == ["broken", "mine", "openedai-tiny"]
    mine = by_name["mine"]
    assert (mine["context"], mine["bytes"]) == (4096, MODEL.stat().st_size)
    assert mine["quantization"] == "Q8_0" and mine["loaded"]
    assert by_name["broken"]["problem"] and not by_name["openedai-tiny"]["loaded"]
    table = openedai("models", *folder, OPENEDAI_MODEL="mine").stdout
    assert re.search(r"^\* mine +3\.923 MB +4,096  Q8_0$", table, re.MULTILINE)


def test_chat_in_one_line(server: ServerProcess) -> None:
    url = f"{server.url}/v1"
    done = openedai("chat", "--base-url", url, "good", "day", OPENAI_API_KEY="sk-right")
    assert (done.returncode, done.stderr) == (0, "") and "good day" in done.stdout
    piped = openedai("chat", given="from a pipe", OPENAI_BASE_URL=url, OPENAI_API_KEY="sk-right")
    assert "from a pipe" in piped.stdout
    wrong = openedai("chat", "--base-url", url, "x", OPENAI_API_KEY="sk-wrong")
    assert wrong.returncode == 1 and wrong.stderr.startswith("error: the server answered 401:")
    assert "set OPENAI_API_KEY" in wrong.stderr and "sk-wrong" not in wrong.stderr
    lost = openedai("chat", "--base-url", url, "-m", "x" * 9, "x", OPENAI_API_KEY="")
    assert lost.returncode == 1 and len(lost.stderr.splitlines()) == 1


def test_chat_without_a_server() -> None:
    done = openedai("chat", "--base-url", "http://127.0.0.1:1/v1", "x")
    assert done.returncode == 1 and "openedai run" in done.stderr and len(done.stderr) < 140


class Endless:
    """A server whose answers have no end, until the client goes away."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.left = threading.Event()
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.socket.getsockname()[1]}/v1"

    def _serve(self) -> None:
        while True:
            connection, _ = self.socket.accept()
            with connection:
                connection.recv(65536)
                head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
                piece = b'data: {"choices": [{"delta": {"content": "la \\u001b[31m"}}]}\n\n'
                try:
                    connection.sendall(head)
                    while True:
                        connection.sendall(piece)
                        time.sleep(0.02)
                except OSError:
                    self.left.set()


def test_a_conversation_whose_answer_is_stopped() -> None:
    """Ctrl-C ends the answer, not the conversation; Ctrl-D ends that."""
    endless = Endless()
    shown, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "openedai", "chat", "--base-url", endless.url, "-m", "x"],
        cwd=ROOT,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        preexec_fn=lambda: os.login_tty(terminal) if hasattr(os, "login_tty") else _own(terminal),
    )
    os.close(terminal)
    output = b""

    def until(text: bytes) -> None:
        nonlocal output
        deadline = time.monotonic() + 20
        while text not in output:
            assert time.monotonic() < deadline, output
            if select.select([shown], [], [], 0.1)[0]:
                output += os.read(shown, 4096)

    try:
        until(b"> ")
        os.write(shown, b"sing\n")
        until(b"la [31mla ")
        os.write(shown, b"\x03")
        assert endless.left.wait(10)
        output = b""
        until(b"> ")
        os.write(shown, b"\x04")
        assert process.wait(10) == 0
        assert b"\x1b[31m" not in output and b"Traceback" not in output
    finally:
        process.kill()
        process.wait(10)
        os.close(shown)


def _own(terminal: int) -> None:
    import fcntl
    import termios

    os.setsid()
    fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)


def test_check_says_what_is_wrong_and_how_to_mend_it(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o755)
    data.chmod(0o755)
    (data / "keys.json").write_text("{")
    taken = socket.create_server(("127.0.0.1", 0))
    port = str(taken.getsockname()[1])
    flags = ("--port", port, "--data-folder", str(data), "-m", "README.md")
    done = openedai("check", *flags)
    lines = {line[6:19].strip(): line for line in done.stdout.splitlines()}
    assert done.returncode == 1 and done.stderr == ""
    wrong = {name for name, line in lines.items() if line.startswith("WRONG")}
    assert wrong == {"port", "keys", "data folder", "model"}
    assert "--port" in lines["port"] and f"chmod 700 {data}" in lines["data folder"]
    taken.close()
    done = openedai("check", "--port", "0", "--data-folder", str(tmp_path / "new"))
    assert done.returncode == 0 and "WRONG" not in done.stdout
    assert not (tmp_path / "new").exists()


def test_check_beside_a_server_that_runs(tmp_path: Path) -> None:
    server = ServerProcess("--loader", "echo")
    try:
        server.wait_until_ready()
        port = str(server.port)
        done = openedai("check", "--port", port, "--data-folder", str(tmp_path / "new"))
        assert done.returncode == 0
        assert f"{port} has a server that answers" in done.stdout
    finally:
        server.stop()


def test_check_sees_that_no_key_is_valid(tmp_path: Path) -> None:
    data = ("--data-folder", str(tmp_path / "data"))
    made = openedai("keys", *data, "create", "--name", "alice")
    assert (
        "from now on a server with this data folder answers only requests with a key" in made.stderr
    )
    second = openedai("keys", *data, "create", "--name", "bob")
    assert "from now on" not in second.stderr
    assert "2 of 2 named keys are valid" in openedai("check", "--port", "0", *data).stdout
    first = openedai("keys", *data, "revoke", "bob")
    assert "no valid key is left" not in first.stderr
    last = openedai("keys", *data, "revoke", "alice")
    assert "warning: no valid key is left" in last.stderr
    assert "--all lists the others" in openedai("keys", *data, "list").stderr
    done = openedai("check", "--port", "0", *data)
    assert done.returncode == 1 and "requests need a key and none is valid" in done.stdout


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--listen"], "WRONG address      --listen lets other machines in"),
        (["--api-port", "x"], "WRONG settings     setting api_port"),
        (["--no-such"], "WRONG settings     unknown flag --no-such"),
        (["--preset-folder", "/none"], "WRONG parameters"),
        (["--settings", "/none.yaml"], "WRONG settings     --settings /none.yaml"),
    ],
)
def test_check_reads_settings_as_a_start_does(flags: list[str], says: str) -> None:
    done = openedai("check", *flags)
    assert done.returncode == 1 and says in done.stdout


def test_a_key_is_generated_and_shown_once() -> None:
    server = ServerProcess("--loader", "echo", "--api-key", "generate")
    try:
        server.wait_until_ready()
        deadline = time.monotonic() + 10
        while not (found := re.search(r"API key +(sk-\S{43})", server.output)):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert ask(server.port, "GET", "/v1/models").status == 401
        key = f"Bearer {found[1]}"
        assert ask(server.port, "GET", "/v1/models", authorization=key).status == 200
        assert ask(server.port, "GET", "/v1/models", authorization="Bearer generate").status == 401
        assert server.output.count(found[1]) == 1
    finally:
        server.stop()


def test_the_clients_variable_is_no_key_of_the_server() -> None:
    done = openedai("run", "--listen", OPENAI_API_KEY="sk-of-the-client")
    assert done.returncode == 2 and "the server's own key is OPENEDAI_API_KEY" in done.stderr
    assert "sk-of-the-client" not in done.stderr
