"""One answer on a connection of waitress: its head, its framing, and refusals in our envelope."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import orjson
from flask import Flask
from waitress.task import ErrorTask, WSGITask
from waitress.utilities import Error, build_http_date

from ..errors import APIError, BodyTooLarge, InvalidRequest, RequestMemoryFull, RequestTooSlow
from ..observability.record import RequestRecord, report
from ..web.context import new_request_id
from ..web.pipeline import REFUSAL
from ..web.routing.route_table import RouteTable
from ..web.services import Services


class Slow(Error):
    """waitress's form of a request that did not come in time."""

    code = 408
    reason = "Request Timeout"


class EnvelopeErrorTask(ErrorTask):
    """What is refused below the application (broken HTTP, too long headers) answers in the envelope that its
    path has in it."""

    def execute(self) -> None:
        refused: Any = self.request.error  # type: ignore[attr-defined]  # a waitress.utilities.Error
        error = _envelope(refused.code, refused.reason, refused.body)
        record = RequestRecord(
            new_request_id(), status=refused.code, error=error.code or error.type
        )
        channel: Any = self.channel
        app: Flask = channel.server.application
        routes: RouteTable = app.extensions["openai_routes"]
        dialect = routes.dialect_at(self.request.path)  # type: ignore[attr-defined]  # text
        body = orjson.dumps(dialect.error(error, record.id))
        self.status = f"{refused.code} {refused.reason}"
        self.response_headers = [
            ("Content-Type", "application/json"),
            ("x-request-id", record.id),
            ("openai-processing-ms", "0"),
            *error.headers.items(),
            *(() if dialect.head is None else dialect.head(record.id).items()),
        ]
        self.set_close_on_finish()
        self.content_length = len(body)
        is_head = self.request.command == "HEAD"  # type: ignore[attr-defined]
        self.write(b"" if is_head else body)
        channel.lingers = True
        record.address = str(channel.addr[0])
        services: Services = app.extensions["openai"]
        report(record, services.observers)


def _envelope(status: int, reason: str, detail: str) -> APIError:
    if status == 413:
        return BodyTooLarge("The body of the request is larger than this server takes.")
    if status == 408:
        return RequestTooSlow("The request did not come in time.")
    if status == 503:
        return RequestMemoryFull(
            "The requests that are being received or wait take all the memory that there is for them. "
            "Please try again."
        )
    if status < 500:
        return InvalidRequest(f"The HTTP request is malformed: {reason} ({detail}).")
    return APIError(f"The server cannot take this HTTP request: {reason}.", code="http_error")


class AnswerTask(WSGITask):
    """An answer of the application. waitress would close the connection after each that has no length;
    here a chunked one leaves it open, so that a client need not connect again for its next stream."""

    def __init__(self, channel: Any, request: Any) -> None:
        super().__init__(channel, request)
        if request.unread:
            # The client may be sending its body still.
            self.close_on_finish = channel.lingers = True

    def get_environment(self) -> dict[str, Any]:
        environ: dict[str, Any] = super().get_environment()
        refusal: APIError | None = self.request.refusal  # type: ignore[attr-defined]
        if refusal is not None:
            environ[REFUSAL] = refusal
        return environ

    def build_response_header(self) -> bytes:
        """The status line and all headers (RFC 9112, 6.3 and 9.3)."""
        headers = list(self.response_headers)
        length = self.content_length
        named = {name.lower() for name, _ in headers}
        bodyless = not self.has_body
        if bodyless:
            headers = [each for each in headers if each[0].lower() != "content-length"]
        elif length is not None and "content-length" not in named:
            headers.append(("Content-Length", str(length)))
        wishes = self.request.headers.get("CONNECTION", "").lower()  # type: ignore[attr-defined]
        tokens = [each.strip(" \t") for each in wishes.split(",")] if wishes else ()
        newer = self.version == "1.1"
        framed = bodyless or length is not None
        if newer and not framed and self.request.command != "HEAD":  # type: ignore[attr-defined]
            headers.append(("Transfer-Encoding", "chunked"))
            self.chunked_response = framed = True
        kept = newer or "keep-alive" in tokens
        if "close" in tokens or not (kept and framed):
            self.close_on_finish = True
        if self.close_on_finish and "connection" not in named:
            headers.append(("Connection", "close"))
        elif not (newer or self.close_on_finish):
            headers.append(("Connection", "Keep-Alive"))
        if "date" not in named:
            headers.append(("Date", _date(int(self.start_time))))
        self.response_headers = headers
        lines = [f"HTTP/{self.version} {self.status}", *(f"{name}: {v}" for name, v in headers)]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    def write(self, data: bytes) -> None:
        """The head of an answer goes out together with the first of its body: one packet, one system call."""
        if self.wrote_header or not data:
            super().write(data)
            return
        channel: Any = self.channel
        channel.hold()
        try:
            super().write(data)
        finally:
            channel.release()


@lru_cache(maxsize=2)
def _date(second: int) -> str:
    return build_http_date(second)
