"""Finds out in a separate process (`worker.py`) whether a grammar can be enforced.

The library that enforces grammars recurses on the stack of the compiling thread, needs unbounded time and
memory for some, and the engine compiles each on the single thread that all answers share. So each grammar is
first compiled in a helper process, with less stack than the server's threads, little time and little memory;
only small and simple ones are read here (`simple_grammars.py`). A grammar that kills the helper is refused;
one that passes is safe here, and fast enough for the engine's thread. Results are cached.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Generator
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from llguidance import LLMatcher

from ....engines.callback_bridge import TICK_S
from ....errors import EngineFailed, QueueFull
from ..enforce import read_here
from .process import CompilerProcess, Vocabulary
from .queueing import Pace, ShortestFirst
from .simple_grammars import is_simple

log = logging.getLogger("openedai")

QUICK_MS = 40.0  # of CPU time, enough for nearly all grammars
MAX_CPU_MS = 200.0  # for slower ones, after which the helper gives up
MAX_COMPILE_MS = 70.0  # for which the engine's thread would block
MAX_STEP_MS = 30.0  # the same, for each token
MAX_WALL_S = 20.0  # the machine may be busy
MAX_AT_ONCE, MAX_SLOW_AT_ONCE, MAX_WAITING = 2, 1, 64
MAX_CACHED_RESULTS = 1024
LARGE_STACK_BYTES = 64 << 20

TOO_LONG = "it takes too long to compile, which would delay all other answers"
TOO_DEEP = "it is nested too deeply, or refers to itself over too many steps"
TOO_LARGE = "it takes too much memory"
TOO_SLOW = (
    "computing which tokens may come next takes too long, which would slow all other answers down"
)
COSTS = (TOO_LONG, TOO_DEEP, TOO_LARGE, TOO_SLOW)
SIGNALS = {"SIGPROF": TOO_LONG, "SIGXCPU": TOO_LONG, "SIGSEGV": TOO_DEEP, "SIGBUS": TOO_DEEP,
           "SIGABRT": TOO_LARGE, "SIGKILL": TOO_LARGE}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of trying a grammar."""

    problem: str
    """Empty: it is valid."""
    milliseconds: float = 0.0
    """CPU time for compiling it."""


