"""`openedai batch`: answer a file of requests, on a server that runs or with a model in this process.

A batch has the checksum of its file among its metadata, so that the same command goes on with it. One that is
made in this process is for this command only: other processes with the same data may have other models.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openedai.batch_progress import Progress
from openedai.batch_server import CHUNK_BYTES, Answer, BatchFailure, Server

POLL_S = (0.2, 2.0)
"""Between two looks at the batch: at first, and later."""
STOP_POLL_S = 0.05
"""Between two looks whether Ctrl-C was pressed, in our own process."""
INTERRUPTED = 130
"""The exit status after Ctrl-C, as shells have it."""
ENDED = ("completed", "failed", "expired", "cancelled")
MARK = "openedai_file"
"""The metadata that say which file a batch is of."""
LOOKED_AT = 100
"""Batches among which that of the same file is looked for."""


@dataclass(frozen=True, slots=True)
class Command:
    """What was typed."""

    file: str
    output: str | None
    window: str
    base_url: str
    names_server: bool
    """Whether the user has said which server."""
    own: Sequence[str] | None
    """Flags of `openedai run`; None: none were given."""

    def again(self, batch: str, output: str, *, in_process: bool) -> str:
        """The command that goes on with a batch."""
        words = ["openedai", "batch", self.file if in_process else batch, "-o", output]
        if self.own is not None:
            words += ["--", *self.own]
        elif self.names_server:
            words += ["--base-url", self.base_url]
        return shlex.join(words)


class Interrupted(Exception):
    """Ctrl-C was pressed."""


def main(argv: Sequence[str], program: str) -> int:
    """0: all lines were answered; 1: some were not; 2: none."""
    command = _command(argv, program)
    key = os.environ.get("OPENAI_API_KEY") or os.environ.get("OPENEDAI_API_KEY")
    try:
        if command.own is None:
            server = Server(command.base_url, key)
            if command.names_server or server.is_there():
                return _run(server, command, time.sleep)
            print(
                f"no server answers at {command.base_url}; answering in this process",
                file=sys.stderr,
            )
        return in_process(command, key)
    except (KeyboardInterrupt, Interrupted):  # before there was a batch
        return INTERRUPTED
    except (BatchFailure, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def in_process(command: Command, key: str | None) -> int:
    """Answer with the whole application in this process, and no port."""
    from extensions.openai.hosts.in_process import InProcess
    from extensions.openai.hosts.launch import launcher
    from host.lifecycle import Lifecycle
    from host.main import run

    class Local(Server):
        """The application."""

        __slots__ = ()

        @contextlib.contextmanager
        def _sent(
            self, method: str, path: str, body: Any, headers: dict[str, str]
        ) -> Iterator[Answer]:
            running = launcher.running
            if running is None or not isinstance(running.server, InProcess):
                raise BatchFailure("the extension openai is not among --extensions")
            prefix = running.services.settings.api_prefix
            asked = running.server.ask(method, f"{prefix}/v1{path}", body, headers)
            with contextlib.closing(asked) as answer:
                yield answer

    def work(lifecycle: Lifecycle) -> int:
        def pause(seconds: float) -> None:
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                if lifecycle.stopping:
                    raise Interrupted
                time.sleep(STOP_POLL_S)

        try:
            return _run(Local("this process", key), command, pause, scope)
        except (BatchFailure, OSError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        except Interrupted:
            return INTERRUPTED

    launcher.listens = False
    launcher.batch_scope = scope = _scope(command)
    # A line of the log for each line of the file would hide how far it is.
    flags = ["--no-log-requests", *(command.own or ())]
    return run(flags, "openedai batch FILE --", work, banner=False)


def _run(
    server: Server, command: Command, pause: Callable[[float], None], scope: str | None = None
) -> int:
    """Make the batch, or go on with one, and write its results. `scope`: of those that this process answers
    itself."""
    batch, output = _batch(server, command, scope)
    output, in_process = command.output or output, scope is not None
    again = command.again(batch["id"], output, in_process=in_process)
    try:
        batch = _wait(server, batch, pause)
    except (KeyboardInterrupt, Interrupted):
        goes_on = "to go on with it" if in_process else "it goes on; for its results"
        print(f"\n{goes_on}: {again}", file=sys.stderr)
        return INTERRUPTED
    except BatchFailure as error:
        raise BatchFailure(f"{error}\nthe batch is kept; for its results: {again}") from None
    if batch["status"] == "failed":
        raise BatchFailure(_errors(batch))
    try:
        with Path(output).open("wb") as target:
            for file in (batch["output_file_id"], batch["error_file_id"]):
                if file is not None:
                    target.writelines(server.content(file))
    except (BatchFailure, OSError) as error:
        again = command.again(batch["id"], output, in_process=False)
        raise BatchFailure(f"{error}\nthe batch is kept; for its results: {again}") from None
    counts = batch["request_counts"]
    print(f"{counts['completed']} answers, {counts['failed']} errors: {output}", file=sys.stderr)
    return 0 if batch["status"] == "completed" and not counts["failed"] else 1


def _batch(server: Server, command: Command, scope: str | None) -> tuple[Any, str]:
    """The batch, and where its results go unless the user says so: that of an id, one of the same file that
    has not ended, or a new one."""
    if scope is not None and _scope(command) != scope:  # nobody would answer it
        raise BatchFailure(f"{command.file} was changed while the model was loaded; begin again")
    path = Path(command.file)
    if _is_id(command):
        return server.ask("GET", f"/batches/{command.file}"), f"{command.file}.jsonl"
    output = f"{path.with_suffix('')}.results.jsonl"
    endpoint, mark = _endpoint(path), scope or _checksum(path)
    for batch in server.ask("GET", f"/batches?limit={LOOKED_AT}")["data"]:
        is_same = (batch["metadata"] or {}).get(MARK) == mark and batch["endpoint"] == endpoint
        if is_same and batch["status"] not in (*ENDED, "cancelling"):
            counts = batch["request_counts"]
            done = counts["completed"] + counts["failed"]
            print(f"going on with {batch['id']}: {done} lines are done", file=sys.stderr)
            return batch, output
    new = {
        "endpoint": endpoint,
        "completion_window": command.window,
        "input_file_id": server.upload(path),
        "metadata": {MARK: mark},
    }
    return server.ask("POST", "/batches", new), output


def _scope(command: Command) -> str:
    """Which batches are answered in this process."""
    return command.file if _is_id(command) else f"in process: {_checksum(Path(command.file))}"


def _is_id(command: Command) -> bool:
    """Whether a batch is named, and no file."""
    return command.file.startswith("batch_") and not Path(command.file).exists()


def _wait(server: Server, batch: Any, pause: Callable[[float], None]) -> Any:
    """The batch when it has ended; a line tells how far it is."""
    progress, seconds = Progress(sys.stderr), POLL_S[0]
    while batch["status"] not in ENDED:
        pause(seconds)
        seconds = min(POLL_S[1], seconds * 1.5)
        batch = server.ask("GET", f"/batches/{batch['id']}")
        progress.show(batch, time.monotonic())
    progress.end()
    return batch


def _errors(batch: Any) -> str:
    """What is wrong with a file, a line for each."""
    lines = []
    for error in (batch["errors"] or {}).get("data", ()):
        place = f"line {error['line']}: " if error.get("line") else ""
        lines.append(f"{place}{error['message']}")
    return "\n".join(lines) or "the batch failed"


def _endpoint(path: Path) -> str:
    """That of the first line. Raises BatchFailure."""
    with path.open("rb") as file:
        for line in file:
            if line.strip():
                with contextlib.suppress(ValueError, LookupError, TypeError):
                    return str(json.loads(line.removeprefix(b"\xef\xbb\xbf"))["url"])
                break
    raise BatchFailure(f"{path}: its first line is no request with a `url`")


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while data := file.read(CHUNK_BYTES):
            digest.update(data)
    return digest.hexdigest()


def _command(argv: Sequence[str], program: str) -> Command:
    words, own = list(argv), None
    if "--" in words:
        at = words.index("--")
        words, own = words[:at], words[at + 1 :]
    given = _parser(program).parse_args(words)
    base_url = given.base_url or os.environ.get("OPENAI_BASE_URL")
    names_server = base_url is not None
    base_url = (base_url or _default_url()).rstrip("/")
    return Command(given.file, given.output, given.window, base_url, names_server, own)


def _default_url() -> str:
    port = os.environ.get("OPENEDAI_API_PORT") or os.environ.get("OPENEDAI_PORT") or "5001"
    return f"http://127.0.0.1:{port}/v1"


def _parser(program: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=program,
        usage=f"{program} FILE.jsonl [-o OUT.jsonl] [-- MODEL, flags of run]",
        description="Answer a file of requests. The key is taken from OPENAI_API_KEY.",
        epilog="Behind -- stands what `openedai run` takes: then, and where no server answers and none is "
        "named, this process answers the file itself. After Ctrl-C the same command goes on.",
    )
    parser.add_argument("file", metavar="FILE", help="a request on each line; or the id of a batch")
    parser.add_argument("-o", "--output", metavar="OUT", help="where the results go")
    parser.add_argument(
        "--window", default="24h", metavar="TIME", help="hours or days for it (default: 24h)"
    )
    parser.add_argument(
        "--base-url", metavar="URL",
        help=f"the server (default: OPENAI_BASE_URL, or {_default_url()})",
    )  # fmt: skip
    return parser
