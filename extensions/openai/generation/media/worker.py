"""Reads files of clients in processes of their own, which end at the first bound that they pass.

A file may be made to take endless time or memory. Few are read at once.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ...engines.callback_bridge import TICK_S

MAX_WALL_S = 120.0  # the machine may be busy; what counts is the CPU time
MAX_AT_ONCE = 2

places = threading.BoundedSemaphore(MAX_AT_ONCE)


@contextmanager
def place(check_wanted: Callable[[], None]) -> Iterator[None]:
    """One of the places where files are read. Raises what `check_wanted` raises, which is called every
    `TICK_S` seconds."""
    while not places.acquire(timeout=TICK_S):
        check_wanted()
    try:
        yield
    finally:
        places.release()


def answer_of(
    script: Path, job: Mapping[str, Any], content: bytes, check_wanted: Callable[[], None]
) -> dict[str, Any]:
    """What a script answers to a job, `{"path", "seconds", "bytes", ...}`, and a file: one object, with a
    `problem` where there is one. Raises what `check_wanted` raises."""
    unsent: bytes | None = json.dumps({**job, "path": sys.path}).encode() + b"\n" + content
    deadline = time.monotonic() + MAX_WALL_S
    with subprocess.Popen(
        [sys.executable, "-I", "-X", "utf8", str(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # so that Ctrl-C leaves it to us
    ) as process:
        try:
            while True:
                try:
                    written, _ = process.communicate(unsent, TICK_S)
                    break
                except subprocess.TimeoutExpired:
                    unsent = None  # it is on its way
                check_wanted()
                if time.monotonic() > deadline:
                    return {"problem": "time"}
        finally:
            process.kill()
    if process.returncode == 0:  # one that is killed may have written a part
        return dict(json.loads(written))
    timer = getattr(signal, "SIGPROF", None)
    return {"problem": "time" if -process.returncode == timer else "broken"}
