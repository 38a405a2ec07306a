"""A stream that its client may leave and come back to: its events are kept, and the work goes on.

Asked for by a header that names the stream. Each event has a number (`id:`), which the client says when it
comes back:

    id: 17
    data: {"id": "chatcmpl-1", "object": "chat.completion.chunk", ...}
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING

from ..engines.callback_bridge import run_inline
from ..errors import APIError, InvalidRequest, ShuttingDown, StoredObjectNotFound
from .context import STREAM_HEADER, ClientGone
from .event_log import EventLog
from .responses.error_response import error_response, failed
from .responses.sse import KEEP_ALIVE
from .responses.streaming import Events, comment_of, failure_of, send

if TYPE_CHECKING:
    from .context import RequestContext
    from .responses.response import Response

ID = re.compile(r"[A-Za-z0-9._:+=-]{1,128}")
LAST_EVENT = "HTTP_LAST_EVENT_ID"
STOP_S = 2.0
"""How long a stopped stream may take to end by itself."""


class ResumableStream:
    """One stream under way, or ended."""

    is_stored = False
    """No other server knows of it."""

    def __init__(self, context: RequestContext, events: Events, id: str) -> None:
        """`events` are begun when it is."""
        self._context: RequestContext | None = context
        """None once it has ended: headers and body would stay as long as the events."""
        self._ids: tuple[str, str | None] = (context.record.id, None)
        self._events = events
        self._id = id
        self._log = EventLog(context.services.settings.stream_replay_mb << 20)
        self._refused: APIError | None = None

    @property
    def size(self) -> int:
        return self._log.size

    @property
    def is_over(self) -> bool:
        return self._log.is_over

    @property
    def ids(self) -> tuple[str, str | None]:
        """Of its request, and of its answer once it has one."""
        context = self._context
        return self._ids if context is None else (context.record.id, context.record.answer)

    @property
    def numbers(self) -> tuple[int, int]:
        """Of the oldest event that is kept, and of the one that comes next."""
        return self._log.first, self._log.count

    def news(self) -> bytes | None:
        """None: it is not in the store."""
        return None

    def begin(self) -> Response:
        """Begin, and answer its client. Raises StreamInUse, RateLimited."""
        context = self._context
        assert context is not None
        services, owner = context.services, context.record.caller.owner
        services.streams.add(owner, self._id, self)
        try:
            most = services.settings.background_answers
            services.background.add(owner, self._key, self, most)
            reader = self._log.enter(0)
            try:
                answering = context.go_on()
                name = "openai-stream"
                threading.Thread(target=self._run, args=(context,), name=name, daemon=True).start()
            except BaseException:
                self._log.leave(reader)
                context.goes_on = False
                services.background.remove(owner, self._key)
                raise
        except BaseException:
            services.streams.forget(owner, self._id, self)
            raise
        response = self._answer(answering, 0, reader)
        response.headers[STREAM_HEADER] = self._id
        return response

    def follow(self, context: RequestContext, after: int = -1) -> Response:
        """The events behind the one with this number, those that are there and those that come."""
        return self._answer(context, after + 1, self._log.enter(after + 1))

    def _answer(self, context: RequestContext, at: int, reader: object) -> Response:
        try:
            response = send(self._read(context, at, reader), context)
        except BaseException:
            self._log.leave(reader)
            raise
        response.call_on_close(lambda: self._log.leave(reader))
        return response

    def stop(self) -> None:
        """End it early, as if the model had ended it."""
        if (context := self._context) is not None:
            context.stopped = True

    def wait(self, seconds: float) -> bool:
        """Whether it is over within this time."""
        return self._log.wait(seconds)

    @property
    def _key(self) -> str:
        """Among all answers in the background, also while an earlier stream of its name still ends; no other
        answer's id has a blank."""
        return f"stream {self._id} {id(self)}"

    def _run(self, context: RequestContext) -> None:
        services, owner = context.services, context.record.caller.owner
        context.continue_here()
        try:
            run_inline(self._events, self._deliver)
        except Exception as error:  # before its first event
            response = error_response(context, error)
            context.record.status = response.status_code
            self._refused = error if isinstance(error, APIError) else failed()
        finally:
            settings = services.settings
            services.background.remove(owner, self._key)
            if self._refused is not None:
                services.streams.forget(owner, self._id, self)
            try:
                context.end()
            finally:
                self._ids, self._context = self.ids, None
                self._log.end()
                most = settings.stream_replay_mb << 20
                seconds = settings.stream_replay_seconds
                services.streams.keep(owner, self._id, self, seconds=seconds, most=most)

    def _deliver(self, event: bytes | None) -> None:
        # Each reader gets comments of its own, when it has waited long.
        if event and not event.startswith(b":"):
            self._log.append(b"id: %d\n" % self._log.count + event)

    def _read(
        self, context: RequestContext, at: int, reader: object
    ) -> Generator[bytes | None, None, None]:
        """Events for one client; an error is the last one, or is raised if it would be the first."""
        keep_alive = context.services.settings.keep_alive
        begun, due = False, time.monotonic() + keep_alive
        try:
            for event in self._log.read(at, reader):
                try:
                    context.check_wanted()
                except ShuttingDown:
                    # So does what makes the stream, and its own last events are the ones to send.
                    self._log.wait(1.0)
                if event is not None:
                    yield event
                elif time.monotonic() < due:
                    yield None
                    continue
                else:
                    working = self._context
                    yield (None if working is None else comment_of(working)) or KEEP_ALIVE
                begun, due = True, time.monotonic() + keep_alive
            if self._refused is not None:
                raise self._refused
        except ClientGone:
            if not begun:
                raise
        except APIError as error:
            if not begun:
                raise
            yield from failure_of(context, error)


def resumable(context: RequestContext, id: str) -> Callable[[Events], Response]:
    """What sends the events of a request's stream. Raises InvalidRequest for an id that is none."""
    if not ID.fullmatch(id):
        raise InvalidRequest(
            f"The header {STREAM_HEADER} must have 1 to 128 letters, digits or any of . _ : + = -",
            param=STREAM_HEADER,
        )

    def begin(events: Events) -> Response:
        if context.dialect.events.comments and context.services.settings.stream_replay_mb:
            return ResumableStream(context, events, id).begin()
        context.record.ignored.append(STREAM_HEADER)
        return send(events, context)

    return begin


def find(context: RequestContext, id: str) -> ResumableStream:
    """The caller's stream with this id. Raises StoredObjectNotFound."""
    stream: ResumableStream | None = context.services.streams.find(context.record.caller.owner, id)
    if stream is None:
        raise StoredObjectNotFound(id)
    return stream


def last_event(context: RequestContext) -> int | None:
    """The number of the last event that the client has, as its header says. Raises InvalidRequest."""
    given = context.environ.get(LAST_EVENT)
    if not given:
        return None
    if not (given.isascii() and given.isdecimal() and len(given) <= 18):
        raise InvalidRequest(
            "The header Last-Event-ID must be the number of an event, as its line `id:` says.",
            param="Last-Event-ID",
        )
    return int(given)


def delete(context: RequestContext, id: str) -> None:
    """Stop the stream if it is under way, and forget it. Raises StoredObjectNotFound."""
    stream = find(context, id)
    stream.stop()
    stream.wait(STOP_S)
    context.services.streams.forget(context.record.caller.owner, id, stream)
