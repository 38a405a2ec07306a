"""Logs one line for each request, and formats all lines as text or JSON.

Lines never contain prompts or answers, and no line break from outside.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import orjson
import structlog
from structlog.stdlib import ExtraAdder, ProcessorFormatter

from ..access.caller import RESERVED
from ..settings import Settings
from .record import RequestRecord

log = logging.getLogger("openedai")
MAX_LINE_CHARS = 2000

Fields = dict[str, Any]

FIELDS: Mapping[str, str] = {
    "request": "The request's id; the client has it in the header `x-request-id`.",
    "address": "The client's IP address; behind `--trusted-proxies`, the one that they report.",
    "key": "The name of the caller's key, never the key.",
    "route": "Method and path as in docs/api.md; missing if the address does not exist.",
    "path": "Method and path of an address that does not exist, or not for that method: its first 100 "
    "characters, without the query and anything that may be a key.",
    "model": "The model that answered.",
    "status": "The HTTP status; 499 if the client left before there was one.",
    "error": "The code of the error, also of one inside a stream.",
    "param": "The field that the error is about.",
    "cancelled": "Whether the client left before the end.",
    "stream": "Whether the answer was streamed.",
    "prompt_tokens": "Tokens of the prompt.",
    "cached_tokens": "Tokens of the prompt that were cached.",
    "completion_tokens": "Tokens sampled.",
    "queue_ms": "Milliseconds from the request to its slot.",
    "first_token_ms": "Milliseconds from the request to its first token.",
    "token_gap_ms": "Average milliseconds between two tokens.",
    "total_ms": "Milliseconds from the request to the end of its answer.",
}
"""The fields of a request's line, in order; empty ones are omitted."""

_text = structlog.processors.LogfmtRenderer(bool_as_flag=False)


class RequestLog:
    """Logs each request that has ended."""

    def __init__(self, settings: Settings, quiet: frozenset[str]) -> None:
        """`quiet`: routes that are logged with `--debug` only."""
        self._settings = settings
        self._quiet = quiet

    def configure(self, settings: Settings) -> None:
        """Use these settings from now on."""
        self._settings = settings

    def __call__(self, record: RequestRecord) -> None:
        # Documents and preflights have no route, and matter only if they fail.
        is_quiet = record.route in self._quiet or (not record.route and record.status < 400)
        shown = self._settings.log_requests and not is_quiet
        log_request(record, logging.INFO if shown else logging.DEBUG)


def log_request(record: RequestRecord, level: int) -> None:
    """Log a request that has ended."""
    if not log.isEnabledFor(level):
        return
    fields = {name: value for name, value in _fields(record).items() if value not in (None, "")}
    # A text line shows them in its message; JSON takes them from `extra`.
    forms = {"fields": fields, "brief": _brief(fields)}
    log.log(level, "request %s", _text(None, "", dict(fields)), extra=forms)


def _brief(fields: Fields) -> str:
    """The same for a terminal: `200 POST /v1/chat/completions 10+10 tokens 7 ms`."""
    words = [fields["status"], fields.get("route") or fields.get("path", "unknown address")]
    if fields.get("key") not in RESERVED:
        words.append(fields.get("key"))
    words += [fields.get("error"), fields.get("param")]
    words.append("cancelled" if "cancelled" in fields else None)
    if "prompt_tokens" in fields:
        words.append(f"{fields['prompt_tokens']}+{fields.get('completion_tokens', 0)} tokens")
    words.append(f"{fields.get('total_ms', 0):.0f} ms")
    return " ".join(str(word) for word in words if word)


def _fields(record: RequestRecord) -> Fields:
    return {
        "request": record.id,
        "address": record.address,
        "key": record.caller.name,
        "route": record.route,
        "path": record.path,
        "model": record.model,
        "status": record.status,
        "error": record.error,
        "param": record.param,
        "cancelled": record.cancelled or None,
        "stream": record.streamed or None,
        "prompt_tokens": record.prompt_tokens if record.answered else None,
        "cached_tokens": record.cached_tokens or None,
        "completion_tokens": record.completion_tokens if record.answered else None,
        "queue_ms": _since(record, record.admitted),
        "first_token_ms": _since(record, record.first_token),
        "token_gap_ms": _ms(record.token_gap),
        "total_ms": _since(record, record.ended),
    }


def _since(record: RequestRecord, then: float | None) -> float | None:
    return None if then is None else _ms(then - record.started)


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 2)


class OneLine(logging.Filter):
    """Keeps messages on one line of limited length, whatever clients put into them."""

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        if not message.isprintable() or len(message) > MAX_LINE_CHARS:
            record.msg = "".join(map(_visible, message[:MAX_LINE_CHARS]))
            record.args = ()
        return True


def _visible(character: str) -> str:
    return character if character.isprintable() else repr(character)[1:-1]


def configure(format: Literal["text", "json"], *, own_host: bool) -> None:
    """Set the format of log lines: of all lines in our own host, elsewhere only of this extension's."""
    if not any(isinstance(each, OneLine) for each in log.filters):
        log.addFilter(OneLine())
    if format == "text":
        return
    formatter = ProcessorFormatter(
        foreign_pre_chain=[
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            ExtraAdder(allow={"fields"}),
        ],
        processors=[
            ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            _flatten,
            structlog.processors.JSONRenderer(serializer=_json),
        ],
    )
    for handler in logging.getLogger().handlers if own_host else _own_handler():
        handler.setFormatter(formatter)


def _own_handler() -> Iterable[logging.Handler]:
    """A handler for our lines only, so that the host's logging does not change."""
    # It replaces the webui's handlers, which also format the webui's own lines.
    log.handlers[:] = [logging.StreamHandler(sys.stderr)]
    log.propagate = False
    return log.handlers


def _flatten(logger: object, method: str, event: Any) -> Any:
    """Move the fields of a request to the top level, and out of the message."""
    fields = event.pop("fields", None)
    if fields is not None:
        event["event"] = "request"
        event.update(fields)
    return event


def _json(event: Any, **_: object) -> str:
    return orjson.dumps(event, default=str).decode()
