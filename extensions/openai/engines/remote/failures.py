"""What goes wrong with another server, as errors for clients.

Its words are passed on only where they are about the request: they could quote this server's key otherwise.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any

import orjson

from ...errors import (
    APIError,
    InvalidRequest,
    UpstreamBusy,
    UpstreamFailed,
    UpstreamLimited,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from .http_client import Reply, Silent, Unreachable

log = logging.getLogger("openedai")

MAX_WORDS = 500
MAX_ERROR_BYTES = 1 << 16
MAX_RETRY_AFTER_S = 3600.0
PLAIN_NAME = re.compile(r"[A-Za-z0-9_.\[\]-]{1,128}")
ABOUT_THE_REQUEST = (400, 404, 413, 415, 422)
"""Statuses that are the request's fault, if they do not say that the address or the model is wrong."""


@contextmanager
def failures_told(name: str) -> Iterator[None]:
    """Turn what breaks while the server called `name` is asked into errors for clients."""
    try:
        yield
    except Silent as error:
        log.warning("%s: silent for too long", name)
        raise UpstreamTimeout(
            f"{name}, which has the model, did not answer in time. Ask again; the operator can give it "
            "longer with its `timeouts`."
        ) from error
    except Unreachable as error:
        log.warning("%s: %s", name, error)
        raise UpstreamUnreachable(
            f"{name}, which has the model, does not answer: it cannot be reached, or has closed the "
            "connection. Ask again in a moment."
        ) from error


def refusal_of(name: str, reply: Reply, *, as_json_api: bool = False) -> APIError:
    """The error for an answer that is not a success. `as_json_api`: the server does not speak OpenAI's API,
    so what it refuses cannot be told in the terms of a field."""
    body = _read(reply.body)
    retry_after = retry_after_s(reply.headers)
    log.warning("%s: status %d", name, reply.status)
    return error_of(name, reply.status, body, retry_after, as_json_api=as_json_api)


def error_of(
    name: str,
    status: int,
    body: Any,
    retry_after: float | None = None,
    *,
    as_json_api: bool = False,
) -> APIError:
    """The same for a status and the parsed body."""
    if status == 429:
        return UpstreamLimited(
            f"{name}, which has the model, takes no more requests now.",
            retry_after=retry_after or 1.0,
        )
    if status in (503, 529):
        after = None if retry_after is None else max(1, round(retry_after))
        return UpstreamBusy(f"{name}, which has the model, is busy.", retry_after=after)
    if status in (408, 504):
        return UpstreamTimeout(f"{name}, which has the model, took too long.")
    words, param, code = _said(body)
    if status in ABOUT_THE_REQUEST and words and code != "model_not_found":
        if as_json_api:
            return UpstreamRefused(f"{name}, which has the model, refuses the request: {words}")
        if status != 404:
            return InvalidRequest(words, param=param, code=code)
    if as_json_api and status in ABOUT_THE_REQUEST and status != 404:
        return UpstreamRefused(f"{name}, which has the model, refuses the request.")
    return UpstreamFailed(f"{name}, which has the model, failed with status {status}.")


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """The seconds that Retry-After says, or its milliseconds; None: it does not say."""
    if (milliseconds := _number(headers.get("retry-after-ms"))) is not None:
        return min(milliseconds / 1000, MAX_RETRY_AFTER_S)
    value = headers.get("retry-after")
    seconds = _number(value)
    if seconds is None and value:
        try:
            seconds = (parsedate_to_datetime(value) - datetime.now(timezone.utc)).total_seconds()
        except (ValueError, TypeError):
            return None
    return None if seconds is None else min(max(0.0, seconds), MAX_RETRY_AFTER_S)


def _number(text: str | None) -> float | None:
    return float(text) if text and re.fullmatch(r"\d{1,9}(\.\d{1,9})?", text.strip()) else None


def _read(body: Iterable[bytes]) -> Any:
    data = b""
    for part in body:
        data += part
        if len(data) > MAX_ERROR_BYTES:
            return None
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return None


def _said(body: Any) -> tuple[str, str | None, str | None]:
    """What a body says of an error: its words, the field and the code that it names. Servers write
    `{"error": {"message": ...}}`, `{"error": "..."}`, `{"message": ...}` or `{"detail": ...}`."""
    found = body.get("error", body) if isinstance(body, dict) else None
    if isinstance(found, str):
        return found[:MAX_WORDS], None, None
    if not isinstance(found, dict):
        return "", None, None
    words = found.get("message") or found.get("detail") or found.get("msg") or ""
    if isinstance(words, list):  # FastAPI's
        first = words[0] if words and isinstance(words[0], dict) else {}
        place = [str(part) for part in first.get("loc", ()) if part != "body"]
        return str(first.get("msg", ""))[:MAX_WORDS], _plain(".".join(place)), None
    return str(words)[:MAX_WORDS], _plain(found.get("param")), _plain(found.get("code"))


def _plain(value: Any) -> str | None:
    return value if isinstance(value, str) and PLAIN_NAME.fullmatch(value) else None
