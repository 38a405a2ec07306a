"""Compiles grammars in a process of its own: run as a script, by `compiler.py`, and never imported.

What llguidance makes of a hostile grammar (no end, no memory left, a stack that overflows) ends a child of
this process, or this process, and nothing else. Each line of its input is one JSON object:

    {"path": [...], "stack": 1048576}                       first of all: where packages are found
    {"vocabulary": ["a", "b", ...], "end": 1}               bytes as Latin-1; from now on
    {"id": 7, "grammar": "start: ...", "ms": 250}           try it, for so much CPU time

and each line of its output, apart from "ready", the result of one: {"id": 7, "problem": "", "compile": 1.2,
"step": 0.3}, times in ms, or {"id": 7, "died": "SIGSEGV"}.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import select
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CAN_FORK = hasattr(os, "fork")
MAX_CHILDREN = 8
QUICK_MS = 100.0  # of CPU time; a grammar that may take more is compiled at low priority
SHORT_CHARACTERS = 4_096  # the same for a longer one
LOW_PRIORITY = 10
MAX_MEMORY_BYTES = 768 << 20  # of address space that one grammar may take beyond what there is
MAX_WALKS, MAX_WALK_STEPS = 3, 24  # how many ways through a grammar are tried, and how far
MAX_WALK_MS = 60.0  # of CPU time, after which the tour is over
MAX_PROBLEM_CHARACTERS = 600
# A part of what the engine's library spends at most on one step, as its version differs and random ways do
# not lead everywhere: what comes near to its limits here might be given up in the middle of an answer there.
STEP_FUEL, STEP_ITEMS = 50_000, 25_000
NO_ANSWER = "no answer matches it, as it goes on for ever"


class GreedyTokenizer:
    """A tokenizer as llguidance takes one. Forced texts are cut greedily, which is near enough."""

    is_tokenizer_wrapper = True
    bos_token_id = None

    def __init__(self, tokens: list[bytes], end: int) -> None:
        self.tokens = tokens
        self.eos_token_id = end
        self.special_token_ids = [end]
        self._ids = {token: at for at, token in reversed(list(enumerate(tokens))) if token}
        self._longest = min(32, max(map(len, tokens), default=1))

    def __call__(self, text: Any) -> list[int]:
        data, at, found = text if isinstance(text, bytes) else text.encode(), 0, []
        while at < len(data):
            for length in range(min(self._longest, len(data) - at), 0, -1):
                token = self._ids.get(data[at : at + length])
                if token is not None:
                    found.append(token)
                    break
            else:
                length = 1
            at += length
        return found


class Worker:
    """Tries grammars with one tokenizer."""

    def __init__(self, stack: int) -> None:
        from llguidance import LLMatcher, LLParserLimits, LLTokenizer

        self._limits = LLParserLimits(step_lexer_fuel=STEP_FUEL, step_max_items=STEP_ITEMS)
        self._matcher, self._tokenizer = LLMatcher, LLTokenizer
        self._bytes = LLTokenizer("byte")
        self._words = self._bytes
        self._stack = stack

    def learn(self, tokens: list[str], end: int) -> None:
        """Use this vocabulary from now on; an empty one is that of all bytes."""
        if not tokens:
            self._words = self._bytes
            return
        words = GreedyTokenizer([token.encode("latin-1") for token in tokens], end)
        self._words = self._tokenizer(words)  # type: ignore[arg-type]  # as it looks from there

    def attempt(self, grammar: str) -> dict[str, Any]:
        """Compile a grammar, and follow it for some steps, in a thread with a small stack."""
        found: dict[str, Any] = {"problem": "It could not be read."}

        def run() -> None:
            try:
                found.update(self._attempt(grammar))
            except BaseException as error:  # a panic of the library's is one
                found["problem"] = str(error)[:MAX_PROBLEM_CHARACTERS] or type(error).__name__

        threading.stack_size(self._stack)
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        return found

    def _attempt(self, grammar: str) -> dict[str, Any]:
        # By bytes first: so an answer is matched once more, and tokens that stand for no text are refused.
        byte_matcher = self._matcher(self._bytes, grammar, log_level=0)
        if byte_matcher.is_error():
            return {"problem": byte_matcher.get_error()[:MAX_PROBLEM_CHARACTERS]}
        began = time.thread_time()
        matcher = self._matcher(self._words, grammar, log_level=0, limits=self._limits)
        compiled = time.thread_time() - began
        if matcher.is_error():
            return {"problem": matcher.get_error()[:MAX_PROBLEM_CHARACTERS]}
        if compiled < 1.0:
            step, problem = self._tour(matcher)
        else:
            step, problem = 0.0, ""
        return {"problem": problem, "compile": 1000 * compiled, "step": 1000 * step}

    def _tour(self, matcher: Any) -> tuple[float, str]:
        """The longest step, in seconds, and what went wrong at one, on random ways through the grammar."""
        dice, worst = random.Random(0), 0.0
        end = time.thread_time() + MAX_WALK_MS / 1000
        for _ in range(MAX_WALKS):
            for at in range(MAX_WALK_STEPS):
                began = time.thread_time()
                mask = matcher.compute_bitmask()
                worst = max(worst, time.thread_time() - began)
                token = None if matcher.is_error() else _any_of(mask, dice)
                dead = token is None and not matcher.is_error() and not matcher.is_accepting()
                if dead and at == 0:
                    return worst, NO_ANSWER
                if token is not None:
                    matcher.consume_token(token)
                    worst = max(worst, time.thread_time() - began)
                if matcher.is_error():  # at a token that it has just allowed
                    return worst, str(matcher.get_error())[:MAX_PROBLEM_CHARACTERS]
                if token is None or matcher.is_stopped():
                    break
                if time.thread_time() > end:
                    return worst, ""
            if not matcher.reset():
                break
        return worst, ""


def _any_of(mask: bytes, dice: random.Random) -> int | None:
    """One of the tokens in a mask; one that is short is likelier, as low numbers often are."""
    start = 0 if dice.random() < 0.5 else dice.randrange(len(mask))
    for at in (*range(start, len(mask)), *range(start)):
        if mask[at]:
            bits: list[int] = [bit for bit in range(8) if mask[at] >> bit & 1]
            token: int = 8 * at + dice.choice(bits)
            return token
    return None


def _say(answer: dict[str, Any]) -> None:
    """One line, short enough to be written as a whole beside those of other children."""
    os.write(1, json.dumps(answer, ensure_ascii=False).encode(errors="replace") + b"\n")


def _limit(milliseconds: float) -> None:
    """End this process by a signal when it takes too much time or memory."""
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError, ValueError):  # not every system counts it
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[0]
        now = int(pages) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + MAX_MEMORY_BYTES, now + MAX_MEMORY_BYTES))
    signal.setitimer(signal.ITIMER_PROF, milliseconds / 1000)


def _fork(worker: Worker, job: dict[str, Any]) -> int:
    child = os.fork()
    if child:
        return child
    try:
        if job["ms"] > QUICK_MS or len(job["grammar"]) > SHORT_CHARACTERS:
            os.nice(LOW_PRIORITY)
        _limit(job["ms"])
        _say({"id": job["id"], **worker.attempt(job["grammar"])})
    finally:
        os._exit(0)


def _reap(children: dict[int, int], *, wait: bool) -> None:
    """Report children that were ended; with `wait` until there is room for one more."""
    while children:
        ended, status = os.waitpid(-1, 0 if wait else os.WNOHANG)
        if not ended:
            return
        job = children.pop(ended, None)
        if os.WIFSIGNALED(status) and job is not None:
            _say({"id": job, "died": signal.Signals(os.WTERMSIG(status)).name})
        wait = wait and len(children) >= MAX_CHILDREN


def _jobs(children: dict[int, int]) -> Iterator[dict[str, Any]]:
    """What is asked, until there is no more; children that end meanwhile are reported at once."""
    reading = -1
    if CAN_FORK:
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        signal.set_wakeup_fd(writing)
        signal.signal(signal.SIGCHLD, lambda *_: None)
    held = b""
    while True:
        if CAN_FORK:
            ready, _, _ = select.select([0, reading], [], [])
            if reading in ready:
                os.read(reading, 512)
                _reap(children, wait=False)
            if 0 not in ready:
                continue
        data = os.read(0, 1 << 20)
        if not data:
            return
        *lines, held = (held + data).split(b"\n")
        yield from map(json.loads, lines)


def main() -> None:
    """Read jobs until there are no more."""
    children: dict[int, int] = {}
    jobs = _jobs(children)
    first = next(jobs)
    sys.path[:] = first["path"]
    worker = Worker(first["stack"])
    os.write(1, b"ready\n")
    for job in jobs:
        if "vocabulary" in job:
            worker.learn(job["vocabulary"], job["end"])
        elif CAN_FORK:
            _reap(children, wait=len(children) >= MAX_CHILDREN)
            children[_fork(worker, job)] = job["id"]
        else:
            _say({"id": job["id"], **worker.attempt(job["grammar"])})


if __name__ == "__main__":
    main()
