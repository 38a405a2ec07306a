"""The text of PDF files in messages.

A PDF of a client may be made to take endless time or memory, so each is read in a process of its own
(`pdf_worker.py`), at low priority, which ends at the first bound that it passes. Few are read at once.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from ...engines.callback_bridge import TICK_S
from ...errors import InvalidRequest
from ...schemas import bad_request

WORKER_SCRIPT = Path(__file__).with_name("pdf_worker.py")
MAX_CHARACTERS = 4_000_000  # of a file's text
MAX_MEMORY_BYTES = 768 << 20
MAX_WALL_S = 120.0  # the machine may be busy; what counts is the CPU time
MAX_AT_ONCE = 2

places = threading.BoundedSemaphore(MAX_AT_ONCE)


@dataclass(frozen=True, slots=True)
class PdfReader:
    """How PDF files of one request are read."""

    max_pages: int = 200
    """Of a file. 0: none is read."""
    cpu_seconds: float = 10.0
    """For a file."""
    check_wanted: Callable[[], None] = lambda: None
    """Raises when the client no longer waits; called every `TICK_S` seconds."""

    def text(self, content: bytes, param: str) -> str:
        """The text of all pages. Raises InvalidRequest for `param`, and what `check_wanted` raises."""
        if self.max_pages == 0:
            raise bad_request.unsupported(param, "is a PDF, and this server reads none.")
        if find_spec("pypdf") is None:
            raise bad_request.unsupported(
                param,
                "is a PDF, which this server needs a package for: pip install 'openedai[pdf]'.",
            )
        with self._place():
            answer = self._answer_of_worker(content)
        problem = self._problem(answer)
        if problem:
            raise InvalidRequest(f"Invalid '{param}': {problem}", param=param, code="invalid_value")
        return str(answer["text"])

    @contextmanager
    def _place(self) -> Iterator[None]:
        """One of the places where files are read."""
        while not places.acquire(timeout=TICK_S):
            self.check_wanted()
        try:
            yield
        finally:
            places.release()

    def _answer_of_worker(self, content: bytes) -> dict[str, object]:
        job = {
            "path": sys.path,
            "pages": self.max_pages,
            "characters": MAX_CHARACTERS,
            "seconds": self.cpu_seconds,
            "bytes": MAX_MEMORY_BYTES,
        }
        unsent: bytes | None = json.dumps(job).encode() + b"\n" + content
        deadline = time.monotonic() + MAX_WALL_S
        with subprocess.Popen(
            [sys.executable, "-I", "-X", "utf8", str(WORKER_SCRIPT)],
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
                    self.check_wanted()
                    if time.monotonic() > deadline:
                        return {"problem": "time"}
            finally:
                process.kill()
        if process.returncode == 0:  # one that is killed may have written a part
            return dict(json.loads(written))
        timer = getattr(signal, "SIGPROF", None)
        return {"problem": "time" if -process.returncode == timer else "broken"}

    def _problem(self, answer: dict[str, object]) -> str:
        """What is wrong with a file, for its client; empty where there is a text."""
        problem = answer.get("problem")
        if problem is None:
            return ""
        return {
            "pages": f"the PDF has more than {self.max_pages} pages.",
            "characters": f"the PDF has more than {MAX_CHARACTERS} characters of text.",
            "time": f"the PDF takes more than {self.cpu_seconds:g} seconds to read.",
            "memory": "the PDF takes too much memory to read.",
            "encrypted": "the PDF is encrypted.",
            "empty": "the PDF holds no text, as scanned pages do; send its pages as pictures.",
        }.get(str(problem), "the PDF cannot be read.")
