"""Runs the batches in the store: looks through their files, answers their lines, ends them.

One thread decides; each line that is answered has a thread, and looking through files and ending batches have
one together. It runs while there is anything to do; in a server that keeps its store, always, as
another server or a restart may have left something.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import orjson

from ...errors import APIError, StoredObjectNotFound, StoreUnavailable
from ..services import Services
from .line_requests import LineNotYet, LineRequests, LineStopped, LineYielded, caller_of
from .line_threads import LineThreads

if TYPE_CHECKING:
    from ...state.stored_batch import Batch, IndexedLine, LineResult
    from .line_requests import LineAnswer

log = logging.getLogger("openedai")

AGAIN_S = 1.0
"""After what failed in the store."""
MAX_FAILURES = 5
"""Of the engine, at the same line: it may be what makes the engine fail."""
MAX_YIELDS = 3
"""How often a line gives its slot to another request, and begins again."""
SOON_S = 0.2
"""Between two tries to end the same batch, or to find its last lines."""


@dataclass(frozen=True, slots=True)
class BatchTimes:
    """Seconds."""

    look: float = 1.0
    """Between two looks at the store while there are batches: others may have cancelled one."""
    look_idle: float = 5.0
    renewal: float = 2.0


@dataclass(slots=True, eq=False)
class _OpenLine:
    """A line that is being answered here."""

    batch: Batch
    line: IndexedLine
    stopped: bool = False
    yields: int = 0
    """How often it gave its slot to another request."""


@dataclass(slots=True)
class _State:
    """What the threads share, under one lock."""

    batches: list[Batch] = field(default_factory=list)
    looked: float = 0.0
    renewed: float = 0.0
    open: set[_OpenLine] = field(default_factory=set)
    empty: set[int] = field(default_factory=set)
    """Batches whose lines are all claimed."""
    later: dict[int, float] = field(default_factory=dict)
    """When lines of batches may begin again whose key is at a limit."""
    tend_later: dict[int, float] = field(default_factory=dict)
    """When batches may be tried to be ended again, of which lines are still answered."""
    failures: Counter[tuple[int, int]] = field(default_factory=Counter)
    """How often the engine failed, by batches and numbers of lines."""
    served: dict[int, int] = field(default_factory=dict)
    """When each batch had its last turn."""
    turns: int = 0
    tended: Batch | None = None
    """That which is looked through or ended now."""


class BatchRunner:
    """Of one server. Thread-safe."""

    def __init__(
        self, services: Services, requests: LineRequests, times: BatchTimes = BatchTimes()
    ) -> None:
        self._services, self._requests, self._times = services, requests, times
        self._holder = secrets.token_hex(8)
        self._threads = LineThreads(self._answer)
        self._changed = threading.Condition()
        self._state = _State()
        self._news = False
        self._running = False
        self._polls = False
        self._stopped = False

    def start(self) -> None:
        """The server runs: go on with what is in the store, and look for more from now on."""
        self._polls = True
        if self._services.store.keeps:
            self.wake()

    def wake(self) -> None:
        """A batch was made, or changed."""
        with self._changed:
            self._state.looked, self._news = 0.0, True
            if not self._running and not self._stopped:
                threading.Thread(target=self._run, name="openai-batches", daemon=True).start()
                self._running = True  # it waits for this lock
            self._changed.notify_all()

    def stop(self, seconds: float) -> None:
        """The server ends: lines under way are left to its restart."""
        with self._changed:
            self._stopped = True
            for each in self._state.open:
                each.stopped = True
            self._changed.notify_all()
        self.wait(seconds)

    def wait(self, seconds: float) -> bool:
        """Whether there is nothing to do, within this time; not in a server that runs."""
        with self._changed:
            return self._changed.wait_for(self._has_ended, seconds)

    def _has_ended(self) -> bool:
        return not (self._running or self._state.open or self._state.tended)

    def _run(self) -> None:
        pause = 0.0
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._news or self._stopped, pause)
                self._news = False
                if self._stopped or self._is_idle():
                    self._running = False
                    self._changed.notify_all()
                    return
            try:
                pause = self._round()
            except StoreUnavailable:
                pause = AGAIN_S  # it is in the log
            except Exception:
                log.exception("batches could not be looked after")
                pause = AGAIN_S

    def _is_idle(self) -> bool:
        state = self._state
        there = state.batches or state.open or state.tended or not state.looked
        return not self._polls and not there

    def _round(self) -> float:
        """Begin what may begin; seconds until the next look."""
        if not self._services.store.is_there:  # another server may make it
            return self._times.look_idle
        state, store, now = self._state, self._services.store.batches, time.monotonic()
        if now - state.looked >= self._times.look:
            state.looked = now
            self._look(store.active())
        if now - state.renewed >= self._times.renewal and (state.open or state.tended):
            state.renewed = now
            with self._changed:
                held = [(each.batch, each.line.number) for each in state.open]
            store.lines.renew(self._holder, held, [state.tended] if state.tended else ())
        if (batch := self._next()) is None:
            return self._pause()
        # Some lines only: when they were short, their successors must not keep others from their turn, nor
        # claims from their renewal.
        self._claim(batch)
        return 0.0

    def _claim(self, batch: Batch) -> None:
        """Begin lines of a batch, but no more than half of those that may begin."""
        state = self._state
        most = 1 + max(0, self._services.settings.batch_lines - len(state.open)) // 2
        lines = self._services.store.batches.lines.claim(batch, self._holder, most)
        if len(lines) < most:
            state.empty.add(batch.seq)
        mine = self._answered(batch)
        if not lines and not mine:
            # It has ended, or other servers answer its last lines.
            state.looked, state.later[batch.seq] = 0.0, time.monotonic() + SOON_S
        for line in lines:
            # On a machine that stood still a claim may have run out whose line is still answered here.
            if line.number not in mine:
                self._begin(batch, line)

    def _pause(self) -> float:
        """Seconds until there may be something to do."""
        state = self._state
        if self._is_idle() or not state.looked:
            return 0.0
        if not state.batches:
            return self._times.look_idle
        now, later = time.monotonic(), (*state.later.values(), *state.tend_later.values())
        return min((self._times.look, *(each - now for each in later if each > now)))

    def _answered(self, batch: Batch) -> set[int]:
        """The numbers of its lines that are answered here."""
        with self._changed:
            open = self._state.open
            return {each.line.number for each in open if each.batch.seq == batch.seq}

    def _look(self, batches: list[Batch]) -> None:
        """What there is now."""
        state, now = self._state, int(time.time())
        with self._changed:
            state.batches = batches
            state.empty.clear()
            running = {
                each.seq for each in batches if each.status == "in_progress" and each.ends > now
            }
            for line in state.open:
                line.stopped = line.stopped or line.batch.seq not in running
            state.served = {each.seq: state.served.get(each.seq, 0) for each in batches}
            for ended in [each for each in state.failures if each[0] not in state.served]:
                del state.failures[ended]
            for times in (state.later, state.tend_later):
                for seq in times.keys() - state.served.keys():
                    del times[seq]
        if state.tended is None:
            self._begin_tending([each for each in batches if each.seq not in running])

    def _begin_tending(self, batches: list[Batch]) -> None:
        """Look through the file of the first batch that is for this server, or end it."""
        state, now = self._state, time.monotonic()
        for batch in batches:
            is_now = state.tend_later.get(batch.seq, 0.0) <= now
            if is_now and self._services.store.batches.hold(batch, self._holder):
                state.tended = batch
                begun = threading.Thread(
                    target=self._tend, args=(batch,), name="openai-batch", daemon=True
                )
                try:
                    begun.start()
                except RuntimeError:  # there are too many
                    state.tended = None
                    raise
                return

    def _next(self) -> Batch | None:
        """Whose turn it is: the owner with the fewest lines under way for its weight, and of its batches the
        one with the fewest, which had its last turn before the others. None: nothing may begin now."""
        state, now = self._state, time.monotonic()
        if self._stopped or self._services.active_requests.is_draining:
            return None
        with self._changed:
            if len(state.open) >= self._services.settings.batch_lines:
                return None
            of_owner = Counter(each.batch.owner for each in state.open)
            of_batch = Counter(each.batch.seq for each in state.open)
        waiting = [
            each
            for each in state.batches
            if each.status == "in_progress"
            and not each.paused
            and each.ends > time.time()
            and each.seq not in state.empty
            and state.later.get(each.seq, 0.0) <= now
        ]

        def rank(batch: Batch) -> tuple[float, int, int]:
            weight = batch.caller["weight"]
            return of_owner[batch.owner] / weight, of_batch[batch.seq], state.served[batch.seq]

        chosen = min(waiting, key=rank, default=None)
        if chosen is not None:
            state.turns += 1
            state.served[chosen.seq] = state.turns
        return chosen

    def _begin(self, batch: Batch, line: IndexedLine) -> None:
        with self._changed:
            open_line = _OpenLine(batch, line, stopped=self._stopped)
            self._state.open.add(open_line)
        try:
            self._threads.begin(open_line)
        except RuntimeError:  # there are too many
            with self._changed:
                self._state.open.discard(open_line)
            self._release(open_line)
            raise

    def _answer(self, open_line: _OpenLine) -> None:
        batch, line = open_line.batch, open_line.line
        try:
            result = self._result(open_line)
            self._keep(open_line, result)
        except LineStopped:
            self._release(open_line)
        except LineNotYet as error:
            self._state.later[batch.seq] = time.monotonic() + error.seconds
            self._release(open_line)
        except StoredObjectNotFound:
            self._give_up(open_line)
        except StoreUnavailable:
            self._state.later[batch.seq] = time.monotonic() + AGAIN_S
        except Exception:
            log.exception("line %d of a batch could not be answered", line.number)
            self._state.later[batch.seq] = time.monotonic() + AGAIN_S
            self._release(open_line)
        finally:
            with self._changed:
                self._state.open.discard(open_line)
                self._news = True
                # Then its batch has ended, perhaps, or can be ended.
                if open_line.stopped or batch.seq in self._state.empty:
                    self._state.looked = 0.0
                self._changed.notify_all()

    def _result(self, open_line: _OpenLine) -> LineResult:
        """Raises LineStopped, LineNotYet, StoredObjectNotFound for a file that is gone."""
        from ...state.batch_users import people_of
        from ...state.stored_batch import LineResult
        from .results import answered, tokens_of, unanswered

        line, request = open_line.line, self._request(open_line.batch, open_line.line)
        if request is None:
            said = unanswered(None, "erased")
            return LineResult(line.number, said, False, length=line.length)
        try:
            answer = self._answered_request(open_line, request["body"])
        except LineNotYet as error:
            if error.failed is None or not self._has_failed_often(open_line):
                raise
            answer = error.failed
        written = answered(request["custom_id"], answer)
        people = people_of(request["body"])
        used, is_good = tokens_of(answer), answer.status < 400
        return LineResult(line.number, written, is_good, used, people, line.length)

    def _answered_request(self, open_line: _OpenLine, body: dict[str, Any]) -> LineAnswer:
        """Raises LineStopped, LineNotYet."""
        batch, services = open_line.batch, self._services

        def stopped() -> bool:
            return open_line.stopped or services.active_requests.is_draining

        about = (caller_of(batch.caller), batch.endpoint, body, stopped)
        while True:
            try:
                return self._requests.answer(*about, yields=open_line.yields < MAX_YIELDS)
            except LineYielded:
                open_line.yields += 1

    def _has_failed_often(self, open_line: _OpenLine) -> bool:
        failures, line = self._state.failures, (open_line.batch.seq, open_line.line.number)
        with self._changed:
            failures[line] += 1
            return failures[line] >= MAX_FAILURES

    def _request(self, batch: Batch, line: IndexedLine) -> dict[str, Any] | None:
        """None: it was erased."""
        from .input_file import BOM

        files = self._services.store.files
        parts = files.read(batch.owner, batch.input_file, line.at, line.length)
        said = b"".join(parts).removeprefix(BOM)
        return orjson.loads(said) if said.strip() else None

    def _keep(self, open_line: _OpenLine, result: LineResult) -> None:
        """Keep a result, also if the store fails for a while: it has cost something."""
        while True:
            try:
                store = self._services.store.batches
                if not store.lines.keep(open_line.batch, self._holder, result):
                    log.warning("a line was answered by another server meanwhile, or erased")
                    self._release(open_line)
                return
            except StoreUnavailable:
                if self._stopped:
                    return
                time.sleep(AGAIN_S)

    def _release(self, open_line: _OpenLine) -> None:
        try:
            self._services.store.batches.lines.release(
                open_line.batch, self._holder, open_line.line.number
            )
        except StoreUnavailable:
            pass  # it is in the log; the claim runs out

    def _give_up(self, open_line: _OpenLine) -> None:
        """Its file is gone: so is the batch, or the lines that are left cannot be answered."""
        from .results import input_gone

        with self._changed:
            for each in self._state.open:
                each.stopped = each.stopped or each.batch.seq == open_line.batch.seq
        try:
            self._services.store.batches.fail(open_line.batch, [input_gone(open_line.batch)])
        except StoreUnavailable:
            self._release(open_line)

    def _tend(self, batch: Batch) -> None:
        """Look through a batch's file, or end it."""
        from .ending import Ending
        from .indexing import Index, Stopped

        store, services = self._services.store, self._services
        stopped: Callable[[], bool] = partial(self._unwanted, batch)
        given = (store.files, store.batches, batch, self._holder)
        try:
            if batch.status == "validating":
                max_line = services.settings.max_body_mb << 20
                Index(*given, max_line=max_line, stopped=stopped).make()
            else:
                Ending(*given, stopped=stopped).make()
        except (Stopped, StoreUnavailable):
            pass  # what failed in the store is in the log
        except Exception:
            log.exception("a batch could not be looked after")
        finally:
            try:
                store.batches.let_go(batch, self._holder)
            except (StoreUnavailable, APIError):
                pass  # it is in the log; the claim runs out
            with self._changed:
                # Where lines of it are still answered, it is not ended yet.
                self._state.tend_later[batch.seq] = time.monotonic() + SOON_S
                self._state.tended = None
            self.wake()

    def _unwanted(self, batch: Batch) -> bool:
        if self._stopped or self._services.active_requests.is_draining:
            return True
        return not any(
            each.seq == batch.seq and each.status == batch.status for each in self._state.batches
        )
