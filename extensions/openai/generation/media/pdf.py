"""The text of PDF files in messages.

A PDF of a client may be made to take endless time or memory, so each is read in a process of its own
(`pdf_worker.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from ...errors import InvalidRequest
from ...schemas import bad_request
from .worker import answer_of, place

WORKER_SCRIPT = Path(__file__).with_name("pdf_worker.py")
MAX_CHARACTERS = 4_000_000  # of a file's text
MAX_MEMORY_BYTES = 768 << 20


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
        job = {
            "pages": self.max_pages,
            "characters": MAX_CHARACTERS,
            "seconds": self.cpu_seconds,
            "bytes": MAX_MEMORY_BYTES,
        }
        with place(self.check_wanted):
            answer = answer_of(WORKER_SCRIPT, job, content, self.check_wanted)
        problem = self._problem(answer)
        if problem:
            raise InvalidRequest(f"Invalid '{param}': {problem}", param=param, code="invalid_value")
        return str(answer["text"])

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
