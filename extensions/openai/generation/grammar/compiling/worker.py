"""Compiles grammars in a separate process: `compiler.py` runs it as a script, and never imports it.

A hostile grammar (endless compilation, exhausted memory, stack overflow) can only kill this process or a
child of it. Each line of its input is one JSON object:

    {"path": [...], "stack": 1048576}                       first: where packages are found
    {"vocabulary": ["a", "b", ...], "end": 1}               bytes as Latin-1; from now on
    {"id": 7, "grammar": "start: ...", "ms": 250}           try it, for this CPU time at most

and each line of its output, except "ready", is one result: {"id": 7, "problem": "", "compile": 1.2,
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
MAX_MEMORY_BYTES = 768 << 20  # of additional address space for one grammar
MAX_WALKS, MAX_WALK_STEPS = 3, 24  # random walks through a grammar, and steps of each
MAX_WALK_MS = 60.0  # of CPU time, for all walks
MAX_PROBLEM_CHARACTERS = 600
# Below the limits of the engine's library for one step: its version differs, and random walks do not reach
# everything, so a grammar near the limits here might fail there in the middle of an answer.
STEP_FUEL, STEP_ITEMS = 50_000, 25_000
NO_ANSWER = "no answer matches it, because it never ends"


class GreedyTokenizer:
    """A tokenizer with llguidance's interface. It splits forced texts greedily, which is good enough here."""

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
        self._model_tokens = self._bytes
        self._stack = stack

    def set_vocabulary(self, tokens: list[str], end: int) -> None:
        """Use this vocabulary from now on; an empty one means all bytes."""
        if not tokens:
            self._model_tokens = self._bytes
            return
        tokenizer = GreedyTokenizer([token.encode("latin-1") for token in tokens], end)
        self._model_tokens = self._tokenizer(tokenizer)  # type: ignore[arg-type]  # duck-typed

    def attempt(self, grammar: str) -> dict[str, Any]:
        """Compile a grammar, and walk through it for some steps, in a thread with a small stack."""
        found: dict[str, Any] = {"problem": "It could not be read."}

        def run() -> None:
            try:
                found.update(self._attempt(grammar))
            except BaseException as error:  # such as a panic of the library
                found["problem"] = str(error)[:MAX_PROBLEM_CHARACTERS] or type(error).__name__

        threading.stack_size(self._stack)
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        return found

    def _attempt(self, grammar: str) -> dict[str, Any]:
        # With bytes first, as answers are matched again; this refuses tokens without text.
        byte_matcher = self._matcher(self._bytes, grammar, log_level=0)
        if byte_matcher.is_error():
            return {"problem": byte_matcher.get_error()[:MAX_PROBLEM_CHARACTERS]}
        began = time.thread_time()
        matcher = self._matcher(self._model_tokens, grammar, log_level=0, limits=self._limits)
        compiled = time.thread_time() - began
        if matcher.is_error():
            return {"problem": matcher.get_error()[:MAX_PROBLEM_CHARACTERS]}
        if compiled < 1.0:
            step, problem = self._walk(matcher)
        else:
            step, problem = 0.0, ""
        return {"problem": problem, "compile": 1000 * compiled, "step": 1000 * step}

    def _walk(self, matcher: Any) -> tuple[float, str]:
        """The longest step in seconds, and the problem of one, on random walks through the grammar."""
        rng, worst = random.Random(0), 0.0
        end = time.thread_time() + MAX_WALK_MS / 1000
        for _ in range(MAX_WALKS):
            for at in range(MAX_WALK_STEPS):
                began = time.thread_time()
                mask = matcher.compute_bitmask()
                worst = max(worst, time.thread_time() - began)
                token = None if matcher.is_error() else _random_token(mask, rng)
                dead = token is None and not matcher.is_error() and not matcher.is_accepting()
                if dead and at == 0:
                    return worst, NO_ANSWER
                if token is not None:
                    matcher.consume_token(token)
                    worst = max(worst, time.thread_time() - began)
                if matcher.is_error():  # on a token that it just allowed
                    return worst, str(matcher.get_error())[:MAX_PROBLEM_CHARACTERS]
                if token is None or matcher.is_stopped():
                    break
                if time.thread_time() > end:
                    return worst, ""
            if not matcher.reset():
                break
        return worst, ""


def _random_token(mask: bytes, rng: random.Random) -> int | None:
    """A random token of a mask; prefers low ids, which are often short tokens."""
    start = 0 if rng.random() < 0.5 else rng.randrange(len(mask))
    for at in (*range(start, len(mask)), *range(start)):
        if mask[at]:
            bits: list[int] = [bit for bit in range(8) if mask[at] >> bit & 1]
            token: int = 8 * at + rng.choice(bits)
            return token
    return None


def _write(answer: dict[str, Any]) -> None:
    """Write one line, short enough to be atomic among those of other children."""
    os.write(1, json.dumps(answer, ensure_ascii=False).encode(errors="replace") + b"\n")


def _limit(milliseconds: float) -> None:
    """Have a signal end this process if it takes too much time or memory."""
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError, ValueError):  # not every system reports it
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
        _write({"id": job["id"], **worker.attempt(job["grammar"])})
    finally:
        os._exit(0)


def _reap(children: dict[int, int], *, wait: bool) -> None:
    """Report children that ended; `wait`: block until another one may start."""
    while children:
        ended, status = os.waitpid(-1, 0 if wait else os.WNOHANG)
        if not ended:
            return
        job = children.pop(ended, None)
        if os.WIFSIGNALED(status) and job is not None:
            _write({"id": job, "died": signal.Signals(os.WTERMSIG(status)).name})
        wait = wait and len(children) >= MAX_CHILDREN


def _jobs(children: dict[int, int]) -> Iterator[dict[str, Any]]:
    """The jobs from the input, until it ends; reports children that end meanwhile."""
    reading = -1
    if CAN_FORK:
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        signal.set_wakeup_fd(writing)
        signal.signal(signal.SIGCHLD, lambda *_: None)
    incomplete = b""
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
        *lines, incomplete = (incomplete + data).split(b"\n")
        yield from map(json.loads, lines)


def main() -> None:
    """Run jobs until the input ends."""
    children: dict[int, int] = {}
    jobs = _jobs(children)
    first = next(jobs)
    sys.path[:] = first["path"]
    worker = Worker(first["stack"])
    os.write(1, b"ready\n")
    for job in jobs:
        if "vocabulary" in job:
            worker.set_vocabulary(job["vocabulary"], job["end"])
        elif CAN_FORK:
            _reap(children, wait=len(children) >= MAX_CHILDREN)
            children[_fork(worker, job)] = job["id"]
        else:
            _write({"id": job["id"], **worker.attempt(job["grammar"])})


if __name__ == "__main__":
    main()
