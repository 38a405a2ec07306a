"""The resident models: who is loaded, who waits, who goes. One thread loads and unloads, one at a time.

lease        an answer asks for its model and waits; all that ask for one that loads wait for the one load
grouping     a loaded model answers all that ask for it, until another one's requests have waited `wait_s`
making room  the least recently used idle model goes; one that answers or loads never does
lingering    an idle model stays for a tenth of the time that a load takes, for the next request of a client
             that asks again at once
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from ...errors import (
    APIError,
    ModelInUse,
    ModelLoadFailed,
    ModelNotFound,
    NoRoomForModel,
    ShuttingDown,
)
from ..model_manager import LOAD_FAILED
from ..protocol import EngineInfo, Residence
from .lease import Lease
from .model import NO_LOADS, Child, Loads, Look, ResidentModel, Start, State, Status
from .room import NO_LIMIT, Held, Room, is_impossible, making_room, to_wait_for

log = logging.getLogger("openedai")

LINGERING_PART, MAX_LINGERING_S = 0.1, 1.0
WATCH_S = 1.0
"""Between two looks for processes that ended, and for models that were idle for long."""
RETRY_S = 5.0
"""After a load that failed, requests get the same error for so long, instead of another load."""
CLOSING_S = 3.0
"""How long the end waits for a model that is being loaded."""
REVOKED_S = 5.0
"""How long answers that are given up may take to end."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What the operator says of all of them."""

    room: Room = NO_LIMIT
    wait_s: float = 10.0
    """How long a request waits at most before a model that it needs the room of takes no new requests."""
    swaps: bool = True
    """Whether a request may unload another model; otherwise it is refused when there is no room."""


@dataclass(slots=True, eq=False)
class _Entry:
    """One of them, under the lock of Residents."""

    model: ResidentModel
    info: EngineInfo
    pinned: bool
    state: State = "not_loaded"
    child: Child | None = None
    running: set[Lease] = field(default_factory=set)
    waiting: list[Lease] = field(default_factory=list)
    last_used: float = 0.0
    leaving: bool = False
    """Whether it takes no new requests, so that it becomes idle and goes."""
    dismissed: bool = False
    """Whether an operator wants it unloaded."""
    loads: Loads = NO_LOADS
    progress: float | None = None
    loaded_at: float = 0.0
    failed: tuple[float, APIError] | None = None

    @property
    def status(self) -> Status:
        running, waiting = len(self.running), len(self.waiting)
        return Status(
            self.model, self.state, self.pinned, running, waiting, self.loads, self.progress
        )

    @property
    def held(self) -> Held:
        busy = self.state != "loaded" or bool(self.running)
        return Held(self.model.name, self.model.bytes, self.last_used, busy, self.pinned)


