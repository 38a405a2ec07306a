"""The files and batches of a server, for `openedai batch`: any server that has those of OpenAI's API will do.

Plain HTTP of the standard library.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import secrets
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

CHUNK_BYTES = 1 << 18


class BatchFailure(Exception):
    """There are no results; the message is one line."""


class NoServer(BatchFailure):
    """Nothing answers at the address."""


class Answer(Protocol):
    """What answers a request."""

    status: int
    reason: str

    def read(self, amt: int | None = None, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Server:
    """A server at an address."""

    base_url: str
    key: str | None

    def ask(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> Any:
        """The JSON of the answer. Raises BatchFailure."""
        with self._answer(method, path, body, headers or {}) as answer:
            return json.loads(answer.read())

    def upload(self, path: Path) -> str:
        """The id of the file."""
        mark = secrets.token_hex(16)
        field = f"--{mark}\r\nContent-Disposition: form-data; name="
        head = f'{field}"purpose"\r\n\r\nbatch\r\n{field}"file"; filename="batch.jsonl"\r\n\r\n'
        before, after = head.encode(), f"\r\n--{mark}--\r\n".encode()
        with path.open("rb") as file:
            size = len(before) + os.fstat(file.fileno()).st_size + len(after)
            headers = {
                "Content-Type": f"multipart/form-data; boundary={mark}",
                "Content-Length": str(size),
            }
            parts = _parts(before, file, after)
            return str(self.ask("POST", "/files", parts, headers)["id"])

    def is_there(self) -> bool:
        """Whether anything with batches answers, be it to refuse."""
        try:
            self.ask("GET", "/batches?limit=1")
        except NoServer:
            return False
        except BatchFailure:
            return True
        return True

    def content(self, file: str) -> Iterator[bytes]:
        """The content of a file, in parts. Raises BatchFailure."""
        with self._answer("GET", f"/files/{file}/content", None, {}) as answer:
            while data := answer.read(CHUNK_BYTES):
                yield data

    @contextlib.contextmanager
    def _answer(
        self, method: str, path: str, body: Any, headers: dict[str, str]
    ) -> Iterator[Answer]:
        """Of a request that succeeded. Raises BatchFailure."""
        if isinstance(body, dict):
            body, headers = json.dumps(body).encode(), {"Content-Type": "application/json"}
        if self.key:
            headers = {**headers, "Authorization": f"Bearer {self.key}"}
        with self._sent(method, path, body, headers) as answer:
            if answer.status != 200:
                raise BatchFailure(_refusal(answer))
            yield answer

    @contextlib.contextmanager
    def _sent(self, method: str, path: str, body: Any, headers: dict[str, str]) -> Iterator[Answer]:
        url = urllib.parse.urlsplit(self.base_url)
        kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
        try:
            with contextlib.closing(kind(url.netloc)) as connection:
                connection.request(method, url.path + path, body, headers)
                with connection.getresponse() as answer:
                    yield answer
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise NoServer(
                f"no server answers at {self.base_url} ({error}); start one with: openedai run, or "
                "name a model behind --"
            ) from None


def _parts(before: bytes, file: BinaryIO, after: bytes) -> Iterator[bytes]:
    yield before
    while data := file.read(CHUNK_BYTES):
        yield data
    yield after


def _refusal(answer: Answer) -> str:
    try:
        message = str(json.loads(answer.read())["error"]["message"])
    except (ValueError, LookupError, TypeError):
        message = answer.reason
    hint = "; set OPENAI_API_KEY to a key of the server" if answer.status == 401 else ""
    return f"the server answered {answer.status}: {' '.join(message.split())}{hint}"