class Compiler:
    """Checks grammars. Thread-safe; `compiler` is the process's only one."""

    def __init__(self, python: str | None = None, *, max_waiting: int = MAX_WAITING) -> None:
        self._python = sys.executable if python is None else python
        self._known: OrderedDict[bytes, Verdict] = OrderedDict()
        self._lock = threading.Lock()
        # Quick grammars do not wait for slow ones.
        self._quick, self._slow = ShortestFirst(MAX_AT_ONCE), ShortestFirst(MAX_SLOW_AT_ONCE)
        self._pace = Pace()
        self._max_waiting = max_waiting
        self.waiting = 0
        """Grammars being tried, or waiting for it."""
        self.helper: CompilerProcess | None = None
        """The process, if one has been needed and runs."""
        self._without_helper = False
        """Whether a helper cannot be started."""

    def problem(
        self, grammar: str, vocabulary: Vocabulary | None = None
    ) -> Generator[None, None, str]:
        """The problem of a grammar; empty: it is valid, and may be passed to the engine now. Yields at least
        every TICK_S until then; closing the generator cancels it. Raises QueueFull, EngineFailed."""
        if is_simple(grammar):
            return read_here(grammar)
        verdict = yield from self.verdict(grammar, vocabulary)
        if not verdict.problem:
            yield from self._pace.wait(verdict.milliseconds / 1000)
        return verdict.problem

    def verdict(
        self, grammar: str, vocabulary: Vocabulary | None = None
    ) -> Generator[None, None, Verdict]:
        """The result of trying a grammar, maybe cached; otherwise like `problem`."""
        key = sha256(
            f"{id(vocabulary and vocabulary.tokens)} {grammar}".encode(errors="replace")
        ).digest()
        with self._lock:
            known = self._known.get(key)
            if known is not None:
                self._known.move_to_end(key)
                return known
            if self.waiting >= self._max_waiting:
                raise QueueFull("Too many constraints are waiting to be checked.")
            self.waiting += 1
        try:
            found = yield from self._in_turn(self._quick, grammar, vocabulary, QUICK_MS)
            if found.problem == TOO_LONG:
                found = yield from self._in_turn(self._slow, grammar, vocabulary, MAX_CPU_MS)
        finally:
            with self._lock:
                self.waiting -= 1
        with self._lock:
            self._known[key] = found
            if len(self._known) > MAX_CACHED_RESULTS:
                self._known.popitem(last=False)
        return found

    def close(self) -> None:
        """End the helper; the next grammar starts a new one."""
        with self._lock:
            helper, self.helper = self.helper, None
        if helper is not None:
            helper.close()

    def _in_turn(
        self,
        lane: ShortestFirst,
        grammar: str,
        vocabulary: Vocabulary | None,
        milliseconds: float,
    ) -> Generator[None, None, Verdict]:
        yield from lane.enter(len(grammar))
        try:
            return (yield from self._try(grammar, vocabulary, milliseconds))
        finally:
            lane.leave()

    def _try(
        self, grammar: str, vocabulary: Vocabulary | None, milliseconds: float
    ) -> Generator[None, None, Verdict]:
        for _ in range(2):  # the helper may have been killed from outside
            helper = self._start_helper()
            if helper is None:
                break
            job = helper.send(grammar, vocabulary, milliseconds)
            while not job.done.wait(TICK_S):
                if time.monotonic() - job.sent > MAX_WALL_S:
                    self._drop(helper)
                    return Verdict(TOO_LONG)
                yield
            if job.answer is not None:
                return _verdict_of(job.answer)
            self._drop(helper)
            if not helper.ready:
                self._without_helper = True
                log.warning("constraints are checked in this process: the helper does not start")
            elif not helper.forks:
                return Verdict(TOO_DEEP)  # this job killed it
        if self._without_helper:
            return Verdict(self._try_here(grammar))
        raise EngineFailed(
            "The process that checks constraints ended unexpectedly. Please try again."
        )

    def _start_helper(self) -> CompilerProcess | None:
        with self._lock:
            if self.helper is None and not self._without_helper:
                try:
                    self.helper = CompilerProcess(self._python)
                except OSError as error:
                    self._without_helper = True
                    log.warning(
                        "constraints are checked in this process: no helper (%s)", str(error)
                    )
            return self.helper

    def _drop(self, helper: CompilerProcess) -> None:
        with self._lock:
            if self.helper is helper:
                self.helper = None
        helper.close()

    @staticmethod
    def _try_here(grammar: str) -> str:
        """Without a helper: try in a thread with a large stack. It cannot be cancelled."""
        found: list[str] = []
        with _stack_lock:
            before = threading.stack_size(LARGE_STACK_BYTES)
            try:
                thread = threading.Thread(
                    target=lambda: found.append(LLMatcher.validate_grammar(grammar)), daemon=True
                )
                thread.start()
            finally:
                threading.stack_size(before)
        thread.join()
        return found[0].strip()


_stack_lock = threading.Lock()  # the stack's size is a global setting


def _verdict_of(answer: dict[str, Any]) -> Verdict:
    """Convert a worker's answer."""
    died = answer.get("died")
    if died is not None:
        return Verdict(SIGNALS.get(died, f"it killed the process that compiles it ({died})"))
    if answer["problem"]:
        return Verdict(str(answer["problem"]).strip())
    if answer["compile"] > MAX_COMPILE_MS:
        return Verdict(TOO_LONG)
    return Verdict(TOO_SLOW if answer["step"] > MAX_STEP_MS else "", answer["compile"])


compiler = Compiler()
