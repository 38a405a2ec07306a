"""Refuses requests whose end another server might see elsewhere, to prevent request smuggling.

waitress accepts some forms that RFC 9112 says to refuse (sections 2.2, 2.3, 3.2, 5.2, 6.1, 6.3, 7.1): both
Content-Length and Transfer-Encoding, folded header lines, HTTP versions with unknown framing, bare line feeds
in chunk headers. If a proxy in front reads them differently, the end of one request becomes the beginning of
another.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

from waitress.parser import HTTPRequestParser, ParsingError
from waitress.utilities import BadRequest, Error, RequestEntityTooLarge

from ..errors import APIError, Unavailable
from .bodies import Body, BodyMemory, BodyMemoryFull, FileBody, FixedBody

REQUEST_LINE = re.compile(rb"[!-~]+ [!-~\x80-\xff]+ HTTP/1\.([01])")
BARE = re.compile(rb"(?<!\r)\n|\r(?=[^\n])")
CHUNK = re.compile(rb"([0-9A-Fa-f]{1,8})(?:;[\t -~\x80-\xff]*)?")  # its size and extensions
TRAILER = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t -~\x80-\xff]*")
BAD_REQUEST_LINE = "The request line must be METHOD TARGET HTTP/1.1"
FORM = "multipart/form-data"
MAX_LENGTH_DIGITS = 15
MAX_CHUNK_HEADER_BYTES = 1024
MAX_TRAILER_BYTES = 8192


@dataclass(frozen=True, slots=True)
class FileBodies:
    """How bodies with files are received, which may be longer than others."""

    wanted: Callable[[str, str], bool]
    """Whether the body of a form is one, by method and path."""
    adjustments: Any
    """waitress's, with how long they may be."""
    folder: Callable[[], Path | None]
    """Where they are while they arrive; None: where temporary files are."""


class StrictParser(HTTPRequestParser):
    """waitress's parser, with ambiguous requests refused first, and a check of the head before the body."""

    proxy_scheme: str  # the stubs leave these two out
    proxy_netloc: str
    path = ""  # waitress logs it, also for a request without one
    command: Any = ""  # a string, whatever the stubs say
    _scanned = 0  # bytes of the head without a bare line feed

    _on_disk = False  # while its body arrives

    waits = False
    """The client sends its body only after 100 Continue."""
    head_checked = False
    """It was checked whether the body is wanted."""
    body_refused = False
    """The request is answered without its body."""
    refusal: APIError | None = None
    """The reason, if already known."""

    def __init__(self, adj: Any, memory: BodyMemory, files: FileBodies) -> None:
        super().__init__(adj)
        self._memory = memory
        self._files = files

    def received(self, data: bytes) -> int:
        consumed = super().received(data)
        if not self.completed and self.body_rcv is None:
            # waitress would wait in vain for the end of a head with other line ends.
            head: bytes = self.header_plus
            first, complete, _ = head.lstrip(b"\r\n").partition(b"\r\n")
            if BARE.search(head, self._scanned):
                self.error = BadRequest("Bare CR or LF found in the head")
            elif complete and not REQUEST_LINE.fullmatch(first):
                self.error = BadRequest(BAD_REQUEST_LINE)
            self.completed = self.error is not None
            self._scanned = max(0, len(head) - 1)
        return consumed

    def parse_header(self, header_plus: bytes) -> None:
        """Raises ParsingError, which is answered with 400."""
        first, *lines = header_plus.split(b"\r\n")
        # Needed to answer a refused request.
        command, _, target = first.partition(b" ")
        self.command = command.decode("latin-1")
        self.path = unquote_to_bytes(target.partition(b" ")[0].partition(b"?")[0]).decode("latin-1")
        fields: dict[bytes, list[bytes]] = {}
        for line in lines:
            if line.startswith((b" ", b"\t")):
                raise ParsingError("Folded header lines are not allowed")
            if b"\r" in line or b"\n" in line:
                # waitress's message would quote the line, which may contain a key.
                raise ParsingError("Bare CR or LF found in a header line")
            name, _, value = line.partition(b":")
            fields.setdefault(name.lower(), []).append(value.strip(b" \t"))
        found = REQUEST_LINE.fullmatch(first)
        if found is None:
            raise ParsingError(BAD_REQUEST_LINE)
        _check_framing(fields, newer=found[1] == b"1")
        try:
            super().parse_header(header_plus)
        except ValueError:
            raise ParsingError("Bad URI") from None
        if self.proxy_scheme or self.proxy_netloc:
            self._set_host_from_target()
        # There is no other protocol to upgrade to, and RFC 9110 (7.8) lets a server ignore this. Werkzeug
        # would look for a WebSocket route.
        self.headers.pop("UPGRADE", None)  # type: ignore[attr-defined]  # it is a dict
        # The channel sends 100 Continue once the body is wanted.
        self.waits, self.expect_continue = self.expect_continue, False
        body: Body | FileBody = Body(self._memory)
        kind = self.headers.get("CONTENT_TYPE", "")
        if kind.lower().startswith(FORM) and self._files.wanted(self.command, self.path):
            self.adj, body = self._files.adjustments, FileBody(self._files.folder())
            self._on_disk = True
        if self.chunked:
            self.body_rcv: Any = ChunkedBody(body, self.adj.max_request_body_size)
        elif self.body_rcv is not None:
            self.body_rcv = FixedBody(self.content_length, body)

    def admit_body(self) -> None:
        """Receive the body, if there is memory for it."""
        if not self._on_disk and not self._memory.would_fit(self.content_length):
            self.error = BodyMemoryFull("")

    def refuse_body(self, refusal: APIError | None) -> None:
        """Do not receive the body."""
        self.body_refused, self.refusal = True, refusal

    def get_body_stream(self) -> Any:
        return _RefusedBody() if self.body_refused else super().get_body_stream()

    def _set_host_from_target(self) -> None:
        """A target such as http://localhost/health contains the host, and the Host header must be the same
        (RFC 9112, 3.2.2). Raises ParsingError."""
        headers: Any = self.headers
        host = self.proxy_netloc
        if self.proxy_scheme.lower() not in ("http", "https") or not host or "@" in host:
            raise ParsingError("Bad URI")
        if headers.setdefault("HOST", host).lower() != host.lower():
            raise ParsingError("The target and the Host header name different hosts")


