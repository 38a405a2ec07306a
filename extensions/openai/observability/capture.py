"""With `--debug`, writes each request and its response to a file, without secrets, to diagnose problems.

Of headers, paths and query strings, only values known to be harmless are shown. In bodies, keys, passwords,
tokens and the content of pictures and sounds are removed; prompts and answers are the purpose of this, and
stay.
"""

from __future__ import annotations

import itertools
import json
import logging
import os
import re
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus, unquote_plus

import orjson

from ..limits.rate_limits import HEADERS

log = logging.getLogger("openedai")

MAX_FILES = 500  # then the oldest ones are deleted
MAX_BODY_BYTES = 256 << 10  # kept of a body
REMOVED = "[redacted]"

HARMLESS_HEADERS = frozenset(
    """
    accept accept-charset accept-encoding accept-language accept-ranges age allow cache-control connection
    content-encoding content-language content-length content-type date dnt expect host keep-alive
    openai-beta openai-processing-ms openai-version origin pragma priority range retry-after retry-after-ms
    sec-ch-ua sec-ch-ua-mobile sec-ch-ua-platform sec-fetch-dest sec-fetch-mode sec-fetch-site sec-gpc server
    te transfer-encoding upgrade upgrade-insecure-requests user-agent vary www-authenticate
    x-accel-buffering x-openedai-ignored x-request-id x-requested-with x-should-retry
    access-control-allow-headers access-control-allow-methods access-control-allow-origin
    access-control-allow-private-network access-control-expose-headers access-control-max-age
    access-control-request-headers access-control-request-method access-control-request-private-network
    x-stainless-arch x-stainless-async x-stainless-helper-method x-stainless-lang x-stainless-os
    x-stainless-package-version x-stainless-poll-helper x-stainless-raw-response x-stainless-read-timeout
    x-stainless-retry-count x-stainless-runtime x-stainless-runtime-version x-stainless-timeout
    """.split()
).union(HEADERS)
"""Only these are shown with values: gateways and proxies add secrets under arbitrary names."""
HARMLESS_QUERY = frozenset(
    """
    after api-version before beta bucket_width deployment end_date end_time group_by include limit model
    models order page start_date start_time stream
    """.split()
)
"""The same for query parameters."""
PLAIN_NAME = re.compile(r"[A-Za-z][\w.\[\]-]{0,63}")

SECRET_NAME = (
    r"(?:[\w-]*[-_])?(?:api[-_]?key|key|password|passwd|secret|token|credentials?|signature|sig|auth"
    r"|authorization|cookie|session|csrf|jwt|assertion)"
)
SECRET_NAME_PATTERN = re.compile(SECRET_NAME, re.IGNORECASE)
NOT_SECRET = frozenset({"prompt_cache_key"})
SECRET_TEXTS = (
    # For invalid or cut JSON, and for events, in which `token` is part of the answer.
    (
        re.compile(rf'("(?!token"){SECRET_NAME}"\s*:\s*")(?:[^"\\]|\\.)*', re.IGNORECASE),
        r"\1" + REMOVED,
    ),
    (re.compile(r"(data:[\w.+/;=-]{0,100};base64,)[\w+/=%-]+"), r"\1" + REMOVED),
    (re.compile(r"\b(bearer|basic)\s+[\w.~+/=-]{8,}", re.IGNORECASE), r"\1 " + REMOVED),
    (re.compile(r"\b(?:sk|pk|hf|gh[opsu]|xox[abp])[-_][\w.-]{8,}"), REMOVED),
    (re.compile(r"(://)[^\s/@]+@"), r"\1" + REMOVED + "@"),
)
# Sounds, pictures and files in JSON strings, which are removed.
BASE64 = re.compile(r"[A-Za-z0-9+/_-]{512,}={0,2}")


