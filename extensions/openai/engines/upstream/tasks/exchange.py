"""One request of such a task, and its answer."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import orjson

from ....errors import UpstreamFailed
from ...callback_bridge import Emit, iterate_callback
from ...remote.failures import failures_told, refusal_of
from ...remote.http_client import HttpClient, ReaderLeft, Reply
from ...remote.multipart import FormBody

T = TypeVar("T")

MAX_ANSWER_BYTES = 128 << 20
UNREADABLE = "The server that has the model answered something that cannot be read."


class Exchanges:
    """Sends the requests of one model's tasks. Thread-safe."""

    def __init__(
        self, name: str, model: str, client: HttpClient, fields: Mapping[str, Any]
    ) -> None:
        """`name`: of the server, for logs; `model`: there; `fields`: what each request says besides."""
        self.name = name
        self._client = client
        self._model, self._fields = model, fields

    def begin(self, work: Callable[[Emit[T | None]], None]) -> Generator[T | None, None, None]:
        """Yield what `work` emits, which asks the server."""

        def produce(emit: Emit[T | None]) -> None:
            try:
                work(emit)
            except ReaderLeft:
                return

        return iterate_callback(produce)

    @contextmanager
    def asked(
        self, path: str, body: Mapping[str, Any] | FormBody, emit: Emit[Any]
    ) -> Iterator[Reply]:
        """The answer to a POST, which is a success. Raises the errors for clients, and ReaderLeft."""
        data: bytes | FormBody
        if isinstance(body, FormBody):
            data, kind = body, body.content_type
        else:
            data = orjson.dumps({"model": self._model, **body, **self._fields})
            kind = "application/json"
        headers = {"Content-Type": kind, "Accept": "*/*"}
        with (
            failures_told(self.name),
            self._client.request(
                "POST", path, data, left=lambda: emit(None), headers=headers
            ) as reply,
        ):
            if reply.status != 200:
                raise refusal_of(self.name, reply)
            yield reply

    def json(self, path: str, body: Mapping[str, Any] | FormBody, emit: Emit[Any]) -> Any:
        """The parsed answer."""
        with self.asked(path, body, emit) as reply:
            return parsed(whole(reply.body))

    def form(self, parts: Iterable[tuple[str, Any]]) -> FormBody:
        """A form with the model's name, and the fields that every request has."""
        more = [(name, str(value)) for name, value in self._fields.items()]
        return FormBody([("model", self._model), *more, *parts])


def whole(body: Iterable[bytes]) -> bytes:
    """All of an answer. Raises UpstreamFailed for one that is too large."""
    data = bytearray()
    for part in body:
        data += part
        if len(data) > MAX_ANSWER_BYTES:
            raise UpstreamFailed("The server that has the model answered too much.")
    return bytes(data)


def parsed(data: bytes) -> Any:
    """Raises UpstreamFailed."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        raise UpstreamFailed(UNREADABLE) from None


@contextmanager
def read_leniently() -> Iterator[None]:
    """Turn what is missing or of another type in an answer into UpstreamFailed."""
    try:
        yield
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError):
        raise UpstreamFailed(UNREADABLE) from None


def count(value: Any) -> int | None:
    """A number of tokens; None if it is none."""
    is_count = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return value if is_count else None