class _RefusedBody(io.RawIOBase):
    """Replaces a body that was not wanted when the head was checked."""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        # Read only if the settings changed since the head was checked.
        raise Unavailable("The server's settings have just changed. Please send the request again.")


def _check_framing(fields: dict[bytes, list[bytes]], *, newer: bool) -> None:
    hosts, lengths = fields.get(b"host", []), fields.get(b"content-length", [])
    encodings = fields.get(b"transfer-encoding", [])
    if len(hosts) != 1 and (hosts or newer):
        raise ParsingError("There must be one Host header")
    if len(lengths) > 1 or any(len(length) > MAX_LENGTH_DIGITS for length in lengths):
        raise ParsingError("Content-Length is invalid")
    if encodings:
        if lengths:
            raise ParsingError("Content-Length and Transfer-Encoding exclude each other")
        if not newer or [encoding.lower() for encoding in encodings] != [b"chunked"]:
            raise ParsingError("The only Transfer-Encoding is chunked, once, in HTTP/1.1")


class ChunkedBody:
    """A chunked body, decoded into a buffer while it arrives; waitress's interface of a receiver."""

    def __init__(self, buffer: Body | FileBody, max_bytes: int) -> None:
        self._buffer = buffer
        self._allowed = max_bytes
        self._line = b""
        self._remaining = 0  # bytes of the chunk
        self._in_chunk = False
        self._trailers: int | None = None  # their bytes, once the last chunk has arrived
        self.completed = False
        self.error: Error | None = None

    def __len__(self) -> int:
        return int(self._buffer.__len__())

    def received(self, data: bytes) -> int:
        """Consume data of the body; return how many bytes."""
        at = 0
        while at < len(data) and not self.completed and self.error is None:
            if self._remaining:
                part = data[at : at + self._remaining]
                if not self._buffer.append(part):
                    self.error = BodyMemoryFull(self._buffer.problem)
                self._remaining -= len(part)
                at += len(part)
                continue
            end = data.find(b"\n", at) + 1
            self._line += data[at : end or len(data)]
            at = end or len(data)
            if len(self._line) > MAX_CHUNK_HEADER_BYTES:
                self.error = BadRequest("A chunk's header is too long")
            elif end:
                self._parse_line()
        return at

    def _parse_line(self) -> None:
        line, self._line = self._line, b""
        if not line.endswith(b"\r\n") or b"\r" in line[:-2]:
            self.error = BadRequest("Bare CR or LF found in a chunk's header")
            return
        line = line[:-2]
        if self._trailers is not None:
            self._trailers += len(line)
            self.completed = not line
            if line and (self._trailers > MAX_TRAILER_BYTES or not TRAILER.fullmatch(line)):
                self.error = BadRequest("Invalid trailer")
        elif self._in_chunk:
            self._in_chunk = False
            if line:
                self.error = BadRequest("Chunk not properly terminated")
        else:
            self._begin_chunk(line)

    def _begin_chunk(self, line: bytes) -> None:
        found = CHUNK.fullmatch(line)
        if found is None:
            self.error = BadRequest("Invalid chunk size")
            return
        size = int(found[1], 16)
        self._allowed -= size
        if self._allowed < 0:
            self.error = RequestEntityTooLarge("the chunks are too large")
        elif size:
            self._remaining, self._in_chunk = size, True
        else:
            self._trailers = 0

    def getfile(self) -> Any:
        return self._buffer.getfile()

    def getbuf(self) -> Body | FileBody:
        return self._buffer
