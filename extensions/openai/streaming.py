"""One path to the client: chunks become server-sent events, or are folded into one JSON object.

Source of the framing: the WHATWG HTML standard, "Server-sent events", as read by the official SDK
(`openai._streaming.Stream`): it stops at `[DONE]` and raises on an `error` key.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterable
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar

import orjson
from flask import Response, current_app

from .access.record import Record
from .engines.pump import drive
from .errors import APIError, InternalError
from .routing import Call

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

log = logging.getLogger("openedai")

Chunk = TypeVar("Chunk")

DONE = b"data: [DONE]\n\n"


class ClientGone(Exception):
    """The client hung up, so the work ends and nobody is told."""


def respond(
    call: Call,
    chunks: Generator[Chunk | None, None, None],
    *,
    stream: bool,
    fold: Callable[[Iterable[Chunk]], Any],
) -> Response:
    """Send `chunks` as they come, or `fold(chunks)` when they are all there.

    None among the chunks means that nothing has happened yet. A client that leaves ends the work within
    one step of it. An error before the first chunk keeps its status, unless the stream had to be opened
    before, to send a comment into a long silence; after that it is the last event.
    """
    call.record.streamed = stream
    if stream:
        events = _events(call, chunks)
        return _PushedEvents(events, call.record) if call.pushed else _PulledEvents(events)
    made: list[Chunk] = []

    def keep(chunk: Chunk | None) -> None:
        check_wanted(call)
        if chunk is not None:
            made.append(chunk)

    drive(chunks, keep)
    return json_response(fold(made))


Events = Generator["bytes | None", None, None]
"""Server-sent events as they are written; None as among chunks."""


class _EventStream(Response):
    def __init__(self, events: Events) -> None:
        super().__init__(content_type="text/event-stream; charset=utf-8")
        self.headers["Cache-Control"] = "no-cache"
        self.headers["X-Accel-Buffering"] = "no"
        self.call_on_close(events.close)


class _PulledEvents(_EventStream):
    """Events for whoever iterates over the response; made when the first one is there."""

    def __init__(self, events: Events) -> None:
        spoken = (event for event in events if event is not None)
        first = next(spoken)
        super().__init__(events)
        self.response = chain([first], spoken)


class _PushedEvents(_EventStream):
    """Events written to the client from inside of the engine's callbacks (see `pump.drive`).

    The view has returned by then, so an error before the first event becomes an answer in here.
    """

    automatically_set_content_length = False  # nothing is in the response itself

    def __init__(self, events: Events, record: Record) -> None:
        super().__init__(events)
        self._events = events
        self._record = record

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        write: Callable[[bytes], object] | None = None

        def deliver(event: bytes | None) -> None:
            nonlocal write
            if event is None:
                return
            if write is None:
                self.headers["openai-processing-ms"] = self._record.milliseconds
                write = start_response(self.status, self.headers.to_wsgi_list())
            write(event)

        try:
            drive(self._events, deliver)
        except Exception as error:
            if write is not None:
                raise
            refusal = current_app.finalize_request(current_app.handle_user_exception(error))
            _, status, headers = refusal.get_wsgi_response(environ)
            start_response(status, headers)(refusal.get_data())
        finally:
            self.close()
        return []


def json_response(value: Any, status: int = 200) -> Response:
    """An answer of JSON, in the order in which it was built."""
    return Response(orjson.dumps(value), status, content_type="application/json")


def check_wanted(call: Call) -> None:
    """Raises when an answer under way must end: the server stops, its time is up, nobody reads it."""
    call.services.lifecycle.check()
    call.job.check()
    if call.client_gone():
        raise ClientGone


def _events(call: Call, chunks: Generator[Any, None, None]) -> Events:
    """One event for each chunk; an error is the last one, or is raised where it would be the first."""
    record, keep_alive = call.record, call.services.settings.keep_alive
    begun, due = False, time.monotonic() + keep_alive
    try:
        for chunk in chunks:
            check_wanted(call)
            if chunk is not None:
                yield b"data: " + orjson.dumps(chunk) + b"\n\n"
            elif time.monotonic() < due:
                yield None
                continue
            else:
                yield call.job.comment()
            begun, due = True, time.monotonic() + keep_alive
        call.job.leave()
        yield DONE
    except APIError as error:
        if not begun:
            raise
        record.error = error.code or error.type
        call.job.leave()
        yield b"data: " + orjson.dumps(error.envelope()) + b"\n\n"
    except GeneratorExit:
        record.cancelled = True
    except ClientGone:
        record.cancelled = True
        if not begun:
            raise
    except Exception:
        if not begun:
            raise
        record.error = InternalError.type
        log.exception("an answer failed while it was streamed")
        fault = InternalError("The server failed while it worked on this request.")
        yield b"data: " + orjson.dumps(fault.envelope()) + b"\n\n"
    finally:
        chunks.close()
