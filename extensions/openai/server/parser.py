"""Requests whose bounds two servers might see differently are refused, so that nothing can be smuggled.

waitress takes some forms that RFC 9112 wants refused (sections 2.2, 2.3, 3.2, 5.2, 6.1, 6.3, 7.1):
both Content-Length and Transfer-Encoding, folded header lines, HTTP versions whose framing it does not
know, bare line feeds in chunk headers. Behind a proxy that reads them in another way, the end of one request
would be the beginning of another.
"""

from __future__ import annotations

import io
import re
from typing import Any
from urllib.parse import unquote_to_bytes

from waitress.parser import HTTPRequestParser, ParsingError
from waitress.utilities import BadRequest, Error, RequestEntityTooLarge

from ..errors import APIError, Unavailable
from .bodies import Body, FixedBody, HeldBytes, NoRoom

REQUEST_LINE = re.compile(rb"[!-~]+ [!-~\x80-\xff]+ HTTP/1\.([01])")
BARE = re.compile(rb"(?<!\r)\n|\r(?=[^\n])")
CHUNK = re.compile(rb"([0-9A-Fa-f]{1,8})(?:;[\t -~\x80-\xff]*)?")  # its size and extensions
TRAILER = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t -~\x80-\xff]*")
REQUEST_LINE_IS = "The request line must be METHOD TARGET HTTP/1.1"
LENGTH_DIGITS = 15
CHUNK_LINE = 1024  # bytes of a chunk's header
TRAILERS = 8192  # bytes after the last chunk


class StrictParser(HTTPRequestParser):
    """waitress's parser, which never sees what is ambiguous, and asks before it lets a body come."""

    proxy_scheme: str  # the stubs leave these two out
    proxy_netloc: str
    path = ""  # waitress writes it to its log, also of a request that has none
    command: Any = ""  # text, whatever the stubs say
    _looked = 0  # bytes of the head in which there is no bare line feed

    waits = False
    """The client sends its body only after 100 Continue."""
    judged = False
    """It was looked at whether its body is wanted at all."""
    unread = False
    """It is answered by its head alone."""
    refusal: APIError | None = None
    """Why, where the answer is known already."""

    def __init__(self, adj: Any, held: HeldBytes) -> None:
        super().__init__(adj)
        self._held = held

    def received(self, data: bytes) -> int:
        taken = super().received(data)
        if not self.completed and self.body_rcv is None:
            # A head whose lines end in another way, or that has none, would be waited for in vain.
            head: bytes = self.header_plus
            first, complete, _ = head.lstrip(b"\r\n").partition(b"\r\n")
            if BARE.search(head, self._looked):
                self.error = BadRequest("Bare CR or LF found in the head")
            elif complete and not REQUEST_LINE.fullmatch(first):
                self.error = BadRequest(REQUEST_LINE_IS)
            self.completed = self.error is not None
            self._looked = max(0, len(head) - 1)
        return taken

    def parse_header(self, header_plus: bytes) -> None:
        """Raises ParsingError, which is answered with 400."""
        first, *lines = header_plus.split(b"\r\n")
        # For the answer to one that is refused.
        command, _, target = first.partition(b" ")
        self.command = command.decode("latin-1")
        self.path = unquote_to_bytes(target.partition(b" ")[0].partition(b"?")[0]).decode("latin-1")
        fields: dict[bytes, list[bytes]] = {}
        for line in lines:
            if line.startswith((b" ", b"\t")):
                raise ParsingError("Folded header lines are not allowed")
            if b"\r" in line or b"\n" in line:
                # waitress would repeat the line, and it may hold a key.
                raise ParsingError("Bare CR or LF found in a header line")
            name, _, value = line.partition(b":")
            fields.setdefault(name.lower(), []).append(value.strip(b" \t"))
        found = REQUEST_LINE.fullmatch(first)
        if found is None:
            raise ParsingError(REQUEST_LINE_IS)
        _check_framing(fields, newer=found[1] == b"1")
        try:
            super().parse_header(header_plus)
        except ValueError:
            raise ParsingError("Bad URI") from None
        if self.proxy_scheme or self.proxy_netloc:
            self._take_host()
        # There is no other protocol to change to, and RFC 9110 (7.8) lets a server ignore the wish. Werkzeug
        # would look for a route of a WebSocket.
        self.headers.pop("UPGRADE", None)  # type: ignore[attr-defined]  # it is a dict
        # The channel tells the client to go on, once its body is wanted.
        self.waits, self.expect_continue = self.expect_continue, False
        if self.chunked:
            self.body_rcv: Any = ChunkedBody(Body(self._held), self.adj.max_request_body_size)
        elif self.body_rcv is not None:
            self.body_rcv = FixedBody(self.content_length, Body(self._held))

    def let_in(self) -> None:
        """The body is wanted, if there is room for it."""
        if not self._held.has_room(self.content_length):
            self.error = NoRoom("")

    def refuse_body(self, refusal: APIError | None) -> None:
        """The body is not wanted."""
        self.unread, self.refusal = True, refusal

    def get_body_stream(self) -> Any:
        return _Unread() if self.unread else super().get_body_stream()

    def _take_host(self) -> None:
        """A target such as http://localhost/health says itself which host it is for, and the Host header must
        say the same (RFC 9112, 3.2.2). Raises ParsingError."""
        headers: Any = self.headers
        host = self.proxy_netloc
        if self.proxy_scheme.lower() not in ("http", "https") or not host or "@" in host:
            raise ParsingError("Bad URI")
        if headers.setdefault("HOST", host).lower() != host.lower():
            raise ParsingError("The target and the Host header name different hosts")


