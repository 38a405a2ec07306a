"""Runs one answer of llama.cpp: reserves its slots, makes the calls and emits the pieces."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

import orjson

from ...errors import InvalidRequest
from ..callback_bridge import TICK_S, Emit
from ..failures import failure_from, model_changed
from ..protocol import GenerateRequest, Piece
from .client import Complete
from .grammar.shared_tokenizer import shared_tokenizer
from .penalty_restart import PenaltyRestart
from .prompt_cache.cache import PromptCache
from .prompt_cache.prompt import RequestPrompt
from .prompt_cache.shared_read import SharedRead
from .request_values import RANDOM_SEED, biases_of, seed_of
from .stream_reader import AnswerReader, choice_of, to_api_error

log = logging.getLogger("openedai")

LLGUIDANCE = "%llguidance {}\n"  # says that a grammar is Lark and not GBNF


class CompletionSession:
    """Generates one answer, in the thread that calls `produce`."""

    def __init__(
        self,
        call: Complete,
        body: dict[str, Any],
        reader: AnswerReader,
        restart: PenaltyRestart | None,
        cache: PromptCache,
        prompt: RequestPrompt,
        tokens: int,
        closed: threading.Event,
        param: str,
        owner: object,
    ) -> None:
        """`call` gets `body`, or the body of `restart`; `tokens`: how many to reserve; `closed` is set when
        the engine closes; `param` is the prompt's field; `owner` is the engine."""
        self._call = call
        self._body = body
        self._reader = reader
        self._restart = restart
        self._cache = cache
        self._prompt = prompt
        self._tokens = tokens
        self._closed = closed
        self._param = param
        self._owner = owner
        self._chunks: deque[dict[str, Any]] = deque()
        self._failure: BaseException | None = None
        self._under_way = False
        """Whether llama.cpp accepted the request: later failures are not the client's fault."""
        self._interrupted = False
        """Whether a call was stopped for others that wait for a part of the prompt."""
        self._texts: list[str] = []
        self._timings: dict[str, int] | None = None
        """llama.cpp's last ones."""

    def produce(self, emit: Emit[Piece | None]) -> None:
        """Emit the answer's pieces. Raises APIError."""

        def left() -> bool:
            return emit(None) or self._closed.is_set()

        with self._cache.slots.reserve(self._tokens, self._prompt.prompt) as reservation:
            while not reservation.wait(TICK_S):
                if left():
                    return
            self._read = SharedRead(self._cache, self._prompt, reservation.slot, left)
            try:
                if not self._read.begin():
                    return
                self._make(emit)
                while self._restart and self._restart.due and self._failure is None:
                    self._read.went_on = True
                    self._make(emit)
            except ValueError as error:  # from llama.cpp for a request that it refuses
                if self._under_way:
                    raise failure_from(error) from None
                message = f"The model cannot take this: {error}"
                raise InvalidRequest(message, param=self._param) from None
            except RuntimeError as error:  # its text may quote the prompt
                raise failure_from(error) from None
            finally:
                self._read.leave("".join(self._texts), self._timings)
        if self._failure is not None:
            raise self._failure
        if self._closed.is_set() and not self._reader.finished:
            raise model_changed()

    def _make(self, emit: Emit[Piece | None]) -> None:
        """Make one call."""
        if "grammar" not in self._body:
            self._ask(emit, lambda: None)
            return

        def client_left() -> bool:
            return emit(None) or self._closed.is_set()

        with shared_tokenizer.owned_by(self._owner, client_left) as compiled:
            if compiled is not None and not self._closed.is_set():
                self._ask(emit, compiled)

    def _ask(self, emit: Emit[Piece | None], on_start: Callable[[], None]) -> None:
        """Call llama.cpp, and `on_start` once it has started. Its callback returns True to stop."""

        # llama.cpp treats an exception in the callback as "stop" and drops it, so we keep it.
        def receive(data: bytes) -> bool:
            on_start()
            try:
                chunk = orjson.loads(data)
                if "error" in chunk:
                    self._failure = to_api_error(chunk["error"], self._param, late=self._under_way)
                    return True
                self._under_way = True
                if "prompt_progress" in chunk:
                    self._interrupted = self._read.progressed(chunk["prompt_progress"])
                    return self._interrupted or emit(None) or self._closed.is_set()
                if self._timings is None:
                    self._read.ended()
                    self._reader.cached = self._read.known
                self._timings = chunk.get("timings", self._timings)
                self._chunks.append(chunk)
                return self._emit_read(emit)
            except Exception as error:
                self._failure = error
                return True

        body = self._restart.body() if self._restart else self._body
        while True:
            self._interrupted = False
            self._call(orjson.dumps(body | self._read.fields(body)), receive)
            if not self._interrupted:
                break
            if not self._read.share():
                return
        if self._failure is None:
            self._emit_read(emit, ended=True)

    def _emit_read(self, emit: Emit[Piece | None], *, ended: bool = False) -> bool:
        """Emit the chunks received; True: stop. A chunk whose tokens must be scored waits for a free slot, at
        the latest until the call has `ended` and its own slot is free."""
        while self._chunks:
            spare = None
            if self._reader.needs_scoring(self._chunks[0]):
                if not ended and choice_of(self._chunks[0])["finish_reason"] is not None:
                    return False  # the answer's own slot will be free in a moment
                spare = (
                    self._read.slot if ended else self._cache.slots.take_spare(self._prompt.prompt)
                )
                if spare is None:
                    return emit(None) or self._closed.is_set()
            try:
                if spare is not None:
                    if ended:
                        self._read.went_on = True
                    else:
                        self._cache.lend(spare, self._prompt.prompt)
                    self._reader.place = {"id_slot": spare.id}
                piece = self._reader.read(self._chunks.popleft())
            finally:
                if spare is not None and not ended:
                    self._cache.slots.return_spare(spare)
            self._texts.append(piece.text)
            stop = emit(piece) or self._reader.should_stop or self._closed.is_set()
            if stop or (self._restart is not None and self._restart.watch()):
                self._chunks.clear()
                return True
        return False


def body_of(request: GenerateRequest) -> dict[str, Any]:
    """The request to llama.cpp without the prompt."""
    seed, limit = request.seed, request.max_tokens
    body = {
        **request.sampling,
        "seed": RANDOM_SEED if seed is None else seed_of(seed),
        "n_predict": -1 if limit is None else limit,
        "logit_bias": biases_of(request.logit_bias) if request.logit_bias else [],
        "stream": True,
        "timings_per_token": True,  # the exact token count with every piece
        # `return_progress` is for prompts of several steps: a callback after each, so that reading can be
        # aborted. For a single step it would only cost time.
    }
    if request.grammar is not None:
        body["grammar"] = LLGUIDANCE + request.grammar
    return body
