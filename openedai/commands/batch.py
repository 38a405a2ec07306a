"""`openedai batch`: answer a file of requests, on a server that runs or with a model of one's own.

Plain HTTP of the standard library: any server with OpenAI's files and batches will do.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import secrets
import shlex
import socket
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

CHUNK_BYTES = 1 << 18
POLL_S = (0.2, 2.0)
"""Between two looks at the batch: at first, and later."""
STOP_S = 30.0
"""For our own server to end."""
INTERRUPTED = 130
"""The exit status after Ctrl-C, as shells have it."""
ENDED = ("completed", "failed", "expired", "cancelled")


class BatchFailure(Exception):
    """There are no results; the message is one line."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server's files and batches."""

    base_url: str
    key: str | None

    def ask(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> Any:
        """The JSON of the answer. Raises BatchFailure."""
        with self._answer(method, path, body, headers or {}) as answer:
            return json.loads(answer.read())

    def upload(self, path: Path) -> str:
        """The id of the file."""
        mark = secrets.token_hex(16)
        field = f"--{mark}\r\nContent-Disposition: form-data; name="
        head = f'{field}"purpose"\r\n\r\nbatch\r\n{field}"file"; filename="batch.jsonl"\r\n\r\n'
        before, after = head.encode(), f"\r\n--{mark}--\r\n".encode()
        with path.open("rb") as file:
            size = len(before) + os.fstat(file.fileno()).st_size + len(after)
            headers = {
                "Content-Type": f"multipart/form-data; boundary={mark}",
                "Content-Length": str(size),
            }
            parts = _parts(before, file, after)
            return str(self.ask("POST", "/files", parts, headers)["id"])

    def download(self, file: str, target: BinaryIO) -> None:
        """Append the content of a file."""
        with self._answer("GET", f"/files/{file}/content", None, {}) as answer:
            while data := answer.read(CHUNK_BYTES):
                target.write(data)

    @contextlib.contextmanager
    def _answer(
        self, method: str, path: str, body: Any, headers: dict[str, str]
    ) -> Iterator[http.client.HTTPResponse]:
        url = urllib.parse.urlsplit(self.base_url)
        kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
        if isinstance(body, dict):
            body, headers = json.dumps(body).encode(), {"Content-Type": "application/json"}
        if self.key:
            headers = {**headers, "Authorization": f"Bearer {self.key}"}
        try:
            with contextlib.closing(kind(url.netloc)) as connection:
                connection.request(method, url.path + path, body, headers)
                with connection.getresponse() as answer:
                    if answer.status != 200:
                        raise BatchFailure(_refusal(answer))
                    yield answer
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise BatchFailure(
                f"no server answers at {self.base_url} ({error}); start one with: openedai run, or "
                "name a model behind --"
            ) from None


def main(argv: Sequence[str], program: str) -> int:
    """0: all lines were answered; 1: some were not; 2: none."""
    words, own = list(argv), None
    if "--" in words:
        at = words.index("--")
        words, own = words[:at], words[at + 1 :]
    given = _parser(program).parse_args(words)
    key = os.environ.get("OPENAI_API_KEY") or os.environ.get("OPENEDAI_API_KEY")
    try:
        with _server(given.base_url, key, own) as server:
            return _run(server, given, own)
    except KeyboardInterrupt:  # before there was a batch
        return INTERRUPTED
    except (BatchFailure, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _run(server: Server, given: argparse.Namespace, own: Sequence[str] | None) -> int:
    """Make the batch, or go on with one, and write its results. `own`: the flags of our own server."""
    if given.file.startswith("batch_") and not Path(given.file).exists():
        batch, output = server.ask("GET", f"/batches/{given.file}"), f"{given.file}.jsonl"
    else:
        path = Path(given.file)
        new = {
            "endpoint": _endpoint(path),
            "completion_window": given.window,
            "input_file_id": server.upload(path),
        }
        batch, output = server.ask("POST", "/batches", new), f"{path.with_suffix('')}.results.jsonl"
    output = given.output or output
    again = shlex.join(["openedai", "batch", batch["id"], "-o", output, *_behind(own)])
    try:
        batch = _wait(server, batch)
    except KeyboardInterrupt:
        goes_on = "it goes on; for its results" if own is None else "to go on with it"
        print(f"\n{goes_on}: {again}", file=sys.stderr)
        return INTERRUPTED
    except BatchFailure as error:
        raise BatchFailure(f"{error}\nthe batch is kept; for its results: {again}") from None
    if batch["status"] == "failed":
        raise BatchFailure(_errors(batch))
    with Path(output).open("wb") as target:
        for file in (batch["output_file_id"], batch["error_file_id"]):
            if file is not None:
                server.download(file, target)
    counts = batch["request_counts"]
    print(f"{counts['completed']} answers, {counts['failed']} errors: {output}", file=sys.stderr)
    return 0 if batch["status"] == "completed" and not counts["failed"] else 1


def _behind(own: Sequence[str] | None) -> Sequence[str]:
    return () if own is None else ("--", *own)


def _wait(server: Server, batch: Any) -> Any:
    """The batch when it has ended; a line tells how far it is."""
    began, pause = time.monotonic(), POLL_S[0]
    while batch["status"] not in ENDED:
        time.sleep(pause)
        pause = min(POLL_S[1], pause * 1.5)
        batch = server.ask("GET", f"/batches/{batch['id']}")
        if sys.stderr.isatty():
            line = _progress(batch, time.monotonic() - began)
            print(f"\r{line}\x1b[K", end="", file=sys.stderr, flush=True)
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr)
    return batch


def _progress(batch: Any, seconds: float) -> str:
    counts = batch["request_counts"]
    total, done = counts["total"], counts["completed"] + counts["failed"]
    line = f"{batch['status']}: {done}/{total}"
    if counts["failed"]:
        line += f", {counts['failed']} errors"
    if done and total:
        left = seconds / done * (total - done)
        line += f", {done / max(seconds, 0.1):.1f}/s, {left:.0f} s left"
    return line


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


@contextlib.contextmanager
def _server(base_url: str, key: str | None, own: Sequence[str] | None) -> Iterator[Server]:
    """The server that runs, or one of our own with these flags."""
    if own is None:
        yield Server(base_url, key)
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "openedai", "run", *own]
    command += ["--listen-host", "127.0.0.1", "--api-port", str(port)]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        _wait_until_ready(child, port)
        yield Server(f"http://127.0.0.1:{port}/v1", key)
    finally:
        child.terminate()
        try:
            child.wait(STOP_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _wait_until_ready(child: subprocess.Popen[bytes], port: int) -> None:
    """Raises BatchFailure."""
    while child.poll() is None:
        connection = contextlib.closing(http.client.HTTPConnection("127.0.0.1", port))
        with contextlib.suppress(OSError, http.client.HTTPException), connection as asking:
            asking.request("GET", "/health")
            with asking.getresponse() as answer:
                if answer.status == 200:
                    return
        time.sleep(0.1)
    raise BatchFailure("the server did not start")


def _parts(before: bytes, file: BinaryIO, after: bytes) -> Iterator[bytes]:
    yield before
    while data := file.read(CHUNK_BYTES):
        yield data
    yield after


def _refusal(answer: http.client.HTTPResponse) -> str:
    try:
        message = str(json.loads(answer.read())["error"]["message"])
    except (ValueError, LookupError, TypeError):
        message = answer.reason
    hint = "; set OPENAI_API_KEY to a key of the server" if answer.status == 401 else ""
    return f"the server answered {answer.status}: {' '.join(message.split())}{hint}"


def _parser(program: str) -> argparse.ArgumentParser:
    port = os.environ.get("OPENEDAI_API_PORT") or os.environ.get("OPENEDAI_PORT") or "5001"
    base_url = os.environ.get("OPENAI_BASE_URL") or f"http://127.0.0.1:{port}/v1"
    parser = argparse.ArgumentParser(
        prog=program,
        usage=f"{program} FILE.jsonl [-o OUT.jsonl] [-- MODEL, flags of run]",
        description="Answer a file of requests. The key is taken from OPENAI_API_KEY.",
        epilog="Behind -- stands what `openedai run` takes: then a server is started for this batch alone. "
        "Ctrl-C leaves the batch to the server; its id in place of the file waits for it again.",
    )
    parser.add_argument("file", metavar="FILE", help="a request on each line; or the id of a batch")
    parser.add_argument("-o", "--output", metavar="OUT", help="where the results go")
    parser.add_argument(
        "--window", default="24h", metavar="TIME", help="hours or days for it (default: 24h)"
    )
    parser.add_argument(
        "--base-url", default=base_url, type=lambda url: url.rstrip("/"), metavar="URL",
        help="the server (default: %(default)s, or OPENAI_BASE_URL)",
    )  # fmt: skip
    return parser
