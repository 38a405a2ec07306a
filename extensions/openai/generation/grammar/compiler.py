"""Whether a grammar can be enforced, found out in a process of its own (`worker.py`).

The library that enforces grammars recurses on the stack of the thread that compiles one, needs time and
memory without bound for some, and the engine compiles each on the only thread that all answers share. So each
grammar is compiled in a helper process first, with less stack than the server's threads have, little time
and little memory. What ends it there is refused; what passes is safe here, and quick enough for the engine's
thread. Results are remembered: a grammar that comes again costs nothing.
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import json
import logging
import subprocess
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from llguidance import LLMatcher

from ...engines.pump import TICK
from ...errors import EngineFailed, QueueFull

log = logging.getLogger("openedai")

WORKER = Path(__file__).with_name("worker.py")
QUICK_MS = 40.0  # of CPU time, which nearly all grammars need less of
CPU_MS = 200.0  # for one that needs more, after which the helper gives it up
MAX_COMPILE_MS = 80.0  # that the engine's thread would stand still
MAX_STEP_MS = 30.0  # the same, for each token
WALL_S = 20.0  # on a machine that is busy with other things
AT_ONCE, SLOW_AT_ONCE, MAX_WAITING = 4, 1, 64
REMEMBERED = 1024  # results
SMALL_STACK, LARGE_STACK = 1 << 20, 64 << 20  # bytes
STACKS = {"linux": SMALL_STACK, "darwin": 256 << 10, "win32": 512 << 10}
"""A part of what threads that C++ starts have there: 8 MiB, 512 KiB and 1 MiB."""

TOO_LONG = "it takes too long to compile, which would hold up everybody else's answers"
TOO_DEEP = "it is nested too deeply, or refers to itself over too many steps"
TOO_LARGE = "it takes too much memory"
TOO_SLOW = "finding out which tokens may come next takes too long, which would slow everybody else's answers"
COSTS = (TOO_LONG, TOO_DEEP, TOO_LARGE, TOO_SLOW)
SIGNALS = {"SIGPROF": TOO_LONG, "SIGXCPU": TOO_LONG, "SIGSEGV": TOO_DEEP, "SIGBUS": TOO_DEEP,
           "SIGABRT": TOO_LARGE, "SIGKILL": TOO_LARGE}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The tokens that grammars are tried with: those of the model."""

    tokens: Sequence[bytes]
    end: int
    """The one that ends an answer."""


@dataclass(slots=True)
class _Job:
    done: threading.Event = field(default_factory=threading.Event)
    answer: dict[str, Any] | None = None
    """None after `done`: the helper ended before it came to this."""
    sent: float = 0.0