class Residents:
    """All models that may be loaded on request. Thread-safe."""

    def __init__(
        self,
        models: Iterable[ResidentModel],
        start: Start,
        rules: Rules,
        clock: Callable[[], float] = time.monotonic,
        look: Look = lambda model: model,
    ) -> None:
        """`look`: called before each load, as files change."""
        self._start, self._rules, self._clock, self._look = start, rules, clock, look
        self._entries = {each.name: _Entry(each, each.info, each.pinned) for each in models}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False

    @property
    def rules(self) -> Rules:
        return self._rules

    def names(self) -> tuple[str, ...]:
        return tuple(self._entries)

    def add(self, model: ResidentModel) -> None:
        """One more that may be loaded."""
        with self._changed:
            entry = _Entry(model, model.info, model.pinned)
            self._entries = {**self._entries, model.name: entry}

    def remove(self, name: str) -> None:
        """It is no longer among them. Call `unload` before."""
        with self._changed:
            entry = self._entries[name]
            self._entries = {key: each for key, each in self._entries.items() if key != name}
            self._refuse(entry, ModelNotFound(name))

    def info(self, name: str) -> EngineInfo:
        """What is known of it: as its process says, once it was loaded."""
        entry = self._entry(name)
        residence = Residence(entry.state, entry.model.bytes, entry.pinned, entry.progress)
        return replace(entry.info, residence=residence)

    def statuses(self) -> list[Status]:
        """All of them now."""
        with self._changed:
            return [each.status for each in self._entries.values()]

    def status(self, name: str) -> Status:
        """One of them now. Raises ModelNotFound."""
        entry = self._entry(name)
        with self._changed:
            return entry.status

    def lease(self, name: str) -> Lease:
        """A place among the requests for this model; the model is loaded for it."""
        entry = self._entry(name)
        now = self._clock()
        lease = Lease(now, partial(self._release, entry))
        with self._changed:
            if self._closed:
                lease.refuse(ShuttingDown("The server is shutting down."))
            elif entry.failed is not None and now - entry.failed[0] < RETRY_S:
                lease.refuse(entry.failed[1])
            else:
                entry.waiting.append(lease)
                self._grant(entry)
                if lease not in entry.running:
                    self._wake()
        return lease

    def load(self, name: str) -> None:
        """Load it, as a request for it would; returns when it is loaded. Raises ModelLoadFailed,
        NoRoomForModel."""
        with self.lease(name) as lease:
            while lease.wait() is None:
                pass

    def unload(self, name: str, drain_s: float) -> None:
        """Unload it; returns when its memory is free. Its answers get so many seconds to end, then they fail
        with ModelChanged. A request that comes later loads it again."""
        entry = self._entries[name]
        with self._changed:
            entry.dismissed = True
            self._wake()
            if not self._changed.wait_for(lambda: not entry.running, drain_s):
                for lease in entry.running:
                    lease.is_revoked = True
                if not self._changed.wait_for(lambda: not entry.running, REVOKED_S):
                    log.warning("%s: answers do not end, so its process is ended", name)
                    entry.running.clear()
            self._wake()
            self._changed.wait_for(lambda: self._closed or not entry.dismissed)

    def pin(self, name: str, *, pinned: bool) -> None:
        """Keep it loaded once it is, whatever else needs room; or no longer."""
        with self._changed:
            self._entries[name].pinned = pinned
            self._wake()

    def preload(self) -> None:
        """Load the pinned models, in a thread."""
        wanted = [name for name, entry in self._entries.items() if entry.pinned]
        if wanted:
            loading = partial(self._preload, wanted)
            threading.Thread(target=loading, name="openai-pinned", daemon=True).start()

    def close(self) -> None:
        """End all of them. Safe to call twice."""
        with self._changed:
            self._closed = True
            entries = list(self._entries.values())
            for entry in entries:
                self._refuse(entry, ShuttingDown("The server is shutting down."))
            self._changed.notify_all()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(CLOSING_S)
        for entry in entries:
            if entry.child is not None:
                entry.child.close()
                entry.child, entry.state = None, "not_loaded"

    def _entry(self, name: str) -> _Entry:
        entry = self._entries.get(name)
        if entry is None:  # it was deleted since the request came
            raise ModelNotFound(name)
        return entry

    def _preload(self, names: list[str]) -> None:
        for name in names:
            try:
                self.load(name)
            except APIError as error:
                log.error("%s is pinned, but not loaded: %s", name, error.message)

    def _release(self, entry: _Entry, lease: Lease) -> None:
        with self._changed:
            if lease in entry.waiting:
                entry.waiting.remove(lease)
            else:
                entry.running.discard(lease)
                entry.last_used = self._clock()
            self._changed.notify_all()

    def _wake(self) -> None:
        """Let the thread look again; it is started by the first request."""
        if self._thread is None and not self._closed:
            self._thread = threading.Thread(target=self._run, name="openai-residents", daemon=True)
            self._thread.start()
        self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                if self._closed:
                    return
                step, seconds = self._next_step(self._clock())
                if step is None:
                    self._changed.wait(seconds)
                    continue
            try:
                step()
            except Exception:  # the others must go on
                log.exception("a model could not be loaded or unloaded")

    def _next_step(self, now: float) -> tuple[Callable[[], None] | None, float | None]:
        """What to do now; otherwise how many seconds to wait at most. Called under the lock."""
        loaded = [each for each in self._entries.values() if each.child is not None]
        for entry in loaded:
            if self._must_go(entry, now):
                again = entry.pinned and not entry.dismissed and now - entry.loaded_at >= RETRY_S
                return partial(self._restart if again else self._unload, (entry,), None), None
        for entry in self._entries.values():
            entry.leaving, entry.dismissed = False, entry.dismissed and entry.child is not None
        self._changed.notify_all()
        step, seconds = self._serve_waiting(now, WATCH_S if loaded else None)
        for entry in loaded:
            self._grant(entry)
        return step, seconds

    def _must_go(self, entry: _Entry, now: float) -> bool:
        """Whether it is to be unloaded whatever else there is."""
        assert entry.child is not None
        if entry.child.has_ended():
            log.warning("%s has ended by itself", entry.model.name)
            return True
        if entry.running:
            return False
        if entry.dismissed:
            return True
        idle_s = entry.model.idle_s
        is_wanted = entry.pinned or bool(entry.waiting)
        return bool(idle_s) and not is_wanted and now - entry.last_used >= idle_s

    def _serve_waiting(
        self, now: float, seconds: float | None
    ) -> tuple[Callable[[], None] | None, float | None]:
        """Load the model whose requests have waited for longest, if there is or will be room."""
        waiting = [each for each in self._entries.values() if each.waiting and each.child is None]
        for entry in sorted(waiting, key=lambda each: each.waiting[0].since):
            held = [each.held for each in self._entries.values() if each.child is not None]
            size, room = entry.model.bytes, self._rules.room
            going = making_room(size, held, room)
            if going == ():
                return partial(self._load, entry), None
            if not self._rules.swaps or is_impossible(size, held, room):
                self._refuse(entry, self._no_room(entry))
                continue
            due = entry.waiting[0].since + self._rules.wait_s
            if going is not None:
                ready = max(self._lingers_until(each, entry) for each in going)
                if now >= min(ready, due):
                    return self._making_room(going, entry), None
                due = min(ready, due)
            elif now >= due:
                for each in to_wait_for(size, held, room):
                    self._entries[each.name].leaving = True
                break
            seconds = due - now if seconds is None else min(seconds, due - now)
        return None, seconds

    def _making_room(self, going: Iterable[Held], wanted: _Entry) -> Callable[[], None]:
        entries = [self._entries[each.name] for each in going]
        for entry in entries:
            entry.leaving = True
        return partial(self._unload, entries, wanted)

    def _lingers_until(self, held: Held, wanted: _Entry) -> float:
        load_s = max(wanted.loads.last_s, self._entries[held.name].loads.last_s)
        return held.last_used + min(LINGERING_PART * load_s, MAX_LINGERING_S)

    def _grant(self, entry: _Entry) -> None:
        """Give the model to all that wait for it, if it is there and stays."""
        child = entry.child
        if child is None or entry.leaving or entry.dismissed or child.has_ended():
            return
        for lease in entry.waiting:
            entry.running.add(lease)
            lease.grant(child)
        entry.waiting.clear()

    def _refuse(self, entry: _Entry, refusal: APIError) -> None:
        for lease in entry.waiting:
            lease.refuse(refusal)
        entry.waiting.clear()

    def _no_room(self, entry: _Entry) -> NoRoomForModel:
        name = entry.model.name
        if not self._rules.swaps:
            return NoRoomForModel(
                f"{name} is not loaded, and other models take the room that it needs."
            )
        return NoRoomForModel(
            f"{name} cannot be loaded: beside the models that stay loaded there is no room for it."
        )

    def _load(self, entry: _Entry) -> None:
        name = entry.model.name
        with self._changed:
            entry.state, entry.dismissed, entry.progress = "loading", False, None
        began = self._clock()
        try:
            if self._has_grown(entry):
                return
            log.info("loading %s", name)
            child = self._start(entry.model, partial(self._report, entry))
            found = child.engine.info
        except (ModelInUse, ModelLoadFailed) as error:
            self._failed(entry, error)
            return
        except Exception as error:  # whatever it is, requests must not wait for ever
            # The message may contain a path, which is for the log only.
            log.error("%s could not be loaded: %s", name, error)
            self._failed(entry, ModelLoadFailed(LOAD_FAILED))
            return
        with self._changed:
            if is_late := self._closed:
                entry.state = "not_loaded"
            else:
                now = self._clock()
                entry.child, entry.state, entry.failed = child, "loaded", None
                entry.info = replace(
                    entry.model.info,
                    context_length=found.context_length,
                    capabilities=found.capabilities,
                )
                entry.last_used, entry.loaded_at = now, now
                entry.loads, entry.progress = entry.loads.with_one(now - began), None
                self._grant(entry)
        if is_late:
            child.close()
            return
        log.info("%s is loaded (%.1f s)", name, entry.loads.last_s)

    def _has_grown(self, entry: _Entry) -> bool:
        """Whether its files need more room than they did when it was made for them. Raises ModelLoadError."""
        before, now = entry.model, self._look(entry.model)
        with self._changed:
            entry.model, entry.info = now, now.info
            if now.bytes > before.bytes:
                entry.state = "not_loaded"
        return now.bytes > before.bytes

    def _report(self, entry: _Entry, progress: float) -> None:
        with self._changed:
            if entry.state == "loading":
                entry.progress = progress

    def _failed(self, entry: _Entry, refusal: APIError) -> None:
        with self._changed:
            entry.state, entry.failed = "not_loaded", (self._clock(), refusal)
            entry.loads, entry.progress = entry.loads.with_failure(), None
            self._refuse(entry, refusal)

    def _restart(self, entries: Sequence[_Entry], wanted: None) -> None:
        """Load pinned models again, whose processes have ended."""
        self._unload(entries, wanted)
        names = [each.model.name for each in entries]
        loading = partial(self._preload, names)
        threading.Thread(target=loading, name="openai-pinned", daemon=True).start()

    def _unload(self, entries: Iterable[_Entry], wanted: _Entry | None) -> None:
        """Unload these; `wanted`: the model that needs the room. One that has begun to answer again stays."""
        for entry in entries:
            with self._changed:
                child = entry.child
                if child is None or (entry.running and not child.has_ended()):
                    return
                entry.child, entry.state = None, "unloading"
            reason = "" if wanted is None else f", for {wanted.model.name}"
            log.info("unloading %s%s", entry.model.name, reason)
            try:
                child.close()
            finally:
                with self._changed:
                    entry.state, entry.dismissed = "not_loaded", False
                    self._changed.notify_all()
