"""One path to the client: chunks become server-sent events, or are folded into one JSON object."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from itertools import chain
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from ...engines.callback_bridge import run_inline
from ...errors import APIError
from ..context import STREAM_HEADER, ClientGone, RequestContext
from .error_response import error_response, failed
from .response import Response, json_response
from .sse import KEEP_ALIVE, loading_comment, queue_comment, reading_comment

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

log = logging.getLogger("openedai")

Chunk = TypeVar("Chunk")
Seen = TypeVar("Seen", contravariant=True)
Whole = TypeVar("Whole", bound=Mapping[str, Any])
Made = TypeVar("Made", bound=Mapping[str, Any], covariant=True)
Sent = TypeVar("Sent", covariant=True)


OnComplete = Callable[[Whole], "Mapping[str, object] | None"]
"""Receives a whole answer, and returns fields to add to it."""


class Folding(Protocol[Seen, Made]):
    """Combines chunks as they come, so that none has to be kept."""

    def add(self, chunk: Seen) -> None: ...

    @property
    def has_ended(self) -> bool:
        """Whether all choices have their finish_reason; only the usage may still come."""

    def whole(self) -> Made:
        """The whole object, with the usage even if the stream does not show it."""


class OneChunk(Generic[Whole]):
    """The object itself, which comes as one chunk."""

    has_ended = True

    def add(self, chunk: Whole) -> None:
        self._whole = chunk

    def whole(self) -> Whole:
        return self._whole


class StreamWriter(Protocol[Sent]):
    """Chunks for silence and failure, in a dialect that has them in place of a comment and an envelope."""

    def silence(self) -> Iterable[Sent]:
        """Chunks to send during a long silence."""

    def failure(self, error: APIError) -> Iterable[Sent]:
        """The last chunks of an answer that failed after it had begun."""


def respond(
    context: RequestContext,
    chunks: Generator[Chunk | None, None, None],
    *,
    stream: bool,
    fold: Folding[Chunk, Whole],
    on_complete: OnComplete[Whole] | None = None,
    telling: StreamWriter[Chunk] | None = None,
) -> Response:
    """Send `chunks` as they come, or the object that they add up to when all are there.

    `on_complete` is called once with that object, streamed or not, before the client can know that the answer
    is complete: before the chunk is sent that ends the last choice. The fields that it returns are
    added to that chunk, or to the whole. It is not called for an answer that fails or whose client hangs
    up; what it raises ends the answer as an error. Without it streamed chunks are not added up.

    None among the chunks means that nothing has happened yet. If the client hangs up, the work ends within
    one step. An error before the first chunk keeps its status, unless the stream was opened earlier, to send
    something during a long silence; after that it is the last event. `telling` makes the chunks for both in
    a dialect that has them.
    """
    context.record.streamed = stream
    if stream:
        completing = None if on_complete is None else (fold, on_complete)
        events = _events(context, chunks, completing, telling)
        return send(events, context) if context.resumable is None else context.resumable(events)

    if context.resumable is not None:
        context.record.ignored.append(STREAM_HEADER)
    collect(context, chunks, fold)
    whole = fold.whole()
    more = None if on_complete is None else on_complete(whole)
    return json_response({**whole, **more} if more else whole)


def send(events: Events, context: RequestContext) -> Response:
    """Send encoded events as they come."""
    return _PushedEvents(events, context) if context.is_pushed else _pulled(events, context)


def collect(
    context: RequestContext,
    chunks: Generator[Chunk | None, None, None],
    fold: Folding[Chunk, Any],
) -> None:
    """Add up `chunks`, as long as the client waits for the answer."""

    def keep(chunk: Chunk | None) -> None:
        context.check_wanted()
        if chunk is not None:
            fold.add(chunk)

    run_inline(chunks, keep)


Events = Generator["bytes | None", None, None]
"""Encoded server-sent events; None as among chunks."""


class _EventStream(Response):
    """`parts` of the body, if the server iterates over them."""

    def __init__(
        self, events: Events, context: RequestContext, parts: Iterable[bytes] = ()
    ) -> None:
        super().__init__(parts, content_type=context.dialect.events.content_type)
        self.headers["Cache-Control"] = "no-cache"
        self.headers["X-Accel-Buffering"] = "no"
        self.call_on_close(events.close)


def _pulled(events: Events, context: RequestContext) -> Response:
    """Events for a server that iterates over them; created when the first event arrives."""
    ready = (event for event in events if event)  # an empty part would end a chunked body
    first = [event for event in [next(ready, None)] if event is not None]
    return _EventStream(events, context, chain(first, ready))


class _PushedEvents(_EventStream):
    """Events written to the client within the engine's callbacks (see `callback_bridge.run_inline`). All
    events of one callback are sent together.

    The handler has returned by then, so an error before the first event becomes a response here.
    """

    def __init__(self, events: Events, context: RequestContext) -> None:
        super().__init__(events, context)
        self._events = events
        self._context = context

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        write: Callable[[bytes], object] | None = None
        ready: list[bytes] = []
        end = self._context.dialect.events.end

        def deliver(event: bytes | None) -> None:
            nonlocal write
            if event is not None:
                ready.append(event)
                if event is not end:
                    return
            if not ready:
                return
            if write is None:
                self.headers["openai-processing-ms"] = self._context.record.milliseconds
                write = start_response(self.status, self.headers.to_wsgi_list())
            data = ready[0] if len(ready) == 1 else b"".join(ready)
            ready.clear()
            write(data)

        try:
            run_inline(self._events, deliver)
            deliver(None)
            if write is None:  # there was nothing to send
                start_response(self.status, self.headers.to_wsgi_list())
        except Exception as error:
            if write is not None:
                raise
            refusal = self._refusal(error)
            start_response(refusal.status, refusal.headers.to_wsgi_list())(refusal.data)
        finally:
            self.close()
        return ()

    def _refusal(self, error: Exception) -> Response:
        """The response in place of the stream, with the same CORS headers."""
        refusal = error_response(self._context, error)
        self._context.complete_head(refusal)
        refusal.headers.extend(
            (name, value)
            for name, value in self.headers
            if name == "Vary" or name.startswith("Access-Control-")
        )
        return refusal


def _events(
    context: RequestContext,
    chunks: Generator[Any, None, None],
    completing: tuple[Folding[Any, Any], OnComplete[Any]] | None,
    telling: StreamWriter[Any] | None,
) -> Events:
    """One event for each chunk; an error is the last event, or is raised if it would be the first."""
    record, keep_alive = context.record, context.services.settings.keep_alive
    events, (fold, on_complete) = context.dialect.events, completing or (None, None)
    is_last, write, completed = events.is_last, events.event, False

    def complete() -> Mapping[str, object]:
        """Call this before the client can know that the answer is complete. Return fields to add to the chunk
        that shows it."""
        nonlocal completed
        completed, more = True, None
        if fold is not None and on_complete is not None:
            more = on_complete(fold.whole())
        context.allow_another()
        return more or {}

    begun, due = False, time.monotonic() + keep_alive
    try:
        for chunk in chunks:
            context.check_wanted()
            if chunk is not None:
                if fold is not None:
                    fold.add(chunk)
                tells = is_last(chunk) or (fold is not None and fold.has_ended)
                if tells and not completed:
                    chunk = {**chunk, **complete()}
                yield write(chunk)
            elif time.monotonic() < due:
                yield None
                continue
            else:
                yield from _silence(context, telling)
            begun, due = True, time.monotonic() + keep_alive
        if not completed:
            complete()
        yield events.end
    except GeneratorExit:
        record.cancelled = True
    except ClientGone:
        record.cancelled = True
        if not begun:
            raise
    except Exception as error:
        if not begun:
            raise
        if not isinstance(error, APIError):
            log.exception("an answer failed while it was streamed")
            error = failed()
        record.error = error.code or error.type
        context.allow_another()
        yield from failure_of(context, error, telling)
    finally:
        chunks.close()


def _silence(context: RequestContext, telling: StreamWriter[Any] | None) -> Iterator[bytes]:
    """What to send during a long silence."""
    events = context.dialect.events
    comment = comment_of(context) if events.comments else None
    if telling is not None:
        yield from map(events.event, telling.silence())
    elif events.silence is not None:
        yield events.silence
    if comment is not None:
        yield comment
    elif telling is None and events.silence is None:
        yield KEEP_ALIVE


def comment_of(context: RequestContext) -> bytes | None:
    """What a request waits for, if it does."""
    position = context.queue_position()
    if position is not None:
        return queue_comment(position)
    record = context.record
    if record.progress is not None and record.first_token is None:
        return reading_comment(record.progress)
    residence = context.awaited_model()
    return None if residence is None else loading_comment(residence)


def failure_of(
    context: RequestContext, error: APIError, telling: StreamWriter[Any] | None = None
) -> Iterator[bytes]:
    """The last events of an answer that failed after it had begun."""
    dialect = context.dialect
    if telling is None:
        yield dialect.events.error(dialect.error(error, context.record.id))
    else:
        yield from map(dialect.events.event, telling.failure(error))
        yield dialect.events.end
