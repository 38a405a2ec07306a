"""One answer of llama.cpp while it is made: its slots, the calls for it, and what comes of them."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

import orjson

from ...errors import InvalidRequest
from ..callback_bridge import TICK_S, Emit
from ..failures import failure_from, taken_away
from ..protocol import Piece
from .client import Complete
from .grammar.shared_tokenizer import shared_tokenizer
from .penalty_restart import PenaltyRestart
from .slot_pool import SlotPool
from .stream_reader import AnswerReader, error_of

log = logging.getLogger("openedai")


class CompletionSession:
    """Makes one answer, in the thread that calls `produce`."""

    def __init__(
        self,
        call: Complete,
        body: dict[str, Any],
        reader: AnswerReader,
        restart: PenaltyRestart | None,
        slots: SlotPool,
        tokens: int,
        closed: threading.Event,
        param: str,
        owner: object,
    ) -> None:
        """`call` is given `body`, or what `restart` makes of it; `tokens` of `slots` are needed;
        `closed`: the engine ends; `param` is the field the prompt was made of; `owner` is the engine."""
        self._call = call
        self._body = body
        self._reader = reader
        self._restart = restart
        self._slots = slots
        self._tokens = tokens
        self._closed = closed
        self._param = param
        self._owner = owner
        self._chunks: deque[dict[str, Any]] = deque()
        self._failure: BaseException | None = None
        self._under_way = False
        """llama.cpp has taken the request: what fails now is no fault of it."""

    def produce(self, emit: Emit[Piece | None]) -> None:
        """Emit the answer's pieces. Raises APIError."""
        with self._slots.reserve(self._tokens) as reservation:
            while not reservation.wait(TICK_S):
                if emit(None) or self._closed.is_set():
                    return
            try:
                self._make(emit)
                while self._restart and self._restart.due and self._failure is None:
                    self._make(emit)
            except ValueError as error:  # what llama.cpp throws for a request it refuses
                if self._under_way:
                    raise failure_from(error) from None
                message = f"The model cannot take this: {error}"
                raise InvalidRequest(message, param=self._param) from None
            except RuntimeError as error:  # what it throws otherwise may quote the prompt
                raise failure_from(error) from None
        if self._failure is not None:
            raise self._failure
        if self._closed.is_set() and not self._reader.finished:
            raise taken_away()

    def _make(self, emit: Emit[Piece | None]) -> None:
        """One call."""
        if "grammar" not in self._body:
            self._ask(emit, lambda: None)
            return

        def has_left() -> bool:
            return emit(None) or self._closed.is_set()

        with shared_tokenizer.owned_by(self._owner, has_left) as made:
            if made is not None and not self._closed.is_set():
                self._ask(emit, made)

    def _ask(self, emit: Emit[Piece | None], begun: Callable[[], None]) -> None:
        """Call llama.cpp, and `begun` once it is at work. True, in its callback, means: stop."""

        # It takes an exception in here for "stop" and drops it, so it is kept by hand.
        def receive(data: bytes) -> bool:
            begun()
            try:
                chunk = orjson.loads(data)
                if "error" in chunk:
                    self._failure = error_of(chunk["error"], self._param, late=self._under_way)
                    return True
                self._under_way = True
                if "prompt_progress" in chunk:
                    return emit(None) or self._closed.is_set()
                self._chunks.append(chunk)
                return self._read(emit)
            except Exception as error:
                self._failure = error
                return True

        self._call(orjson.dumps(self._restart.body() if self._restart else self._body), receive)
        if self._failure is None:
            self._read(emit, ended=True)

    def _read(self, emit: Emit[Piece | None], *, ended: bool = False) -> bool:
        """Pass on what has come; True: stop. What asks the engine about a token while no slot is free for it
        waits, at the latest until the call has `ended`, when its own slot is."""
        while self._chunks:
            asks = not ended and self._reader.asks(self._chunks[0])
            if asks and not self._slots.try_acquire_spare():
                return emit(None) or self._closed.is_set()
            try:
                piece = self._reader.read(self._chunks.popleft())
            finally:
                if asks:
                    self._slots.give_back()
            stop = emit(piece) or self._reader.enough or self._closed.is_set()
            if stop or (self._restart is not None and self._restart.watch()):
                self._chunks.clear()
                return True
        return False
