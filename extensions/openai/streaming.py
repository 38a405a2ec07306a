"""One path to the client: chunks become server-sent events, or are folded into one JSON object.

Source of the framing: the WHATWG HTML standard, "Server-sent events", as read by the official SDK
(`openai._streaming.Stream`): it stops at `[DONE]` and raises on an `error` key.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from itertools import chain
from typing import Any, TypeVar

import orjson
from flask import Response

from .access.job import Job
from .errors import APIError, InternalError
from .routing import Call

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
    watched = _watch(call, chunks)
    call.record.streamed = stream
    if not stream:
        try:
            return json_response(fold(chunk for chunk in watched if chunk is not None))
        finally:
            chunks.close()
    keep_alive = call.services.settings.keep_alive
    try:
        first = _first(watched, keep_alive)
    except BaseException:
        chunks.close()
        raise
    events = _events(chain([first], watched), keep_alive, call.job)
    response = Response(events, mimetype="text/event-stream")
    response.headers["Content-Type"] = "text/event-stream; charset=utf-8"
    response.headers["Cache-Control"] = "no-cache"
    response.headers["X-Accel-Buffering"] = "no"
    response.call_on_close(chunks.close)
    return response


def json_response(value: Any, status: int = 200) -> Response:
    """An answer of JSON, in the order in which it was built."""
    return Response(orjson.dumps(value), status, mimetype="application/json")


def _watch(call: Call, chunks: Iterable[Chunk | None]) -> Iterator[Chunk | None]:
    """The chunks, as long as somebody is there to read them and the server is not ending."""
    for chunk in chunks:
        call.services.lifecycle.check()
        call.job.check()
        if call.client_gone():
            raise ClientGone
        yield chunk


def _first(chunks: Iterator[Chunk | None], patience: float) -> Chunk | None:
    """The first chunk, or None when there is none for `patience` seconds."""
    deadline = time.monotonic() + patience
    for chunk in chunks:
        if chunk is not None or time.monotonic() >= deadline:
            return chunk
    return None


def _events(chunks: Iterable[Any], keep_alive: float, job: Job) -> Iterator[bytes]:
    record = job.record
    # None as the very first one says that the silence has lasted `keep_alive` seconds already.
    due = 0.0
    try:
        for chunk in chunks:
            if chunk is not None:
                yield b"data: " + orjson.dumps(chunk) + b"\n\n"
            elif time.monotonic() < due:
                continue
            else:
                yield job.comment()
            due = time.monotonic() + keep_alive
        yield DONE
    except APIError as error:
        record.error = error.code or error.type
        yield b"data: " + orjson.dumps(error.envelope()) + b"\n\n"
    except (ClientGone, GeneratorExit):
        record.cancelled = True
    except Exception:
        record.error = InternalError.type
        log.exception("an answer failed while it was streamed")
        fault = InternalError("The server failed while it worked on this request.")
        yield b"data: " + orjson.dumps(fault.envelope()) + b"\n\n"
