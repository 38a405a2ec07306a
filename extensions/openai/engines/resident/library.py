"""Models that come to this machine while the server runs, and go from it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

log = logging.getLogger("openedai")

Watch = Callable[[Callable[[], int], int], None]
"""Called with what counts the bytes that are there, and how many there will be."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a download is."""

    state: Literal["downloading", "ready", "failed"]
    done: int
    """Bytes."""
    total: int | None
    """None: not known yet."""
    model: str | None = None
    """What requests call it, once it is ready."""
    error: str | None = None
    """Why it failed, in one line without a path."""


class Download:
    """One download, in a thread of its own, which goes on whether or not a client waits for it."""

    def __init__(self, work: Callable[[Watch], str]) -> None:
        """`work` downloads a model, serves it and returns its name; it raises an exception whose words are
        for the operator."""
        self._work = work
        self._count: Callable[[], int] = lambda: 0
        self._total: int | None = None
        self._end: Progress | None = None
        self._over = threading.Event()
        threading.Thread(target=self._run, name="openai-download", daemon=True).start()

    def progress(self) -> Progress:
        """How far it is now."""
        if self._end is not None:
            return self._end
        return Progress("downloading", self._count(), self._total)

    def wait(self, seconds: float) -> bool:
        """Wait at most so long for its end; whether it has come."""
        return self._over.wait(seconds)

    def _watch(self, count: Callable[[], int], total: int) -> None:
        self._count, self._total = count, total

    def _run(self) -> None:
        try:
            name = self._work(self._watch)
        except Exception as error:  # whatever it is, the client must be told
            log.error("a download failed: %s", error)
            self._end = Progress("failed", self._count(), self._total, error=str(error))
        else:
            total = self._total or 0
            self._end = Progress("ready", total, total, model=name)
        self._over.set()


class ModelLibrary(Protocol):
    """The model files of this machine. Thread-safe."""

    def download(self, source: str) -> Download:
        """Download a model, or follow its download that is under way; requests can use it at the end.
        `source`: hf:OWNER/REPO[:FILE]."""

    def delete(self, name: str) -> None:
        """Unload a model and delete its files. Raises ModelInFile for one that the operator's file names."""