class Redactor:
    """Removes secrets from texts and JSON values."""

    def __init__(self, keys: Iterable[str] = (), segments: Collection[str] = ()) -> None:
        """`keys` are the server's own, removed everywhere, in every encoding of HTTP and JSON; `segments`:
        the segments of paths that are shown."""
        self._keys = sorted({form for key in keys if key for form in _forms(key)}, key=len)[::-1]
        self._segments = frozenset(segments)

    def value(self, value: Any) -> Any:
        """A copy of a JSON value."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self.value(each) for each in value]
        if isinstance(value, dict):
            is_logprob = "logprob" in value  # then `token` is part of the answer
            return {
                self.text(name): REMOVED
                if isinstance(each, str) and _is_secret(name, is_logprob)
                else self.value(each)
                for name, each in value.items()
            }
        return value

    def text(self, text: str) -> str:
        for key in self._keys:
            text = text.replace(key, REMOVED)
        for pattern, replacement in SECRET_TEXTS:
            text = pattern.sub(replacement, text)
        return BASE64.sub(lambda found: f"[{len(found[0])} characters of base64 removed]", text)

    def headers(self, headers: Iterable[tuple[str, str]]) -> dict[str, str]:
        """All names, with the values of harmless ones."""
        return {
            self.text(name): self.text(value) if name.lower() in HARMLESS_HEADERS else REMOVED
            for name, value in headers
        }

    def query(self, query: str) -> str:
        """All names, with the values of harmless ones."""
        shown = []
        for part in query.split("&") if query else ():
            name, _, value = part.partition("=")
            if unquote_plus(name).lower() in HARMLESS_QUERY:
                shown.append(f"{name}={quote(self.text(unquote_plus(value)), safe='[]')}")
            elif not (value and PLAIN_NAME.fullmatch(unquote_plus(name))):
                shown.append(REMOVED)  # a parameter without a value may be anything
            else:
                shown.append(f"{self.text(name)}={REMOVED}")
        return "&".join(shown)

    def path(self, path: str) -> str:
        """The path with unknown segments removed; `path` is WSGI's."""
        redacted = path.encode("latin-1", "replace").decode("utf-8", "replace")
        return "/".join(
            part if not part or part in self._segments else REMOVED for part in redacted.split("/")
        )

    def body(self, data: bytes, length: int, content_type: str) -> Any:
        """JSON as a value, other text as text, anything else as its length."""
        kind = content_type.partition(";")[0].strip().lower()
        is_complete = length == len(data)
        if is_complete and (kind.endswith("json") or not kind):
            try:
                return self.value(orjson.loads(data))
            except orjson.JSONDecodeError:
                pass  # shown as text
        if kind.startswith("text/") or kind.endswith("json"):
            cut = "" if is_complete else f" [... {length} bytes in all]"
            return self.text(data.decode("utf-8", "replace")) + cut
        return f"[{length} bytes of {kind or 'no type'}]" if length else ""


def _is_secret(name: str, is_logprob: bool) -> bool:
    if name in NOT_SECRET or (is_logprob and name == "token"):
        return False
    return SECRET_NAME_PATTERN.fullmatch(name) is not None


def _forms(key: str) -> set[str]:
    """A key as it is, in WSGI's latin-1, in a URL, and in JSON."""
    raw = key.encode("utf-8", "replace")
    return {
        key,
        raw.decode("latin-1"),
        quote(key, safe=""),
        quote(key, safe="").lower(),
        quote(key),
        quote_plus(key),
        json.dumps(key)[1:-1],
        orjson.dumps(key).decode()[1:-1],
    }


