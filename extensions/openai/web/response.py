"""What is sent back, without what answers of models do not need of Flask's responses."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from http.client import responses
from typing import TYPE_CHECKING, Any

import orjson
from flask import Response

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


class Reply:
    """Status, headers and body. A WSGI application; also what that returns, to be closed when it is sent.

    Not thread-safe: it belongs to the thread that answers the request.
    """

    def __init__(
        self, body: bytes = b"", status: int = 200, content_type: str = "application/json"
    ) -> None:
        self.body = body
        self.status_code = status
        self.headers = {"Content-Type": content_type}
        self._closers: list[Callable[[], object]] = []

    @property
    def status(self) -> str:
        """Code and reason."""
        return f"{self.status_code} {responses.get(self.status_code, 'Unknown')}"

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        self.headers["Content-Length"] = str(len(self.body))
        start_response(self.status, list(self.headers.items()))
        return self

    def __iter__(self) -> Iterator[bytes]:
        return iter((self.body,))

    def call_on_close(self, function: Callable[[], object]) -> None:
        """Call it when the reply is sent, or cannot be sent any more."""
        self._closers.append(function)

    def close(self) -> None:
        """Sent, or given up. Only the first time counts."""
        closers, self._closers = self._closers, []
        for function in closers:
            function()


def json_reply(value: Any, status: int = 200) -> Reply:
    """A reply of JSON, in the order in which it was built."""
    return Reply(orjson.dumps(value), status)


def as_flask(reply: Reply) -> Response:
    """The reply where Flask's hooks are to see it; what they do to its headers is sent."""
    if type(reply) is not Reply:
        return _Adopted(reply)
    response = Response(reply.body, reply.status_code, reply.headers)
    response.call_on_close(reply.close)
    return response


class _Adopted(Response):
    """One that has its own way to write its body."""

    automatically_set_content_length = False  # the reply does

    def __init__(self, reply: Reply) -> None:
        super().__init__(status=reply.status_code, headers=reply.headers)
        self._reply = reply

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        self._reply.headers = dict(self.headers.to_wsgi_list())
        self._reply.call_on_close(self.close)
        return self._reply(environ, start_response)