class Compiler:
    """Finds out what is wrong with grammars. Thread-safe; `compiler` is the one of the process."""

    def __init__(self, python: str | None = None) -> None:
        self._python = sys.executable if python is None else python
        self._known: OrderedDict[bytes, str] = OrderedDict()
        self._lock = threading.Lock()
        # So that no one waits for those that take long.
        self._quick, self._slow = threading.Semaphore(AT_ONCE), threading.Semaphore(SLOW_AT_ONCE)
        self._waiting = 0
        self._helper: _Helper | None = None
        self._alone = False
        """Whether there can be no helper."""

    def problem(
        self, grammar: str, vocabulary: Vocabulary | None = None
    ) -> Generator[None, None, str]:
        """What is wrong with a grammar; empty for a good one. Yields at least every TICK while that is not
        known yet; closing the generator gives it up. Raises QueueFull, EngineFailed."""
        key = sha256(
            f"{id(vocabulary and vocabulary.tokens)} {grammar}".encode(errors="replace")
        ).digest()
        with self._lock:
            known = self._known.get(key)
            if known is not None:
                self._known.move_to_end(key)
                return known
            if self._waiting >= MAX_WAITING:
                raise QueueFull("Too many constraints are waiting to be checked.")
            self._waiting += 1
        try:
            found = yield from self._in_turn(self._quick, grammar, vocabulary, QUICK_MS)
            if found == TOO_LONG:
                found = yield from self._in_turn(self._slow, grammar, vocabulary, CPU_MS)
        finally:
            with self._lock:
                self._waiting -= 1
        with self._lock:
            self._known[key] = found
            if len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        return found

    def close(self) -> None:
        """End the helper; the next grammar starts another one."""
        with self._lock:
            helper, self._helper = self._helper, None
        if helper is not None:
            helper.close()

    def _in_turn(
        self,
        lane: threading.Semaphore,
        grammar: str,
        vocabulary: Vocabulary | None,
        milliseconds: float,
    ) -> Generator[None, None, str]:
        while not lane.acquire(timeout=TICK):
            yield
        try:
            return (yield from self._found(grammar, vocabulary, milliseconds))
        finally:
            lane.release()

    def _found(
        self, grammar: str, vocabulary: Vocabulary | None, milliseconds: float
    ) -> Generator[None, None, str]:
        for _ in range(2):  # a helper may have been ended from outside
            helper = self._started()
            if helper is None:
                break
            job = helper.send(grammar, vocabulary, milliseconds)
            while not job.done.wait(TICK):
                if time.monotonic() - job.sent > WALL_S:
                    self._drop(helper)
                    return TOO_LONG
                yield
            if job.answer is not None:
                return _judged(job.answer)
            self._drop(helper)
            if not helper.ready:
                self._alone = True
                log.warning("constraints are checked in this process: the helper does not start")
            elif not helper.forks:
                return TOO_DEEP  # this very job has ended it
        if self._alone:
            return self._found_here(grammar)
        raise EngineFailed(
            "The process that checks constraints ended unexpectedly. Please try again."
        )

    def _started(self) -> _Helper | None:
        with self._lock:
            if self._helper is None and not self._alone:
                try:
                    self._helper = _Helper(self._python)
                except OSError as error:
                    self._alone = True
                    log.warning(
                        "constraints are checked in this process: no helper (%s)", str(error)
                    )
            return self._helper

    def _drop(self, helper: _Helper) -> None:
        with self._lock:
            if self._helper is helper:
                self._helper = None
        helper.close()

    @staticmethod
    def _found_here(grammar: str) -> str:
        """Where there can be no helper: in a thread with much stack. It cannot be given up."""
        found: list[str] = []
        with _stack:
            before = threading.stack_size(LARGE_STACK)
            try:
                thread = threading.Thread(
                    target=lambda: found.append(LLMatcher.validate_grammar(grammar)), daemon=True
                )
                thread.start()
            finally:
                threading.stack_size(before)
        thread.join()
        return found[0].strip()


_stack = threading.Lock()  # its size is one setting for all threads


def _judged(answer: dict[str, Any]) -> str:
    """The problem in a worker's answer."""
    died = answer.get("died")
    if died is not None:
        return SIGNALS.get(died, f"it ended the process that compiles it ({died})")
    if answer["problem"]:
        return str(answer["problem"]).strip()
    if answer["compile"] > MAX_COMPILE_MS:
        return TOO_LONG
    return TOO_SLOW if answer["step"] > MAX_STEP_MS else ""


class _Helper:
    """The helper process. Thread-safe."""

    def __init__(self, python: str) -> None:
        """Start it, without waiting for it. Raises OSError where that is not possible."""
        if getattr(sys, "frozen", False) or not python:
            raise OSError("there is no Python to run it")
        self._process = subprocess.Popen(
            [python, "-X", "utf8", str(WORKER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is not for it
        )
        self.forks = sys.platform != "win32"
        self.ready = False
        """Whether it was able to work."""
        self._lock = threading.Lock()
        self._jobs: dict[int, _Job] = {}
        self._numbers = itertools.count()
        self._tokens: Sequence[bytes] | None = None
        self._lines: SimpleQueue[dict[str, Any] | None] = SimpleQueue()
        self._ended = False
        self._lines.put({"path": sys.path, "stack": STACKS.get(sys.platform, 256 << 10)})
        for work in (self._read, self._write):
            threading.Thread(target=work, name="openai-grammars", daemon=True).start()
        atexit.register(self.close)

    def send(self, grammar: str, vocabulary: Vocabulary | None, milliseconds: float) -> _Job:
        """Have a grammar tried with these tokens (None: with bytes) for so much CPU time."""
        job = _Job(sent=time.monotonic())
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
        with contextlib.suppress(OSError):  # it has ended, which the other thread sees
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


compiler = Compiler()
