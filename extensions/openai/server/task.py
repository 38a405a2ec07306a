"""One response on a connection of waitress: its head, its framing, and errors in our envelope."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import orjson
from flask import Flask
from waitress.task import ErrorTask, WSGITask
from waitress.utilities import Error, build_http_date

from ..errors import APIError, BodyTooLarge, InvalidRequest, RequestMemoryFull, RequestTooSlow
from ..observability.record import RequestRecord, notify
from ..web.context import new_request_id
from ..web.pipeline import REFUSAL
from ..web.routing.route_table import RouteTable
from ..web.services import Services
from .bodies import NO_DISK


class TooSlow(Error):
    """waitress's error for a request that arrives too slowly."""

    code = 408
    reason = "Request Timeout"


class EnvelopeErrorTask(ErrorTask):
    """Answers errors from below the application (malformed HTTP, too long headers) in the dialect of the
    request's path."""

    def execute(self) -> None:
        found: Any = self.request.error  # type: ignore[attr-defined]  # a waitress.utilities.Error
        error = _to_api_error(found.code, found.reason, found.body)
        record = RequestRecord(new_request_id(), status=found.code, error=error.code or error.type)
        channel: Any = self.channel
        app: Flask = channel.server.application
        routes: RouteTable = app.extensions["openai_routes"]
        dialect = routes.dialect_at(self.request.path)  # type: ignore[attr-defined]  # text
        body = orjson.dumps(dialect.error(error, record.id), option=orjson.OPT_APPEND_NEWLINE)
        self.status = f"{found.code} {found.reason}"
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
        notify(record, services.observers)


def _to_api_error(status: int, reason: str, detail: str) -> APIError:
    if status == 413:
        return BodyTooLarge("The request body is larger than this server accepts.")
    if status == 408:
        return RequestTooSlow("The request did not arrive in time.")
    if status == 503:
        return RequestMemoryFull(
            "The server has no room for the files of this request. Please try again."
            if detail == NO_DISK
            else "Other requests use all of the memory for request bodies. Please try again."
        )
    if status < 500:
        return InvalidRequest(f"The HTTP request is malformed: {reason} ({detail}).")
    return APIError(f"The server cannot handle this HTTP request: {reason}.", code="http_error")


class AnswerTask(WSGITask):
    """A response of the application. waitress would close the connection after one without a length; a
    chunked one keeps it open, so that a client need not reconnect for its next stream."""

    def __init__(self, channel: Any, request: Any) -> None:
        super().__init__(channel, request)
        if request.body_refused:
            # The client may still be sending its body.
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
        connection = self.request.headers.get("CONNECTION", "").lower()  # type: ignore[attr-defined]
        tokens = [each.strip(" \t") for each in connection.split(",")] if connection else ()
        is_http_1_1 = self.version == "1.1"
        framed = bodyless or length is not None
        is_head = self.request.command == "HEAD"  # type: ignore[attr-defined]
        if is_http_1_1 and not framed and not is_head:
            headers.append(("Transfer-Encoding", "chunked"))
            self.chunked_response = framed = True
        persistent = is_http_1_1 or "keep-alive" in tokens
        if "close" in tokens or not (persistent and framed):
            self.close_on_finish = True
        if self.close_on_finish and "connection" not in named:
            headers.append(("Connection", "close"))
        elif not (is_http_1_1 or self.close_on_finish):
            headers.append(("Connection", "Keep-Alive"))
        if "date" not in named:
            headers.append(("Date", _date(int(self.start_time))))
        self.response_headers = headers
        lines = [f"HTTP/{self.version} {self.status}", *(f"{name}: {v}" for name, v in headers)]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    def write(self, data: bytes) -> None:
        """Send the head together with the first data of the body: one packet, one system call."""
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
