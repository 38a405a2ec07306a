"""Moves what slots hold in and out of this machine's memory, so that a prompt's beginning is read once.

llama.cpp saves a slot to a file and restores it into any slot, exactly; both take as long as copying memory.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import orjson

from ....errors import APIError
from ...protocol import CacheCounts
from ..loading.loaded_model import LoadedModel
from .checkpoints import NONE, OFFSET, after_reading, end_before, kept, longest_sound, rewound
from .disk import Disk
from .forgotten import Forgotten
from .prompt import EMPTY, Prompt, shared_length
from .readings import Readings
from .slot_pool import History, Slot, SlotPool
from .states import State, StateFile, States

log = logging.getLogger("openedai")


class PromptCache:
    """The slots of one engine and the copies beside them. Thread-safe: only the holder of a slot uses it."""

    def __init__(
        self,
        slots: SlotPool,
        model: LoadedModel,
        *,
        limit: int,
        bytes_per_token: int,
        least: int,
        disk: Disk | None = None,
    ) -> None:
        """`limit`: bytes for copies; `least`: so many tokens are worth a copy; `disk`: where copies outlive
        this engine."""
        self.slots = slots
        self.forgotten = Forgotten()
        folder = model.listener.slots_folder
        self.states = States(folder, limit, slots.clock, self.forgotten, disk)
        self.readings = Readings()
        self.least = least
        slots.stays = self._stays
        self.has_checkpoints = model.has_checkpoints
        self._model, self._disk = model, disk
        self._bytes_per_token = bytes_per_token

    def purge(self, prompt: Prompt) -> None:
        """Make space in a shared KV cache for what answers have reserved, before one to a prompt begins.
        llama.cpp would empty any idle slot, and what that held would be lost."""
        while (slot := self.slots.take_purged()) is not None:
            try:
                with self.states.longest(prompt, more_than=self.least - 1) as wanted:
                    self.keep(slot, wanted)
                self.empty(slot)
            finally:
                self.slots.return_spare(slot)

    def load(self, slot: Slot, prompt: Prompt) -> int:
        """Bring the longest known beginning of a prompt into its slot; return how many tokens it has.

        What the slot held is kept elsewhere, if little of it is used.
        """
        own = prompt.shared_with(slot.content) if slot.tokens else 0
        if prompt.size >= own + self.least:
            with self.states.longest(prompt, more_than=own + self.least - 1) as state:
                known = own + self.least if state is None else prompt.shared_with(state.prompt) + 1
                if (copied := self._copy_idle(slot, prompt, known)) is not None:
                    self.states.hit(copied - own)
                    return copied
                if state is not None and self.states.bring(state):
                    return self._exchange(slot, state, prompt, own)
        if not self.goes_on(slot, prompt):
            self.keep(slot)
        return own

    def _copy_idle(self, slot: Slot, prompt: Prompt, least: int) -> int | None:
        """Copy what an idle slot holds into this one, if it shares `least` tokens with a prompt: that slot
        stays with its conversation. Returns how many are shared."""
        source = self.slots.take_holding(prompt, least)
        if source is None:
            return None
        try:
            if not self._stays(source, prompt):
                return None
            self.keep(slot)
            file = self._saved(source)
            content, tokens = source.content, source.tokens
            checkpoints = source.checkpoints
        finally:
            self.slots.return_spare(source)
        if file is None:
            return None
        restored = self._restore(slot, State(content, tokens, file, checkpoints))
        file.delete()
        return prompt.shared_with(content) if restored else None

    def _exchange(self, slot: Slot, state: State, prompt: Prompt, own: int) -> int:
        """Replace what the slot holds, which shares `own` tokens with the prompt, by a copy."""
        shared = prompt.shared_with(state.prompt)
        # Another conversation's copy stays: this prompt will overwrite what is its own.
        moved = not state.beginning and prompt.goes_on_with(state.prompt, self.least)
        self.keep(slot, state if moved else None)
        if not self._restore(slot, state):
            return 0
        self.states.hit(shared - own)
        if moved:
            slot.history = state.history
            self.states.moved(state)
        elif state.beginning:
            state.history.used(slot.taken)
        return shared

    def history_of(self, prompt: Prompt) -> History:
        """When the conversation was used that a prompt of a slot's new conversation belongs to."""
        if prompt.size < self.least:
            return History()
        return self.forgotten.take(prompt, self.least)

    def goes_on(self, slot: Slot, prompt: Prompt) -> bool:
        """Whether a prompt is the next turn of what the slot holds."""
        return slot.tokens > 0 and prompt.goes_on_with(slot.content, self.least)

    def keep(self, slot: Slot, wanted: State | None = None) -> None:
        """Copy the slot's content, if it is worth it: it is about to be replaced, by `wanted` or a prompt."""
        if not self._is_worth_a_copy(slot) or self.states.holds(slot.content):
            return
        if not self._save(slot, wanted, beginning=False):
            self.forgotten.add(slot.content, slot.tokens, slot.history)

    def _is_worth_a_copy(self, slot: Slot) -> bool:
        if slot.tokens < self.least or not slot.movable:
            return False
        return slot.reach is not None or not self.has_checkpoints

    def lend(self, slot: Slot, prompt: Prompt) -> None:
        """Prepare a spare slot for queries that begin with a prompt."""
        self.load(slot, prompt)
        self.settle(slot, prompt)
        if slot.tokens and slot.content.space != prompt.space:
            self.empty(slot)
        slot.content, slot.tokens, slot.movable, slot.reach = prompt, prompt.size, False, None
        slot.history = History()

    def settle(
        self, slot: Slot, prompt: Prompt, receive: Callable[[bytes], bool] = lambda _: False
    ) -> None:
        """Leave no checkpoint in the slot that misleads llama.cpp with this prompt: see `checkpoints`."""
        reach = slot.reach
        if not self.has_checkpoints or reach == EMPTY:
            return
        shared = 0
        if reach is not None and reach.space == prompt.space:
            shared = shared_length(reach.ids, prompt.ids)
        sound = shared
        if self._model.has_window:
            sound = longest_sound(min(shared, len(prompt.ids) - OFFSET), slot.checkpoints)
        if reach is not None and reach.begins(prompt) and sound == shared:
            return
        if sound <= self.least:
            self.empty(slot)
            return
        part = self.rewind(slot, prompt.cut(sound), receive)
        slot.content, slot.tokens, slot.movable = part.cut(len(part.ids) - 1), len(part.ids), True
        slot.reach = part

    def rewind(self, slot: Slot, part: Prompt, receive: Callable[[bytes], bool]) -> Prompt:
        """Drop all checkpoints of more tokens than those of `part`, with which what the slot holds begins.
        Returns what it holds then, but for the last token; that may be less."""
        while True:
            asked = Prompt(part.space, "", rewound(part.ids))
            slot.checkpoints = kept(slot.checkpoints, len(part.ids))
            start = self.read(slot, asked, {"id_slot": slot.id, "cache_prompt": True}, receive)
            if start is None or not self._model.has_window:
                return part
            if (end := end_before(start, len(part.ids))) is None:
                return part
            part = part.cut(end)

    def empty(self, slot: Slot) -> None:
        """Let the slot forget what it holds."""
        self._model.listener.ask(f"/slots/{slot.id}?action=erase", {})
        slot.content, slot.tokens, slot.movable, slot.reach = EMPTY, 0, True, EMPTY
        slot.checkpoints = NONE
        slot.history = History()

    def read(
        self,
        slot: Slot,
        prompt: Prompt,
        place: dict[str, Any],
        receive: Callable[[bytes], bool],
    ) -> int | None:
        """Read a prompt of known tokens, and no more. `place`: llama.cpp's fields for the slot; `receive`
        gets its progress and returns True to stop. Returns how many tokens were there before; None if it was
        stopped. Raises ValueError, RuntimeError."""
        start: int | None = None
        stopped = False

        def take(data: bytes) -> bool:
            nonlocal start, stopped
            progress = orjson.loads(data).get("prompt_progress")
            if start is None and progress is not None:
                start = progress["cache"]
            stopped = receive(data)
            return stopped

        body = {
            **place,
            "prompt": prompt.ids,
            "n_predict": 0,
            "stream": True,
            "timings_per_token": True,
            "return_progress": True,
        }
        self._model.complete(orjson.dumps(body), take)
        self.has_read(slot, start, None if stopped else len(prompt.ids))
        return None if stopped else start

    def has_read(self, slot: Slot, start: int | None, length: int | None) -> None:
        """Take note of the checkpoints that reading leaves in the slot. `start`: how many tokens were there;
        None: that is not known. `length`: of the prompt; None: it was not read to the end."""
        if self.has_checkpoints:
            known = after_reading(slot.checkpoints, start, length)
            if known is None:
                slot.reach = None
            else:
                slot.checkpoints = known

    def publish(self, slot: Slot, prompt: Prompt) -> bool:
        """Copy what the slot holds, all of this prompt, for others that begin so; False: there is no room."""
        slot.content, slot.tokens, slot.movable = prompt, len(prompt.ids), True
        slot.reach = prompt
        return self._save(slot, None, beginning=True)

    def counts(self) -> CacheCounts:
        return self.states.counts()

    def close(self) -> None:
        if self._disk is not None:
            for slot in self.slots.idle():
                self.keep(slot)
        self.states.close()

    def _stays(self, slot: Slot, prompt: Prompt) -> bool:
        """Whether a slot stays with its conversation, as the prompt is of another one and can have a copy of
        what both begin with."""
        fits = slot.tokens * self._bytes_per_token <= self.states.limit
        return fits and self._is_worth_a_copy(slot) and not self.goes_on(slot, prompt)

    def _save(self, slot: Slot, wanted: State | None, *, beginning: bool) -> bool:
        history = None if beginning else slot.history
        if not self.states.make_room(slot.tokens * self._bytes_per_token, wanted, history):
            return False
        if (file := self._saved(slot)) is None:
            return False
        state = State(slot.content, slot.tokens, file, slot.checkpoints, beginning)
        if beginning:
            state.history.used(slot.taken)
        else:
            state.history = slot.history
        return self.states.add(state, wanted)

    def _saved(self, slot: Slot) -> StateFile | None:
        """What a slot holds; None if llama.cpp cannot save it."""
        file = self.states.new_file()
        try:
            self._model.listener.ask(f"/slots/{slot.id}?action=save", {"filename": file.name})
        except APIError as error:
            log.debug("a slot's content was not kept: %s", error)
            file.delete()
            return None
        return file

    def _restore(self, slot: Slot, state: State) -> bool:
        assert state.file is not None
        slot.history = History()
        try:
            self._model.listener.ask(
                f"/slots/{slot.id}?action=restore", {"filename": state.file.name}
            )
        except APIError as error:
            log.debug("a slot's content was not restored: %s", error)
            slot.content, slot.tokens, slot.reach = EMPTY, 0, None
            return False
        slot.content, slot.tokens, slot.movable = state.prompt, state.tokens, True
        slot.reach = Prompt(state.prompt.space, "", state.prompt.ids)
        slot.checkpoints = state.checkpoints
        return True
