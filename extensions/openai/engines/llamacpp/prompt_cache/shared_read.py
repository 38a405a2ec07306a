"""Reads the prompt of one answer into its slot, or waits for another that reads what both begin with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from ...callback_bridge import TICK_S
from ..stream_reader import to_api_error
from .cache import PromptCache
from .prompt import Prompt, RequestPrompt
from .readings import LEAST_SHARED, Follower, Reading
from .slot_pool import Slot


class SharedRead:
    """Used by one thread, which holds the slot."""

    def __init__(
        self, cache: PromptCache, request: RequestPrompt, slot: Slot, left: Callable[[], bool]
    ) -> None:
        """`left` is called now and then, and returns True once no client waits for the answer."""
        self.slot = slot
        self._cache, self._request, self.left = cache, request, left
        self._prompt = request.prompt
        self._reading: Reading | None = None
        self._least = LEAST_SHARED if request.choices < 2 else cache.least
        self._is_own = False
        """Whether the slot holds nothing but what this answer has read or may use."""
        self._goes_on = False
        """Whether that goes on with what the slot held."""
        self.went_on = False
        """Whether llama.cpp was asked to read more in this slot than the prompt."""
        self._start: int | None = None
        """Where the last call began to read; None: that is not known."""
        self.known: int | None = None
        """How many tokens of the prompt were known before, once that is clear."""

    def begin(self) -> bool:
        """Bring into the slot what is known of the prompt, or soon will be; False: no client waits."""
        self._cache.purge(self._prompt)
        if self._request.exact and self._request.choices < 2:
            self._cache.keep(self.slot)
            if self._cache.has_checkpoints:
                self._cache.empty(self.slot)
            return True
        readings = self._cache.readings
        while True:
            published = readings.published
            known = self._load()
            if len(self._prompt.ids) <= self._least:
                return self._settle()
            joined = readings.join(self._prompt, known, self._least, published)
            if isinstance(joined, Reading):
                break
            if joined is not None and not self._follow(joined):
                return False
        self._reading = joined
        if not self._settle():
            return False
        last = len(self._prompt.ids) - 1
        if self._request.choices > 1 and last - known >= self._least:
            return self._publish(last)
        return True

    def _follow(self, follower: Follower) -> bool:
        """Wait until a copy can be had, or the reading is over; False if no client waits any more."""
        with follower:
            while not follower.done.wait(TICK_S):
                if self.left():
                    return False
        return True

    def fields(self, body: dict[str, Any]) -> dict[str, Any]:
        """llama.cpp's fields for the slot, which replace those of `body`: what the slot holds may be used if
        it is of the same space, or of this answer."""
        usable = self._is_own or self.slot.content.space == self._prompt.space
        if not self._is_own:
            self._is_own = True
            if not (self._goes_on and self.slot.history.last):
                self.slot.history = self._cache.history_of(self._prompt)
            self.slot.history.used(self.slot.taken)
        self._start = None
        return {"id_slot": self.slot.id, "cache_prompt": body["cache_prompt"] and usable}

    def progressed(self, progress: dict[str, Any]) -> bool:
        """Take note of llama.cpp's progress; True: stop, as others wait for a part (see `share`)."""
        if self._request.on_progress is not None:
            self._request.on_progress(progress)
        if self.known is None:
            self.known = progress["cache"]
        if self._start is None:
            self._start = progress["cache"]
        if self._reading is None:
            return False
        self._reading.position = progress["processed"]
        return self._reading.wanted > 0

    def share(self) -> bool:
        """Read as far as others want it, and let them have that; False if no client waits for it."""
        while self._reading is not None and (wanted := self._reading.wanted):
            size = min(max(wanted, self._reading.position), len(self._prompt.ids))
            # llama.cpp may have read more than it told, and made checkpoints there.
            self._cache.has_read(self.slot, self._start, None)
            if not self._rewound(size) or not self._publish(size) or not self._settle():
                return False
        return True

    def ended(self) -> None:
        """The prompt is read: none follow any more."""
        if self._reading is not None:
            self._reading.close()
            self._reading = None

    def leave(self, answer: str, timings: dict[str, int] | None) -> None:
        """The slot holds the prompt and the answer, or what was read before the client left. `timings`:
        llama.cpp's last ones."""
        if not self._is_own:
            self.ended()
            return  # it holds what it held
        slot, prompt, tokens = self.slot, self._prompt, 0
        slot.reach = None
        if not self.went_on and (timings is not None or self.known is not None):
            text = "" if prompt.ids else prompt.text
            slot.reach = Prompt(self._request.space, text, prompt.ids)
        start = self._start if timings is None else timings["cache_n"]
        self._cache.has_read(slot, start, None if timings is None else len(prompt.ids))
        if timings is not None:
            tokens = timings["cache_n"] + timings["prompt_n"] + timings["predicted_n"]
        elif self._reading is not None:
            tokens = self._reading.position
            prompt = prompt.cut(tokens)
        self.ended()
        text = prompt.text + answer if prompt.text else ""
        slot.content = Prompt(self._request.space, text, prompt.ids)
        slot.tokens, slot.movable = tokens, self._request.movable

    def _load(self) -> int:
        known = self._cache.load(self.slot, self._prompt)
        self._goes_on = self._cache.goes_on(self.slot, self._prompt)
        return known

    def _settle(self) -> bool:
        """See `PromptCache.settle`; False if no client waits for it."""
        reader = _PartReader(self)
        done = False
        try:
            self._cache.settle(self.slot, self._prompt, reader.receive)
            done = reader.completed()
        finally:
            if not done:
                # It may hold a part of this prompt, which others must not find.
                self.slot.content, self.slot.tokens = Prompt(self._prompt.space), 0
                self.slot.reach = None
        return done

    def _rewound(self, tokens: int) -> bool:
        """See `PromptCache.rewind`; False if no client waits for it."""
        if not self._cache.has_checkpoints:
            return True
        reader = _PartReader(self)
        self._cache.rewind(self.slot, self._prompt.cut(tokens), reader.receive)
        return reader.completed()

    def _publish(self, tokens: int) -> bool:
        """Read so many tokens and let those that follow have them; False if no client waits for it."""
        assert self._reading is not None
        part = self._prompt.cut(tokens)
        reader = _PartReader(self)
        self._cache.read(self.slot, part, self.fields({"cache_prompt": True}), reader.receive)
        if not reader.completed():
            return False
        self._reading.position = tokens
        if self._cache.publish(self.slot, part):
            self._reading.published()
        else:
            self.ended()
        return True


class _PartReader:
    """Takes llama.cpp's answer to a query that reads a part of the prompt, and no more."""

    def __init__(self, read: SharedRead) -> None:
        self._read = read
        self._failures: list[dict[str, Any]] = []
        self._stopped = False

    def receive(self, data: bytes) -> bool:
        """A chunk; True: stop."""
        chunk = orjson.loads(data)
        if "error" in chunk:
            self._failures.append(chunk["error"])
        elif "prompt_progress" in chunk:
            if self._read.known is None:
                self._read.known = chunk["prompt_progress"]["cache"]
            self._stopped = self._read.left()
        return self._stopped or bool(self._failures)

    def completed(self) -> bool:
        """Whether the part was read; False if no client waits for it. Raises APIError."""
        if self._failures:
            raise to_api_error(self._failures[0], "prompt")
        return not self._stopped
