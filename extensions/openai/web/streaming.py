"""One path to the client: chunks become server-sent events, or are folded into one JSON object.

Source of the framing: the WHATWG HTML standard, "Server-sent events", as read by the official SDK
(`openai._streaming.Stream`): it stops at `[DONE]` and raises on an `error` key.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import orjson
from flask import Response

from ..engines.callback_bridge import run_inline
from ..errors import APIError, InternalError
from .response import Reply, json_reply
from .routes import Call

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

log = logging.getLogger("openedai")

Chunk = TypeVar("Chunk")
Seen = TypeVar("Seen", contravariant=True)
Whole = TypeVar("Whole")
Made = TypeVar("Made", covariant=True)

DONE = b"data: [DONE]\n\n"


class ClientGone(Exception):
    """The client hung up, so the work ends silently."""


class Folding(Protocol[Seen, Made]):
    """Adds chunks up as they come, so that they need not all be kept."""

    def add(self, chunk: Seen) -> None: ...

    def whole(self) -> Made:
        """The object that they make, usage included, whatever the stream shows of that."""


def respond(
    call: Call,
    chunks: Generator[Chunk | None, None, None],
    *,
    stream: bool,
    fold: Folding[Chunk, Whole],
    on_complete: Callable[[Whole], object] | None = None,
) -> Reply:
    """Send `chunks` as they come, or what they add up to when they are all there.

    `on_complete` is called once with what they add up to, streamed or not: behind the last chunk, and before
    the client can know that the answer is complete. It is not called for an answer that fails or whose client
    leaves; what it raises ends the answer as an error. Without it streamed chunks are not added up.

    None among the chunks means that nothing has happened yet. A client that leaves ends the work within
    one step of it. An error before the first chunk keeps its status, unless the stream had to be opened
    before, to send a comment into a long silence; after that it is the last event.
    """
    call.record.streamed = stream
    if stream:
        events = _events(call, chunks, None if on_complete is None else (fold, on_complete))
        return _PushedEvents(events, call) if call.pushed else _PulledEvents(events)

    def keep(chunk: Chunk | None) -> None:
        check_wanted(call)
        if chunk is not None:
            fold.add(chunk)

    run_inline(chunks, keep)
    whole = fold.whole()
    if on_complete is not None:
        on_complete(whole)
    return json_reply(whole)


Events = Generator["bytes | None", None, None]
"""Server-sent events as they are written; None as among chunks."""


class _EventStream(Reply):
    def __init__(self, events: Events) -> None:
        super().__init__(content_type="text/event-stream; charset=utf-8")
        self.headers["Cache-Control"] = "no-cache"
        self.headers["X-Accel-Buffering"] = "no"
        self.call_on_close(events.close)


class _PulledEvents(_EventStream):
    """Events for a server that iterates over the reply; made when the first one is there."""

    def __init__(self, events: Events) -> None:
        self._spoken = (event for event in events if event is not None)
        self._first = next(self._spoken)
        super().__init__(events)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response(self.status, list(self.headers.items()))
        return self

    def __iter__(self) -> Iterator[bytes]:
        return chain([self._first], self._spoken)


class _PushedEvents(_EventStream):
    """Events written to the client from inside of the engine's callbacks (see `callback_bridge.run_inline`).
    What one callback brings goes out together.

    The handler has returned by then, so an error before the first event becomes a reply in here.
    """

    def __init__(self, events: Events, call: Call) -> None:
        super().__init__(events)
        self._events = events
        self._call = call

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        write: Callable[[bytes], object] | None = None
        ready: list[bytes] = []

        def deliver(event: bytes | None) -> None:
            nonlocal write
            if event is not None:
                ready.append(event)
                if event is not DONE:
                    return
            if not ready:
                return
            if write is None:
                self.headers["openai-processing-ms"] = self._call.record.milliseconds
                write = start_response(self.status, list(self.headers.items()))
            data = ready[0] if len(ready) == 1 else b"".join(ready)
            ready.clear()
            write(data)

        try:
            run_inline(self._events, deliver)
            deliver(None)
        except Exception as error:
            if write is not None:
                raise
            refusal = self._call.refuse(error)
            headers = [*refusal.headers.items(), ("Content-Length", str(len(refusal.body)))]
            start_response(refusal.status, headers)(refusal.body)
        finally:
            self.close()
        return ()


def json_response(value: Any, status: int = 200) -> Response:
    """An answer of JSON, in the order in which it was built."""
    return Response(orjson.dumps(value), status, content_type="application/json")


def check_wanted(call: Call) -> None:
    """Raises when an answer under way must end: the server stops, its time is up, the client has left."""
    call.services.lifecycle.check()
    call.job.check()
    if call.client_gone():
        raise ClientGone


def _events(
    call: Call,
    chunks: Generator[Any, None, None],
    completing: tuple[Folding[Any, Any], Callable[[Any], object]] | None,
) -> Events:
    """One event for each chunk; an error is the last one, or is raised where it would be the first."""
    record, keep_alive = call.record, call.services.settings.keep_alive
    fold, complete = completing or (None, None)
    begun, due = False, time.monotonic() + keep_alive
    try:
        for chunk in chunks:
            check_wanted(call)
            if chunk is not None:
                if fold is not None:
                    fold.add(chunk)
                yield b"data: " + orjson.dumps(chunk) + b"\n\n"
            elif time.monotonic() < due:
                yield None
                continue
            else:
                yield call.job.comment()
            begun, due = True, time.monotonic() + keep_alive
        if fold is not None and complete is not None:
            complete(fold.whole())
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
