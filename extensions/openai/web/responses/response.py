"""The response: one class, for Flask and for the shortcut past it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from http.client import responses
from typing import TYPE_CHECKING, Any

import flask
import orjson

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


class Response(flask.Response):
    """Also the class of Flask's own responses. Belongs to the thread that answers the request."""

    def __init__(self, body: Any = None, status: Any = 200, *rest: Any, **options: Any) -> None:
        """As flask.Response, with the registered reason phrases, such as `Not Found`."""
        if status != 200 and isinstance(status, int):
            status = f"{status} {responses.get(status, 'Unknown')}"
        super().__init__(body, status, *rest, **options)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if (
            self.status_code != 200
            or environ["REQUEST_METHOD"] != "POST"
            or type(self.response) is not list
        ):
            return super().__call__(environ, start_response)
        # Skip werkzeug's work on Location, Content-Length, HEAD and 304: it takes longer than all the rest.
        start_response(self.status, self.headers.to_wsgi_list())
        return self

    def __iter__(self) -> Iterator[bytes]:
        """The parts of the body."""
        return self.iter_encoded()


def json_response(value: Any, status: int = 200) -> Response:
    """A JSON response; its fields keep their order. It ends with a newline, for shells."""
    body = orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)
    return Response(body, status, content_type="application/json")
