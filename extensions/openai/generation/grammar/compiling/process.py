"""The server's handle of the helper process that compiles grammars (`worker.py`)."""

from __future__ import annotations

import atexit
import contextlib
import itertools
import json
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Any

WORKER_SCRIPT = Path(__file__).with_name("worker.py")
SMALL_STACK_BYTES = 1 << 20
STACK_BYTES_BY_PLATFORM = {"linux": SMALL_STACK_BYTES, "darwin": 256 << 10, "win32": 512 << 10}
"""Less than the stack of threads started by C++ there: 8 MiB, 512 KiB and 1 MiB."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The model's tokens, with which grammars are tried."""

    tokens: Sequence[bytes]
    end: int
    """The token that ends an answer."""


@dataclass(slots=True)
class Trial:
    """A grammar that is being tried."""

    done: threading.Event = field(default_factory=threading.Event)
    answer: dict[str, Any] | None = None
    """None after `done`: the helper ended before it answered."""
    sent: float = 0.0


class CompilerProcess:
    """The process. Thread-safe."""

    def __init__(self, python: str) -> None:
        """Start it, without waiting for it. Raises OSError if that is not possible."""
        if getattr(sys, "frozen", False) or not python:
            raise OSError("there is no Python to run it")
        self._process = subprocess.Popen(
            [python, "-X", "utf8", str(WORKER_SCRIPT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # so that it ignores Ctrl-C
        )
        self.forks = sys.platform != "win32"
        self.ready = False
        """Whether it has started up."""
        self._lock = threading.Lock()
        self._jobs: dict[int, Trial] = {}
        self._numbers = itertools.count()
        self._tokens: Sequence[bytes] | None = None
        self._lines: SimpleQueue[dict[str, Any] | None] = SimpleQueue()
        self._ended = False
        self._lines.put(
            {"path": sys.path, "stack": STACK_BYTES_BY_PLATFORM.get(sys.platform, 256 << 10)}
        )
        for work in (self._read, self._write):
            threading.Thread(target=work, name="openai-grammars", daemon=True).start()
        atexit.register(self.close)

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, grammar: str, vocabulary: Vocabulary | None, milliseconds: float) -> Trial:
        """Try a grammar with these tokens (None: bytes), for this CPU time at most."""
        job = Trial(sent=time.monotonic())
        with self._lock:
            if self._ended:
                job.done.set()
                return job
            number = next(self._numbers)
            self._jobs[number] = job
            tokens = None if vocabulary is None else vocabulary.tokens
            if tokens is not self._tokens:
                words = [token.decode("latin-1") for token in tokens or ()]
                self._lines.put({"vocabulary": words, "end": vocabulary.end if vocabulary else 0})
                self._tokens = tokens
            self._lines.put({"id": number, "grammar": grammar, "ms": milliseconds})
        return job

    def close(self) -> None:
        atexit.unregister(self.close)
        self._process.kill()
        self._process.wait()
        self._lines.put(None)

    def _write(self) -> None:
        pipe = self._process.stdin
        assert pipe is not None
        with contextlib.suppress(OSError):  # it has ended, which the other thread handles
            while (line := self._lines.get()) is not None:
                pipe.write(json.dumps(line).encode() + b"\n")
                pipe.flush()
        with contextlib.suppress(OSError):
            pipe.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                if line == b"ready\n":
                    self.ready = True
                    continue
                answer = json.loads(line)
                with self._lock:
                    job = self._jobs.pop(answer["id"], None)
                if job is not None:
                    job.answer = answer
                    job.done.set()
        with self._lock:
            self._ended = True
            left, self._jobs = list(self._jobs.values()), {}
        for job in left:
            job.done.set()
        self._lines.put(None)
        self._process.wait()
