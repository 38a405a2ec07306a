"""Whether two checkouts answer alike: the same requests over TCP to real servers, recorded and compared.

    python -m tests.whole.corpus record OLD                       # this checkout
    python -m tests.whole.corpus record NEW --checkout ../other   # another one's servers, the same requests
    python -m tests.whole.corpus compare OLD NEW [--ignore PATTERN ...]

`record` takes `--only NAME` for the servers whose name has NAME in it. Status, headers and each byte of
bodies and events count, but for what is another one each time: ids, times, ports and measurements (`STEADY`).
A text that was changed on purpose is left out by `--ignore`, a regular expression. What differs is printed;
then the exit status is 1. Bodies are rows of corpus_requests.yaml, servers those of corpus_servers.py.
"""

from __future__ import annotations

import argparse
import difflib
import json
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path

from tests.support.process import ROOT, ServerProcess
from tests.support.wire import Wire
from tests.whole.corpus_requests import Request
from tests.whole.corpus_servers import Server, servers, write_families

Recording = dict[str, str]
"""An answer as text, by the names of server and request."""

DIFFERENT_EACH_TIME = {"date", "openai-processing-ms", "content-length"}
IDS = re.compile(r"\b(req_|cmpl-|chatcmpl-|call_|fc_)([0-9a-zA-Z]{20,})\b")
MADE_OF_TIME = "seconds|uptime_seconds|created|start_time|end_time|pid|memory_bytes|threads"
STEADY = (
    (re.compile(rf'"({MADE_OF_TIME})":\s*[0-9.]{{1,9}}\.?\d*'), r'"\1":N'),
    (re.compile(r"127\.0\.0\.1:\d{4,5}"), "127.0.0.1:PORT"),
    (
        re.compile(r"((?:retry-after\S*|x-ratelimit-reset-\S+):|try again in) [\d.hms]+\d*m?s?"),
        r"\1 N",
    ),
)
# Of a page of measurements what was counted stays; times, the process, and how often the server was asked
# whether it is ready do not.
MEASURED = re.compile(
    r"^(\S*(?:seconds|created|bytes|process_|python_)[^{ ]*(?:\{.*\})?) \S+$", re.M
)
OF_HEALTH = re.compile(r'^\S*\{(?:route="GET \S*/health"|code="model_loading").*\n', re.M)
SHOWN_LINES = 40


def steady(text: str) -> str:
    """Without what is another one each time; the same id twice stays the same id twice."""
    seen: dict[str, str] = {}

    def number(found: re.Match[str]) -> str:
        return found[1] + seen.setdefault(found[0], f"#{len(seen) + 1}")

    for pattern, instead in STEADY:
        text = pattern.sub(instead, text)
    return IDS.sub(number, text)


def in_order(stream: str) -> str:
    """The events of each choice together: of several at once the order is another one each time."""

    def choice(event: str) -> int:
        found = re.search(
            r'"choices":\[\{[^{]*"index":(\d+)|"choices":\[\{"text":.*?,"index":(\d+)', event
        )
        return -1 if found is None else int(found[1] or found[2])

    parts = []
    for _, events in groupby(stream.split("\n\n"), lambda event: choice(event) >= 0):
        parts += sorted(events, key=choice)
    return "\n\n".join(parts)


def exchange(port: int, request: Request) -> str:
    """Send a request; its answer, or that there was none, as text."""
    with Wire(port) as wire:
        try:
            if request.raw:
                wire.send(request.raw)
            else:
                headers = dict(request.headers)
                wire.request(request.method, request.path, request.body, headers)
            answer = wire.answer(method=request.method)
        except (EOFError, OSError) as error:
            return f"no answer: {type(error).__name__}"
    body = answer.body.decode("utf-8", "backslashreplace")
    headers = {k: v for k, v in answer.headers.items() if k not in DIFFERENT_EACH_TIME}
    length = answer.headers.get("content-length")
    if length is not None:
        headers["content-length"] = "right" if int(length) == len(answer.body) else length
    if "allow" in headers:  # a set
        headers["allow"] = ", ".join(sorted(headers["allow"].split(", ")))
    if re.match("text/plain|application/openmetrics", headers.get("content-type", "")):
        body = MEASURED.sub(r"\1 N", OF_HEALTH.sub("", body))
    if "event-stream" in headers.get("content-type", ""):
        body = in_order(body)
    head = "\n".join(f"{name}: {value}" for name, value in sorted(headers.items()))
    return steady(f"{answer.version} {answer.status}\n{head}\n\n{body}")


def record(checkout: Path, chosen: Callable[[Server], bool]) -> Recording:
    found: Recording = {}
    with tempfile.TemporaryDirectory(prefix="corpus-") as folder:
        write_families(Path(folder))
        for server in filter(chosen, servers(Path(folder))):
            begun, before = time.monotonic(), len(found)
            arguments = server.arguments_for(checkout)
            process = ServerProcess(*arguments, checkout=checkout, program=server.program)
            try:
                process.wait_until_ready(path=server.health)
                for request in server.asked(server.model):
                    name = f"{server.name} | {request.name}"
                    if name in found:
                        raise ValueError(f"two requests are called {name!r}")
                    found[name] = exchange(process.port, request)
            finally:
                process.stop()
            seconds = time.monotonic() - begun
            print(f"{server.name}: {len(found) - before} exchanges, {seconds:.1f} s", flush=True)
    return found


def differences(old: Recording, new: Recording, ignored: list[str]) -> Iterator[str]:
    """A text for each exchange that is not the same."""

    def seen(text: str | None) -> list[str]:
        for pattern in ignored:
            text = re.sub(pattern, "...", text or "")
        # Lines for the reader: JSON is one line.
        return [] if text is None else re.sub(r'([,{\[])(?=["{\[])', r"\1\n", text).split("\n")

    for name in dict.fromkeys([*old, *new]):
        before, after = seen(old.get(name)), seen(new.get(name))
        if before != after:
            lines = list(difflib.unified_diff(before, after, "old", "new", lineterm="", n=2))
            more = (
                [f"... and {len(lines) - SHOWN_LINES} lines more"]
                if len(lines) > SHOWN_LINES
                else []
            )
            yield "\n".join([f"== {name}", *lines[:SHOWN_LINES], *more])


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    recording = commands.add_parser("record")
    recording.add_argument("file", type=Path)
    recording.add_argument("--checkout", type=Path, default=ROOT)
    recording.add_argument("--only", default="", help="a part of servers' names")
    comparing = commands.add_parser("compare")
    comparing.add_argument("old", type=Path)
    comparing.add_argument("new", type=Path)
    comparing.add_argument("--ignore", action="append", default=[], metavar="PATTERN")
    given = parser.parse_args()
    if given.command == "record":
        recorded = record(given.checkout.resolve(), lambda server: given.only in server.name)
        given.file.write_text(json.dumps(recorded, ensure_ascii=False, indent=0), encoding="utf-8")
        print(f"{len(recorded)} exchanges")
        return 0
    old, new = (json.loads(path.read_text(encoding="utf-8")) for path in (given.old, given.new))
    found = list(differences(old, new, given.ignore))
    for text in found:
        print(text, end="\n\n")
    print(f"{len(found)} of {len(new)} differ" if found else f"equal: {len(new)} exchanges")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
