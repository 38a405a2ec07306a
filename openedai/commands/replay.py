"""`openedai replay`: send requests again that `--debug` has written to files, to any server.

Answers are printed; a line for each request says how its status compares with the recorded one.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REMOVED = "[redacted]"
"""What stands in a recording for secrets, pictures and sounds."""
CHUNK_BYTES = 1 << 16
TIMEOUT_S = 600  # of silence


class ReplayError(Exception):
    """A request cannot be sent again; the message is one line."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """A request, and the status that it got."""

    method: str
    target: str
    """Path and query."""
    body: bytes | None
    status: int

    @classmethod
    def read(cls, path: Path) -> Recorded:
        """Raises ReplayError for what is no recording, or not a whole one."""
        try:
            recorded = json.loads(path.read_bytes())
            request, status = recorded["request"], int(recorded["answer"]["status"].split()[0])
            query = f"?{request['query']}" if request["query"] else ""
            method, target, body = request["method"], request["path"] + query, request["body"]
        except OSError as error:
            raise ReplayError(str(error.strerror)) from None
        except (ValueError, LookupError, TypeError, AttributeError):
            raise ReplayError("is no request that --debug wrote") from None
        if REMOVED in json.dumps([target, body], ensure_ascii=False):
            raise ReplayError("something was removed from it when it was written")
        if isinstance(body, str) and body:
            raise ReplayError("its body is not whole, or not JSON")
        return cls(method, target, json.dumps(body).encode() if body != "" else None, status)


def main(argv: Sequence[str], program: str) -> int:
    """Send the requests, one after the other; 1 if one could not be sent, or has another status now."""
    given = _parser(program).parse_args(argv)
    key = os.environ.get("OPENAI_API_KEY") or os.environ.get("OPENEDAI_API_KEY")
    alike = True
    for path in given.files:
        try:
            recorded = Recorded.read(path)
            status = _send(recorded, given.url, key)
        except ReplayError as error:
            alike = False
            print(f"{path}: {error}", file=sys.stderr)
            continue
        except KeyboardInterrupt:
            return 130
        alike = alike and status == recorded.status
        line = f"{path}: {recorded.method} {recorded.target} {status}, recorded {recorded.status}"
        print(line, file=sys.stderr)
    return 0 if alike else 1


def _parser(program: str) -> argparse.ArgumentParser:
    port = os.environ.get("OPENEDAI_API_PORT") or os.environ.get("OPENEDAI_PORT") or "5001"
    parser = argparse.ArgumentParser(
        prog=program,
        description="Send requests again that --debug has written. The key is taken from OPENAI_API_KEY.",
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="of the debug folder")
    parser.add_argument(
        "--url", default=f"http://127.0.0.1:{port}", type=_address, metavar="URL",
        help="the server, without a path (default: %(default)s)",
    )  # fmt: skip
    return parser


def _address(text: str) -> str:
    if urllib.parse.urlsplit(text).scheme not in ("http", "https"):
        raise argparse.ArgumentTypeError("must begin with http:// or https://")
    return text.rstrip("/")


def _send(recorded: Recorded, url: str, key: str | None) -> int:
    """Print the answer as it comes; return its status. Raises ReplayError."""
    headers: dict[str, Any] = {"Authorization": f"Bearer {key}"} if key else {}
    if recorded.body is not None:
        headers["Content-Type"] = "application/json"
    request = urllib.request.Request(
        url + recorded.target, recorded.body, headers, method=recorded.method
    )
    try:
        try:
            answer = urllib.request.urlopen(request, timeout=TIMEOUT_S)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            while data := answer.read1(CHUNK_BYTES):
                sys.stdout.buffer.write(data)
                sys.stdout.buffer.flush()
            return int(answer.status)
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise ReplayError(f"{url} does not answer: {reason}") from None
