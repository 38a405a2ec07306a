"""Whether a grammar can be enforced, found out in a process of its own (`worker.py`).

The library that enforces grammars recurses on the stack of the thread that compiles one, needs time and
memory without bound for some, and the engine compiles each on the only thread that all answers share. So each
grammar is compiled in a helper process first, with less stack than the server's threads have, little time and
little memory; only small and plain ones are read right here (`simple_grammars.py`). What ends the helper is
refused; what passes is safe here, and quick enough for the engine's thread. Results are remembered: a grammar
that comes again costs nothing.
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

QUICK_MS = 40.0  # of CPU time, which nearly all grammars need less of
MAX_CPU_MS = 200.0  # for one that needs more, after which the helper gives it up
MAX_COMPILE_MS = 70.0  # that the engine's thread would stand still
MAX_STEP_MS = 30.0  # the same, for each token
MAX_WALL_S = 20.0  # on a machine that is busy with other things
MAX_AT_ONCE, MAX_SLOW_AT_ONCE, MAX_WAITING = 2, 1, 64
MAX_REMEMBERED = 1024  # results
LARGE_STACK_BYTES = 64 << 20  # bytes

TOO_LONG = "it takes too long to compile, which would hold up all other answers"
TOO_DEEP = "it is nested too deeply, or refers to itself over too many steps"
TOO_LARGE = "it takes too much memory"
TOO_SLOW = (
    "finding out which tokens may come next takes too long, which would slow all other answers"
)
COSTS = (TOO_LONG, TOO_DEEP, TOO_LARGE, TOO_SLOW)
SIGNALS = {"SIGPROF": TOO_LONG, "SIGXCPU": TOO_LONG, "SIGSEGV": TOO_DEEP, "SIGBUS": TOO_DEEP,
           "SIGABRT": TOO_LARGE, "SIGKILL": TOO_LARGE}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of trying a grammar."""

    problem: str
    """Empty for a good one."""
    milliseconds: float = 0.0
    """Of CPU time that compiling it takes."""


class Compiler:
    """Finds out what is wrong with grammars. Thread-safe; `compiler` is the one of the process."""

    def __init__(self, python: str | None = None, *, most_waiting: int = MAX_WAITING) -> None:
        self._python = sys.executable if python is None else python
        self._known: OrderedDict[bytes, Verdict] = OrderedDict()
        self._lock = threading.Lock()
        # So that no one waits for those that take long.
        self._quick, self._slow = ShortestFirst(MAX_AT_ONCE), ShortestFirst(MAX_SLOW_AT_ONCE)
        self._pace = Pace()
        self._most_waiting = most_waiting
        self.waiting = 0
        """How many grammars are being tried, or wait for it."""
        self.helper: CompilerProcess | None = None
        """The process, where one is needed so far and runs."""
        self._alone = False
        """Whether there can be no helper."""

    def problem(
        self, grammar: str, vocabulary: Vocabulary | None = None
    ) -> Generator[None, None, str]:
        """What is wrong with a grammar; empty for a good one, when the engine may be given it. Yields at
        least every TICK_S until then; closing the generator gives it up. Raises QueueFull, EngineFailed."""
        if is_simple(grammar):
            return read_here(grammar)
        verdict = yield from self.verdict(grammar, vocabulary)
        if not verdict.problem:
            yield from self._pace.wait(verdict.milliseconds / 1000)
        return verdict.problem

    def verdict(
        self, grammar: str, vocabulary: Vocabulary | None = None
    ) -> Generator[None, None, Verdict]:
        """What comes of trying a grammar, or came of it before; otherwise as `problem`."""
        key = sha256(
            f"{id(vocabulary and vocabulary.tokens)} {grammar}".encode(errors="replace")
        ).digest()
        with self._lock:
            known = self._known.get(key)
            if known is not None:
                self._known.move_to_end(key)
                return known
            if self.waiting >= self._most_waiting:
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
            if len(self._known) > MAX_REMEMBERED:
                self._known.popitem(last=False)
        return found

    def close(self) -> None:
        """End the helper; the next grammar starts another one."""
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
            return (yield from self._found(grammar, vocabulary, milliseconds))
        finally:
            lane.leave()

    def _found(
        self, grammar: str, vocabulary: Vocabulary | None, milliseconds: float
    ) -> Generator[None, None, Verdict]:
        for _ in range(2):  # a helper may have been ended from outside
            helper = self._started()
            if helper is None:
                break
            job = helper.send(grammar, vocabulary, milliseconds)
            while not job.done.wait(TICK_S):
                if time.monotonic() - job.sent > MAX_WALL_S:
                    self._drop(helper)
                    return Verdict(TOO_LONG)
                yield
            if job.answer is not None:
                return _judged(job.answer)
            self._drop(helper)
            if not helper.ready:
                self._alone = True
                log.warning("constraints are checked in this process: the helper does not start")
            elif not helper.forks:
                return Verdict(TOO_DEEP)  # this very job has ended it
        if self._alone:
            return Verdict(self._found_here(grammar))
        raise EngineFailed(
            "The process that checks constraints ended unexpectedly. Please try again."
        )

    def _started(self) -> CompilerProcess | None:
        with self._lock:
            if self.helper is None and not self._alone:
                try:
                    self.helper = CompilerProcess(self._python)
                except OSError as error:
                    self._alone = True
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
    def _found_here(grammar: str) -> str:
        """Where there can be no helper: in a thread with much stack. It cannot be given up."""
        found: list[str] = []
        with _stack:
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


_stack = threading.Lock()  # its size is one setting for all threads


def _judged(answer: dict[str, Any]) -> Verdict:
    """What a worker's answer comes to."""
    died = answer.get("died")
    if died is not None:
        return Verdict(SIGNALS.get(died, f"it ended the process that compiles it ({died})"))
    if answer["problem"]:
        return Verdict(str(answer["problem"]).strip())
    if answer["compile"] > MAX_COMPILE_MS:
        return Verdict(TOO_LONG)
    return Verdict(TOO_SLOW if answer["step"] > MAX_STEP_MS else "", answer["compile"])


compiler = Compiler()
