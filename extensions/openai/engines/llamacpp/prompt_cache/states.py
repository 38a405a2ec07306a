"""Copies of what slots held, in this machine's memory; those go first whose next use seems furthest away."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from ...protocol import CacheCounts
from .checkpoints import NONE, Checkpoints
from .disk import Disk, DiskState
from .forgotten import Forgotten
from .prompt import Prompt
from .slot_pool import Clock, History


@dataclass(slots=True, eq=False)
class State:
    """One copy, in a file that llama.cpp writes and reads."""

    prompt: Prompt
    tokens: int
    file: StateFile | None
    """None: it is on the disk only."""
    checkpoints: Checkpoints = NONE
    """As in `Slot`."""
    beginning: bool = False
    """Whether it was made to be shared: it is kept when a longer one is added."""
    bytes: int = 0
    """In memory."""
    readers: int = 0
    history: History = field(default_factory=History)
    stored: DiskState | None = None
    """The same on the disk."""


class StateFile:
    """A file by a name in llama.cpp's folder for slots. Where the system has files in memory it is one of
    those, which no other process sees and which ends with this one."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name, self._path = name, folder / name
        self._memory: int | None = None
        if sys.platform == "linux":
            self._memory = os.memfd_create(name)
            self._path.symlink_to(f"/proc/self/fd/{self._memory}")

    @property
    def path(self) -> Path:
        return self._path

    def size(self) -> int:
        try:
            return self._path.stat().st_size
        except FileNotFoundError:
            return 0

    def delete(self) -> None:
        self._path.unlink(missing_ok=True)
        if self._memory is not None:
            os.close(self._memory)
            self._memory = None


class States:
    """All copies of one engine. Thread-safe."""

    def __init__(
        self, folder: Path, limit: int, clock: Clock, forgotten: Forgotten, disk: Disk | None = None
    ) -> None:
        """`limit`: how many bytes they may have in memory; `forgotten` gets the histories of those that are
        dropped for others; `disk`: where they outlive this engine."""
        self.limit = limit
        self._clock, self._forgotten = clock, forgotten
        self._folder = folder
        self._states: list[State] = []
        self._lock = threading.Lock()
        self._names = count(1)
        self._hits = self._tokens = 0
        self._disk = disk
        self._from_disk = threading.Lock()
        for stored in disk.states() if disk is not None else ():
            head = stored.head
            state = State(
                head.prompt, head.tokens, None, head.checkpoints, head.beginning, stored=stored
            )
            state.history.used(clock.tick())
            self._states.append(state)

    @contextmanager
    def longest(self, prompt: Prompt, more_than: int) -> Generator[State | None, None, None]:
        """The one that shares the longest beginning with a prompt, if `more_than` so many tokens. It is not
        dropped during the `with` block."""
        with self._lock:
            found, most = None, more_than
            for state in self._states:
                shared = prompt.shared_with(state.prompt) if state.tokens > most else 0
                if shared > most:
                    found, most = state, shared
            if found is not None:
                found.readers += 1
        try:
            yield found
        finally:
            if found is not None:
                with self._lock:
                    found.readers -= 1

    def holds(self, prompt: Prompt) -> bool:
        """Whether there is a copy of all of it."""
        with self._lock:
            return any(prompt.begins(state.prompt) for state in self._states)

    def bring(self, state: State) -> bool:
        """Have a state in memory; False, and it is gone, if its file is damaged or there is no space."""
        with self._from_disk:
            if state.file is not None or state.stored is None:
                return state.file is not None
            size, file = state.stored.head.bytes, None
            if self.make_room(size):
                file = self.new_file()
                with file.path.open("wb") as target:
                    whole = state.stored.copy_to(target)
                if whole:
                    state.file, state.bytes = file, size
                    return True
                file.delete()
            with self._lock:
                self._drop(state)
            return False

    def make_room(
        self, size: int, wanted: State | None = None, history: History | None = None
    ) -> bool:
        """Drop others until `size` more bytes fit, but none that is in use; False, and none is dropped, if
        they cannot. `wanted` is going to be taken out: its bytes are free already. `history`: of what is to
        be kept; none is dropped whose next use seems nearer."""
        with self._lock:
            now = self._clock.now
            taken = 0 if wanted is None or wanted.beginning or wanted.readers > 1 else wanted.bytes
            free = self.limit - self._bytes() + taken
            nearest = 0 if history is None else history.distance(now)
            going = []
            for state in sorted(self._states, key=lambda each: -each.history.distance(now)):
                if size <= free or state.history.distance(now) < nearest:
                    break
                if not state.readers and state.file is not None:
                    free += state.bytes
                    going.append(state)
            if size > free:
                return False
            for state in going:
                self._forget(state)
            return True

    def new_file(self) -> StateFile:
        return StateFile(self._folder, f"state-{next(self._names)}")

    def add(self, state: State, wanted: State | None = None) -> bool:
        """Add one, and drop those of the same prompt's beginnings, unless they were made to be shared. False:
        it is larger than was thought, and does not fit. `wanted`: as in `make_room`."""
        assert state.file is not None
        state.bytes = state.file.size()
        if not self.make_room(state.bytes, wanted, None if state.beginning else state.history):
            state.file.delete()
            return False
        with self._lock:
            for other in list(self._states):
                covered = other.prompt.begins(state.prompt)
                if covered and not other.readers and (state.beginning or not other.beginning):
                    self._drop(other)
            self._states.append(state)
        return True

    def hit(self, tokens: int) -> None:
        """Count a copy that saved so many tokens."""
        with self._lock:
            self._hits += 1
            self._tokens += tokens

    def moved(self, state: State) -> None:
        """A slot goes on with it: it goes."""
        with self._lock:
            if state.readers == 1:
                self._drop(state)

    def counts(self) -> CacheCounts:
        with self._lock:
            return CacheCounts(
                self._bytes(), self.limit, len(self._states), self._hits, self._tokens
            )

    def close(self) -> None:
        with self._lock:
            if self._disk is not None:
                self._store(self._disk)
            for state in self._states:
                if state.file is not None:
                    state.file.delete()
            self._states.clear()

    def _store(self, disk: Disk) -> None:
        """Write those used last to the disk, as many as it may have, the last one at the end."""
        chosen, size = [], 0
        for state in sorted(self._states, key=lambda each: -each.history.last):
            size += state.bytes if state.stored is None else state.stored.head.bytes
            if size > disk.limit:
                break
            chosen.append(state)
        for state in reversed(chosen):
            if state.stored is None and state.file is not None:
                disk.write(
                    state.prompt, state.tokens, state.checkpoints, state.beginning, state.file.path
                )

    def _bytes(self) -> int:
        return sum(state.bytes for state in self._states)

    def _forget(self, state: State) -> None:
        """Have it in memory no more."""
        if state.stored is None:
            self._forgotten.add(state.prompt, state.tokens, state.history)
            self._drop(state)
        elif state.file is not None:
            state.file.delete()
            state.file, state.bytes = None, 0

    def _drop(self, state: State) -> None:
        if state in self._states:
            self._states.remove(state)
            if state.file is not None:
                state.file.delete()
            if state.stored is not None:
                state.stored.delete()