class _Unread(io.RawIOBase):
    """In the place of a body that was not wanted when its head came."""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        # What the head was judged by has changed since.
        raise Unavailable("The server's settings have just changed. Please send the request again.")


def _check_framing(fields: dict[bytes, list[bytes]], *, newer: bool) -> None:
    hosts, lengths = fields.get(b"host", []), fields.get(b"content-length", [])
    encodings = fields.get(b"transfer-encoding", [])
    if len(hosts) != 1 and (hosts or newer):
        raise ParsingError("There must be one Host header")
    if len(lengths) > 1 or any(len(length) > LENGTH_DIGITS for length in lengths):
        raise ParsingError("Content-Length is invalid")
    if encodings:
        if lengths:
            raise ParsingError("Content-Length and Transfer-Encoding exclude each other")
        if not newer or [encoding.lower() for encoding in encodings] != [b"chunked"]:
            raise ParsingError("The only Transfer-Encoding is chunked, once, in HTTP/1.1")


class ChunkedBody:
    """A chunked body, decoded into a buffer as it comes; what waitress calls a receiver."""

    def __init__(self, buffer: Body, most: int) -> None:
        self._buffer = buffer
        self._room = most
        self._line = b""
        self._remaining = 0  # bytes of the chunk
        self._in_chunk = False
        self._trailers: int | None = None  # bytes of them, once the last chunk has come
        self.completed = False
        self.error: Error | None = None

    def __len__(self) -> int:
        return int(self._buffer.__len__())

    def received(self, data: bytes) -> int:
        """Take what belongs to the body; how many bytes that was."""
        at = 0
        while at < len(data) and not self.completed and self.error is None:
            if self._remaining:
                part = data[at : at + self._remaining]
                if not self._buffer.append(part):
                    self.error = NoRoom("")
                self._remaining -= len(part)
                at += len(part)
                continue
            end = data.find(b"\n", at) + 1
            self._line += data[at : end or len(data)]
            at = end or len(data)
            if len(self._line) > CHUNK_LINE:
                self.error = BadRequest("A chunk's header is too long")
            elif end:
                self._take_line()
        return at

    def _take_line(self) -> None:
        line, self._line = self._line, b""
        if not line.endswith(b"\r\n") or b"\r" in line[:-2]:
            self.error = BadRequest("Bare CR or LF found in a chunk's header")
            return
        line = line[:-2]
        if self._trailers is not None:
            self._trailers += len(line)
            self.completed = not line
            if line and (self._trailers > TRAILERS or not TRAILER.fullmatch(line)):
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
        self._room -= size
        if self._room < 0:
            self.error = RequestEntityTooLarge("the chunks are more than may be")
        elif size:
            self._remaining, self._in_chunk = size, True
        else:
            self._trailers = 0

    def getfile(self) -> Any:
        return self._buffer.getfile()

    def getbuf(self) -> Body:
        return self._buffer