class Capture:
    """WSGI middleware that writes each request and response to a file."""

    def __init__(
        self, app: Callable[..., Iterable[bytes]], folder: Path, redactor: Callable[[], Redactor]
    ) -> None:
        """Raises OSError if the folder cannot be created."""
        self._app = app
        self._folder = folder
        self._redactor = redactor
        self._numbers = itertools.count()
        self._files: dict[str, str] = {}
        """Those of this start, by the id of their request."""
        self._lock = threading.Lock()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        exchange = _Exchange(environ)
        environ["wsgi.input"] = exchange.request_body = _Tee(environ["wsgi.input"])

        def start(status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Any:
            exchange.status, exchange.headers = status, list(headers)
            send = start_response(status, headers, *exc_info)

            def write(data: bytes) -> Any:
                exchange.response_body.add(data)
                return send(data)

            return write

        return _CapturedResponse(self._app(environ, start), exchange, self._write)

    def read(self, id: str) -> bytes | None:
        """What was written of the latest request with this id since the start, as JSON; None: nothing, or it
        is deleted."""
        name = self._files.get(id)
        try:
            return None if name is None else (self._folder / name).read_bytes()
        except OSError:
            return None

    def _write(self, exchange: _Exchange) -> None:
        content = orjson.dumps(
            exchange.redacted(self._redactor()), option=orjson.OPT_INDENT_2, default=str
        )
        stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(exchange.started))
        name = f"{stamp}-{os.getpid()}-{next(self._numbers):06}.json"
        try:
            with self._lock:
                self._delete_oldest()
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
                with os.fdopen(os.open(self._folder / name, flags, 0o600), "wb") as file:
                    file.write(content)
                self._remember(exchange.id, name)
        except OSError as error:
            log.warning("a request could not be written to the debug folder: %s", error.strerror)

    def _remember(self, id: str, name: str) -> None:
        self._files.pop(id, None)
        self._files[id] = name
        if len(self._files) > MAX_FILES:
            del self._files[next(iter(self._files))]

    def _delete_oldest(self) -> None:
        files = sorted(self._folder.glob("????????-??????-*.json"))
        for file in files[: max(0, len(files) - MAX_FILES + 1)]:
            file.unlink(missing_ok=True)


class _Exchange:
    """One request and its response."""

    def __init__(self, environ: Mapping[str, Any]) -> None:
        self.started = time.time()
        self._environ = environ
        self.request_body: _Tee | None = None
        self.status = ""
        self.headers: list[tuple[str, str]] = []
        self.response_body = _BodyPrefix()

    @property
    def id(self) -> str:
        """The request's; empty where the application gave it none."""
        found = (value for name, value in self.headers if name.lower() == "x-request-id")
        return next(found, "")

    def redacted(self, redactor: Redactor) -> dict[str, Any]:
        environ, response = self._environ, self.response_body
        body = self.request_body.copy if self.request_body else _BodyPrefix()
        request_headers = [
            (name[5:].replace("_", "-").lower(), str(value))
            for name, value in environ.items()
            if name.startswith("HTTP_")
        ]
        response_headers = {name.lower(): value for name, value in self.headers}
        query = redactor.query(environ.get("QUERY_STRING", ""))
        return {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.started)),
            "seconds": round(time.time() - self.started, 3),
            "request": {
                "method": environ.get("REQUEST_METHOD"),
                "path": redactor.path(environ.get("PATH_INFO", "")),
                "query": query,
                "headers": redactor.headers(request_headers),
                "body": redactor.body(body.data, body.length, environ.get("CONTENT_TYPE", "")),
            },
            "answer": {
                "status": self.status,
                "headers": redactor.headers(self.headers),
                "body": redactor.body(
                    response.data, response.length, response_headers.get("content-type", "")
                ),
            },
        }


class _BodyPrefix:
    """The beginning of a body, and the length of the whole."""

    def __init__(self) -> None:
        self.data = b""
        self.length = 0

    def add(self, data: bytes) -> None:
        self.length += len(data)
        if len(self.data) < MAX_BODY_BYTES:
            self.data += data[: MAX_BODY_BYTES - len(self.data)]


class _Tee:
    """A request body that is copied while the application reads it."""

    def __init__(self, source: Any) -> None:
        self._source = source
        self.copy = _BodyPrefix()

    def read(self, *size: int) -> bytes:
        return self._copied(self._source.read(*size))

    def readline(self, *size: int) -> bytes:
        return self._copied(self._source.readline(*size))

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def __iter__(self) -> Iterator[bytes]:
        return map(self._copied, self._source)

    def _copied(self, data: bytes) -> bytes:
        self.copy.add(data)
        return data


class _CapturedResponse:
    """A response body that is copied; written to a file when the server closes it, as it always does."""

    def __init__(
        self, body: Iterable[bytes], exchange: _Exchange, on_close: Callable[[_Exchange], None]
    ) -> None:
        self._body = body
        self._exchange = exchange
        self._on_close = on_close

    def __iter__(self) -> Iterator[bytes]:
        for data in self._body:
            self._exchange.response_body.add(data)
            yield data

    def close(self) -> None:
        close = getattr(self._body, "close", None)
        try:
            if close is not None:
                close()
        finally:
            self._on_close(self._exchange)
