"""A response that is made without its client: begun, followed, cancelled. Used by the endpoint `responses`.

The store decides how one ends: the first to write that does, and what comes later has no effect. A response
whose server was killed is found by its time, which nothing renews any more, and has failed.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Generator, Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson

from ..dialects.responses.event_record import EventRecord, recorded_events
from ..dialects.responses.request import ResponsesRequest
from ..dialects.responses.response import Response, ResponseEvent, Status
from ..dialects.responses.writer import ResponseFold, ResponseWriter
from ..engines.callback_bridge import TICK_S, run_inline
from ..errors import APIError, InvalidRequest, StoreUnavailable
from ..state.stored_response import StoredResponse
from .event_log import EventLog
from .responses import response as web
from .responses.error_response import failed
from .responses.streaming import respond

if TYPE_CHECKING:
    from .context import RequestContext
    from .stored_conversation import StoredConversation

log = logging.getLogger("openedai")

LAST = frozenset({"response.completed", "response.incomplete", "response.failed"})
LOOK_S = 0.5
"""Between two looks at what another server makes."""
CANCEL_S = 2.0
"""How long a cancelled answer may take to end by itself, so that what there is of it is stored."""
LOST = "The server ended while it worked on this response."
NOT_STORED = "The response was made, but could not be stored."


class _Cancelled(Exception):
    """Its client does not want it any more."""


class BackgroundResponse:
    """One response under way. Its events are written by one thread and read by any."""

    def __init__(
        self,
        context: RequestContext,
        body: ResponsesRequest,
        events: Generator[ResponseEvent | None, None, None],
        writer: ResponseWriter,
        conversation: StoredConversation,
    ) -> None:
        """`events` are those that `writer` makes of a generation; they begin when it is `queued`."""
        self._context = context
        self._body = body
        self._events = events
        self._writer = writer
        self._conversation = conversation
        self._due = 0.0
        self._cancelled = False
        self._log = EventLog()
        self._recording = threading.Lock()
        self._record = EventRecord()
        self._told = 0
        self.is_stored = False
        """Whether others can know of it."""

    @property
    def status(self) -> Status:
        """While it is under way."""
        return "queued" if self._context.record.admitted is None else "in_progress"

    @property
    def is_streamed(self) -> bool:
        """Whether its events may be read."""
        return bool(self._body.stream)

    def answer(self) -> web.Response:
        """Begin, and answer its client. Raises RateLimited, StoreUnavailable."""
        for event in self._writer.queued():
            self._append(event)
        begun: Response = orjson.loads(self._log.since(0)[0][-1])["response"]
        context, id = self._context, begun["id"]
        services, owner = context.services, context.record.caller.owner
        services.background.add(owner, id, self, services.settings.background_answers)
        try:
            self._conversation.begin(begun, self._body, self.news())
            self.is_stored = True
            context.record.streamed = self.is_streamed
            answering = context.go_on()
            name = "openai-background"
            threading.Thread(target=self._run, args=(owner, id), name=name, daemon=True).start()
        except BaseException:
            context.goes_on = False
            services.background.remove(owner, id)
            raise
        return self.follow(answering) if self.is_streamed else web.json_response(begun)

    def follow(self, context: RequestContext, after: int = -1) -> web.Response:
        """The events behind the one with this number, those that are there and those that come."""
        reader = _Reader(self._log, after)
        return respond(context, reader.events(), stream=True, fold=ResponseFold(), telling=reader)

    def news(self) -> bytes | None:
        """The record of its events so far, if others may read them and there are more than the last time."""
        with self._recording:
            if not self.is_streamed or self._log.count == self._told:
                return None
            self._told = self._log.count
            return self._record.whole()

    def stop(self) -> None:
        """It is not wanted any more."""
        self._cancelled = True

    def wait(self, seconds: float) -> bool:
        """Whether it is over within this time."""
        return self._log.wait(seconds)

    def _run(self, owner: str, id: str) -> None:
        context, last = self._context, None
        context.continue_here()
        try:
            self._wait_for_event()
            # mypy infers no union of so many types.
            run_inline(self._events, self._deliver)  # type: ignore[arg-type]
        except _Cancelled:
            context.record.cancelled = True
            last = self._writer.cancelled()
        except Exception as error:
            if not isinstance(error, APIError):
                log.exception("a response in the background failed")
                error = failed()
            context.record.error = error.code or error.type
            last = self._writer.failure(error)
        finally:
            try:
                self._end(last or ())
            finally:
                context.services.background.remove(owner, id)
                context.end()

    def _end(self, last: Iterable[ResponseEvent]) -> None:
        try:
            if not self._log.is_over:
                for event in last:
                    self._append(event)
        finally:
            self._log.end()

    def _deliver(self, event: ResponseEvent | None) -> None:
        if self._log.is_over:
            return
        if event is None or event["type"] not in LAST:
            self._context.check_wanted()
            if self._cancelled:
                raise _Cancelled
        if event is not None:
            self._append(event)
        elif time.monotonic() >= self._due:
            for each in self._writer.silence():
                self._append(each)
        else:
            return
        self._wait_for_event()

    def _wait_for_event(self) -> None:
        self._due = time.monotonic() + self._context.services.settings.keep_alive

    def _append(self, event: ResponseEvent) -> None:
        """Show an event to readers; the last one when it is stored."""
        if (
            event["type"] == "response.completed"
            or event["type"] == "response.incomplete"
            or event["type"] == "response.failed"
        ):
            self._context.allow_another()
            response = self._stored(event["response"], event["sequence_number"])
            if response is not event["response"]:
                event = _failed(response, event["sequence_number"])
        line = orjson.dumps(event)
        with self._recording:
            self._record.add(event)
            self._log.append(line, last=event["type"] in LAST)

    def _stored(self, response: Response, number: int) -> Response:
        """The response as it is stored now: what it has become, or what another has made of it."""
        kind = {"completed": "response.completed", "incomplete": "response.incomplete"}.get(
            response["status"], "response.failed"
        )
        last: Any = {"type": kind, "sequence_number": number, "response": response}
        events = self._record.whole(last) if self.is_streamed else None
        try:
            if self._conversation.finish(response, self._body, events):
                return response
        except StoreUnavailable:
            error = {"code": "server_error", "message": NOT_STORED}
            return {**response, "status": "failed", "store": False, "error": error}  # type: ignore[typeddict-item]
        return {**response, "status": "cancelled", "completed_at": None, "incomplete_details": None}


def _failed(response: Response, number: int) -> ResponseEvent:
    return {"type": "response.failed", "sequence_number": number, "response": response}


def follow_stored(context: RequestContext, stored: StoredResponse, after: int) -> web.Response:
    """The events in the store behind the one with this number, and those that another server adds."""
    events = _stored_events(context, stored, after + 1)
    # mypy infers no union of so many types.
    return respond(context, events, stream=True, fold=ResponseFold())  # type: ignore[misc]


def _stored_events(
    context: RequestContext, stored: StoredResponse, at: int
) -> Generator[ResponseEvent | None, None, None]:
    """Events from this number on, and None while there are none."""
    while True:
        assert stored.events is not None
        there = recorded_events(stored.events)
        yield from there[at:]
        at = max(at, len(there))
        if stored.until is None:
            break
        due = time.monotonic() + LOOK_S
        while time.monotonic() < due:
            time.sleep(TICK_S)
            yield None
        stored, _ = find(context, stored.id)
    if there[-1]["type"] not in LAST:
        # Another server ended it than the one that made it.
        yield _failed(orjson.loads(stored.response), at)


class _Reader:
    """One client that reads the events of a response."""

    def __init__(self, log: EventLog, after: int) -> None:
        self._log = log
        self._at = after + 1

    def events(self) -> Generator[ResponseEvent | None, None, None]:
        for line in self._log.read(self._at):
            if line is None:
                yield None
            else:
                self._at += 1
                yield orjson.loads(line)

    def silence(self) -> Iterator[ResponseEvent]:
        """None: what makes the response writes events into a silence."""
        return iter(())

    def failure(self, error: APIError) -> Iterator[ResponseEvent]:
        """The server ends: so does the response, and its own last events are the ones to send."""
        self._log.wait(1.0)
        for line in self._log.since(self._at)[0]:
            yield orjson.loads(line)


Found = tuple[StoredResponse, BackgroundResponse | None]
"""A stored response, and what makes it, if that is under way here."""


def find(context: RequestContext, id: str) -> Found:
    """Raises StoredObjectNotFound."""
    owner, responses = context.record.caller.owner, context.services.store.responses
    stored = responses.get(owner, id)
    if stored.until is None:
        return stored, None
    running: BackgroundResponse | None = context.services.background.find(owner, id)
    if running is not None:
        return _with(stored, {"status": running.status}), running
    if stored.is_lost:
        error = {"code": "server_error", "message": LOST}
        responses.finish(owner, _with(stored, {"status": "failed", "error": error}))
        return responses.get(owner, id), None
    return stored, None


def cancel(context: RequestContext, id: str) -> web.Response:
    """The response, which is cancelled unless it had ended. Raises StoredObjectNotFound, InvalidRequest for
    one that is not made in the background."""
    owner, responses = context.record.caller.owner, context.services.store.responses
    stored, running = find(context, id)
    if not orjson.loads(stored.response)["background"]:
        raise InvalidRequest(
            "Cannot cancel a synchronous response: its client closes the connection."
        )
    if running is not None:
        running.stop()
        running.wait(CANCEL_S)
    responses.finish(owner, _with(stored, {"status": "cancelled"}))
    return web.json_response(orjson.loads(responses.get(owner, id).response))


def _with(stored: StoredResponse, changes: dict[str, object]) -> StoredResponse:
    """The stored response with other fields, and no more items."""
    response = orjson.dumps(orjson.loads(stored.response) | changes)
    return replace(stored, response=response, item_ids=())
