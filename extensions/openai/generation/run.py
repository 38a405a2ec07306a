"""Run an engine for one request: slots, several choices at once, stop strings.

Every generation goes through `run`, with one choice or many, streamed or not.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial

from ..engines.callback_bridge import Emit, iterate_callback, run_inline
from ..engines.protocol import Pieces
from ..limits.active_requests import ActiveRequest
from ..limits.scheduler import Scheduler, SlotTicket
from .events import Event, Events
from .loop_detection import LoopDetector
from .token_splitter import StoppedText


def run(
    choices: Sequence[Callable[[], Pieces]],
    *,
    scheduler: Scheduler,
    request: ActiveRequest,
    slots: int,
    stops: Sequence[str] = (),
    first: int = 0,
    repeats: int = 0,
) -> Events:
    """Run every choice, at most `slots` at once, and yield their events interleaved.

    `choices[i]` starts the engine for choice `first + i`; those before `first` are over. A choice that
    repeats itself `repeats` times ends with the reason `length`; 0: none does. Closing the
    generator ends them all. Raises, before the first event, the errors of the scheduler and the engine. If
    the request is `stopped`, every choice ends early, with the reason `stop`.
    """
    if len(choices) == 1:
        return _choice(first, choices[0], scheduler, request, slots, stops, repeats)
    return _interleave(
        [
            partial(_choice, index, start, scheduler, request, slots, stops, repeats)
            for index, start in enumerate(choices, first)
        ],
        at_once=slots,
    )


def _choice(
    index: int,
    start: Callable[[], Pieces],
    scheduler: Scheduler,
    request: ActiveRequest,
    slots: int,
    stops: Sequence[str],
    repeats: int,
) -> Events:
    """One choice: wait for a slot, then turn pieces into events up to the first stop string."""
    # Further choices of an admitted request are not refused.
    with request.request_slot(scheduler, slots, further=index > 0) as ticket:
        if not ticket.granted:
            while not ticket.wait() and not request.stopped:
                yield None
            # Lets the reader notice that the client hung up while it waited.
            yield None
        if request.stopped:
            yield Event(index, finish="stop")
            return
        request.note_slot()
        pieces = start()
        try:
            stopping = StoppedText(stops) if stops else None
            events = _events(index, pieces, stopping, request, ticket)
            yield from _without_loops(events, LoopDetector(repeats)) if repeats else events
        finally:
            pieces.close()


def _events(
    index: int,
    pieces: Pieces,
    stopping: StoppedText | None,
    request: ActiveRequest,
    ticket: SlotTicket,
) -> Events:
    """The events of one choice, up to its first stop string, if it has any."""
    shown = 0
    for piece in pieces:
        if request.stopped and (piece is None or piece.finish is None):
            text, logprobs = ("", ()) if stopping is None else stopping.end()
            yield Event(index, text, finish="stop", logprobs=logprobs, logprobs_at=shown)
            return
        if piece is None:
            yield None
            continue
        if piece.echo:
            yield Event(index, piece.text, prompt=piece.prompt, logprobs=piece.logprobs, echo=True)
            continue
        text, logprobs, finish, stop = piece.text, piece.logprobs, piece.finish, None
        if stopping is not None:
            text, logprobs = stopping.push(piece)
            stop = stopping.stop_string
            finish = finish if stop is None else "stop"
        yield Event(
            index,
            text,
            piece.reasoning,
            piece.tokens,
            piece.thought_tokens,
            piece.prompt,
            finish,
            logprobs,
            shown,
            piece.tool_calls,
            stop_string=stop,
            server_calls=piece.server_calls,
        )
        if not ticket.has_begun:
            ticket.begin()
        shown += len(text)
        if finish is not None:
            return


def _without_loops(events: Events, detector: LoopDetector) -> Events:
    """The events of one choice up to where it repeats itself, in its text, its thought, or what it calls."""
    for event in events:
        if event is not None and event.finish is None and not event.echo:
            calls = "".join(call.arguments for call in event.tool_calls)
            if detector.push(event.reasoning + event.text + calls):
                event.finish, event.loop = "length", True
        yield event
        if event is not None and event.loop:
            return


class _NotWanted(Exception):
    """The reader has closed, or another choice has failed."""


def _interleave(starts: Sequence[Callable[[], Events]], *, at_once: int) -> Events:
    """Read several choices in threads of their own; the first error ends them all."""
    waiting = iter(starts)
    lock = threading.Lock()
    failed = threading.Event()

    def worker(emit: Emit[Event | None]) -> None:
        def deliver(event: Event | None) -> None:
            if failed.is_set() or emit(event):
                raise _NotWanted

        while not failed.is_set():
            with lock:
                start = next(waiting, None)
            if start is None:
                return
            run_inline(start(), deliver)

    def produce(emit: Emit[Event | None]) -> None:
        errors: list[BaseException] = []

        def guarded() -> None:
            try:
                worker(emit)
            except _NotWanted:
                failed.set()
            except BaseException as error:  # raised in the reader below
                errors.append(error)
                failed.set()

        helpers = [
            threading.Thread(target=guarded, name="openai-choice", daemon=True)
            for _ in range(min(at_once, len(starts)) - 1)
        ]
        for helper in helpers:
            helper.start()
        guarded()
        for helper in helpers:
            helper.join()
        if errors:
            raise errors[0]

    return iterate_callback(produce)
