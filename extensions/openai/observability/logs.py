"""One line in the log for each request, and all lines as text or as JSON.

Nothing of what was asked or answered is in them. What stands in a line cannot begin a new one.
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
LONGEST = 2000  # characters of a line

Fields = dict[str, Any]

FIELDS: Mapping[str, str] = {
    "request": "The request's id; the client has it in the header `x-request-id`.",
    "address": "Where the client is; behind `--trusted-proxies`, what they say.",
    "key": "The name of the caller's key, never the key.",
    "route": "Method and path as in docs/api.md; nothing for an address that does not exist.",
    "path": "Method and path of an address that does not exist, or not for that method: 100 characters of "
    "it, without the query and what may be a key.",
    "model": "The model that answered.",
    "status": "The HTTP status; 499 where the client had left before there was one.",
    "error": "The code of the error, of one in the middle of a stream too.",
    "param": "The field that the error is about.",
    "cancelled": "Whether the client left before the end.",
    "stream": "Whether the answer was streamed.",
    "prompt_tokens": "Tokens of the prompt.",
    "cached_tokens": "Those of them that the cache held.",
    "completion_tokens": "Tokens sampled.",
    "queue_ms": "Milliseconds from the request to its slot.",
    "first_token_ms": "Milliseconds from the request to its first token.",
    "token_gap_ms": "Milliseconds between two tokens, on average.",
    "total_ms": "Milliseconds from the request to the end of its answer.",
}
"""What the line of a request holds, in its order; fields that say nothing are left out."""

_text = structlog.processors.LogfmtRenderer(bool_as_flag=False)


class RequestLog:
    """Writes the line of each request that has ended."""

    def __init__(self, settings: Settings, quiet: frozenset[str]) -> None:
        """`quiet`: routes whose lines are for `--debug`."""
        self._settings = settings
        self._quiet = quiet

    def configure(self, settings: Settings) -> None:
        """Go by these settings from now on."""
        self._settings = settings

    def __call__(self, record: RequestRecord) -> None:
        # Documents and preflights have no route, and nothing to tell unless they fail.
        is_quiet = record.route in self._quiet or (not record.route and record.status < 400)
        shown = self._settings.log_requests and not is_quiet
        log_request(record, logging.INFO if shown else logging.DEBUG)


def log_request(record: RequestRecord, level: int) -> None:
    """Write the line of a request that has ended."""
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
    """Messages keep to one line of a sensible length, whatever a client has put into them."""

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        if not message.isprintable() or len(message) > LONGEST:
            record.msg = "".join(map(_visible, message[:LONGEST]))
            record.args = ()
        return True


def _visible(character: str) -> str:
    return character if character.isprintable() else repr(character)[1:-1]


def configure(format: Literal["text", "json"], *, own_host: bool) -> None:
    """How lines look. Under our own host this is for all of them; in others only ours change."""
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
    """A handler for our lines only, so that the host's logging stays as it is."""
    # Not among those that a webui lent us: its own lines go through them.
    log.handlers[:] = [logging.StreamHandler(sys.stderr)]
    log.propagate = False
    return log.handlers


def _flatten(logger: object, method: str, event: Any) -> Any:
    """The fields of a request beside the others, and the message without them."""
    fields = event.pop("fields", None)
    if fields is not None:
        event["event"] = "request"
        event.update(fields)
    return event


def _json(event: Any, **_: object) -> str:
    return orjson.dumps(event, default=str).decode()
