"""Requests of this very process, without a server: `openedai batch` answers a file with the whole application
and no port."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from flask import Flask
from werkzeug.test import run_wsgi_app

from ..web.services import Services

log = logging.getLogger("openedai")

ENDING_S = 2.0
"""For answers under way to end."""


class InProcess:
    """In the place of a server."""

    url = "http://localhost"
    socket_path = None

    def __init__(self, app: Flask) -> None:
        self._app = app
        self._services: Services = app.extensions["openai"]

    def start(self) -> None:
        """There is nothing to listen to."""

    def wait(self) -> None:
        """There is nothing to wait for."""

    def stop(self, timeout: float) -> None:
        """End the answers under way, in at most so many seconds."""
        self._services.models.refuse_new()
        if not self._services.active_requests.drain(0.0, min(timeout, ENDING_S)):
            log.warning("some answers did not end in time and are cut off")

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | Iterable[bytes] | None,
        headers: Mapping[str, str],
    ) -> InProcessAnswer:
        """The answer to one request; close it. `headers` have the length of a body that comes in parts."""
        environ = _environ(method, path, headers)
        if isinstance(body, bytes):
            environ |= {"wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))}
        elif body is not None:
            environ["wsgi.input"] = io.BufferedReader(_Parts(iter(body)))
        parts, status, answered = run_wsgi_app(self._app, environ)
        code, _, reason = status.partition(" ")
        return InProcessAnswer(int(code), reason, dict(answered), parts)


def _environ(method: str, target: str, headers: Mapping[str, str]) -> dict[str, Any]:
    path, _, query = target.partition("?")
    given = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers.items()}
    for name in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        if f"HTTP_{name}" in given:
            given[name] = given.pop(f"HTTP_{name}")
    return {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_HOST": "localhost",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        **given,
    }


@dataclass(slots=True)
class InProcessAnswer:
    """Reads as that of an HTTP connection does."""

    status: int
    reason: str
    headers: Mapping[str, str]
    _parts: Iterable[bytes]
    _held: bytearray = field(default_factory=bytearray)
    _iterator: Iterator[bytes] | None = None

    def read(self, most: int | None = None) -> bytes:
        """So many bytes of the body, or all that are left; none at its end."""
        if self._iterator is None:
            self._iterator = iter(self._parts)
        for part in self._iterator:
            self._held += part
            if most is not None and len(self._held) >= most:
                break
        size = len(self._held) if most is None else most
        found = bytes(self._held[:size])
        del self._held[:size]
        return found

    def close(self) -> None:
        close = getattr(self._parts, "close", None)
        if close is not None:
            close()


class _Parts(io.RawIOBase):
    """A body that is made while it is read."""

    def __init__(self, parts: Iterator[bytes]) -> None:
        self._parts, self._held = parts, b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._held:
            part = next(self._parts, None)
            if part is None:
                return 0
            self._held = part
        size = min(len(buffer), len(self._held))
        buffer[:size], self._held = self._held[:size], self._held[size:]
        return size
