"""Reads one PDF in a process of its own: `pdf.py` runs it as a script, and never imports it.

Its input is a line of JSON, then the file; its output one object:

    {"path": [...], "pages": 200, "characters": 4000000, "seconds": 10, "bytes": 805306368}
    %PDF-1.7 ...

    {"text": "..."} or {"problem": "pages"}
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from io import BytesIO
from typing import Any

LOW_PRIORITY = 5
BETWEEN_PAGES = "\n\n"
SURROGATES = "surrogatepass"


def limit(seconds: float, memory: int) -> None:
    """Have a signal end this process after so much CPU time, and allocations fail beyond so much memory."""
    if not hasattr(os, "fork"):
        return  # Windows has neither; the server ends the process
    import resource

    os.nice(LOW_PRIORITY)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError, ValueError):  # macOS does not have it
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    signal.setitimer(signal.ITIMER_PROF, seconds)


def read(content: bytes, max_pages: int, max_characters: int) -> dict[str, str]:
    """The text of a file, or the name of what is wrong with it."""
    from pypdf import PdfReader

    reader = PdfReader(BytesIO(content))
    if reader.is_encrypted and not reader.decrypt(""):  # many have an empty password
        return {"problem": "encrypted"}
    texts: list[str] = []
    left = max_characters
    for number, page in enumerate(reader.pages, 1):
        if number > max_pages:
            return {"problem": "pages"}
        texts.append(page.extract_text().strip())
        left -= len(texts[-1]) + len(BETWEEN_PAGES)
        if left < 0:
            return {"problem": "characters"}
    text = BETWEEN_PAGES.join(texts).strip()
    # Fonts may map characters to halves of surrogate pairs, which no text has.
    text = text.encode("utf-16", SURROGATES).decode("utf-16", "replace").replace("\0", "")
    return {"text": text} if text else {"problem": "empty"}


def main() -> None:
    job: dict[str, Any] = json.loads(sys.stdin.buffer.readline())
    limit(job["seconds"], job["bytes"])
    sys.path[:] = job["path"]
    try:
        answer = read(sys.stdin.buffer.read(), job["pages"], job["characters"])
    except MemoryError:
        answer = {"problem": "memory"}
    except Exception:  # a broken file raises anything at all
        answer = {"problem": "broken"}
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main()
