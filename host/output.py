"""What the host writes for people: lines of text, or JSON where the log is JSON.

In a terminal a line of the log is short, so that it fits into 80 columns; in a file, and with `--verbose`, it
says all. Code that logs may give both forms: the message, and `extra={"brief": ...}` for the terminal.
"""

import json
import logging
import os
import sys
import time
from collections.abc import Mapping, Sequence
from typing import TextIO

log = logging.getLogger("openedai")


class TextFormatter(logging.Formatter):
    """Lines of text, as long as they are."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s", "%H:%M:%S")


class TerminalFormatter(TextFormatter):
    """Lines of text for a terminal."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        if record.levelno < logging.INFO:
            return super().formatMessage(record)
        level = "" if record.levelno == logging.INFO else f"{record.levelname} "
        return f"{record.asctime} {level}{getattr(record, 'brief', record.message)}"


class JsonFormatter(logging.Formatter):
    """One JSON object a line, until an extension gives the log a form of its own."""

    def format(self, record: logging.LogRecord) -> str:
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line = {
            "time": f"{moment}.{int(record.msecs):03}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


_handler = logging.StreamHandler(sys.stderr)
_handler.setFormatter(TextFormatter())


def configure(
    argv: Sequence[str], environ: Mapping[str, str] = os.environ, *, verbose: bool = False
) -> None:
    """Set up the log on standard error. May be called again."""
    root = logging.getLogger()
    root.setLevel(logging.DEBUG if verbose else logging.INFO)
    if _handler not in root.handlers:
        root.addHandler(_handler)
    if wants_json(argv, environ):
        _handler.setFormatter(JsonFormatter())
    elif sys.stderr.isatty() and not verbose:
        _handler.setFormatter(TerminalFormatter())
    else:
        _handler.setFormatter(TextFormatter())
    # HTTP libraries log whole requests, and headers of those hold tokens; the others say nothing that an
    # operator can use.
    for chatty in ("alembic", "httpx", "httpx2", "httpcore", "httpcore2", "urllib3", "filelock"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def is_json() -> bool:
    """Whether programs read what is written; an extension may have seen to that, too."""
    return not isinstance(_handler.formatter, TextFormatter)


def report(line: str) -> None:
    """Write one line on what is wrong, after `error: ` unless it says so itself."""
    if is_json():
        log.error("%s", line)
        return
    prefix = "" if line.lower().startswith("error") else "error: "
    print(f"{prefix}{line}", file=sys.stderr, flush=True)


def note(line: str, stream: TextIO | None = None) -> None:
    """Write one line on a step that takes long."""
    if is_json():
        log.info("%s", line)
    else:
        print(line, file=stream or sys.stderr, flush=True)


def say(texts: Sequence[str]) -> None:
    """Write what a user waits for to standard output."""
    if is_json():
        for text in texts:
            log.info("%s", text)
        return
    try:
        for text in texts:
            print(text, flush=True)
    except OSError:
        # There is no reader (`| head`, a terminal that is gone), which is no reason to stop serving. Python
        # would complain again when it ends, so standard output leads nowhere from here on.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def wants_json(argv: Sequence[str], environ: Mapping[str, str]) -> bool:
    """The option is the extension's, which is not loaded yet when the first lines are written."""
    words = [word for argument in argv for word in argument.split("=", 1)]
    if "--log-format" in words:
        return words[words.index("--log-format") + 1 :][:1] == ["json"]
    return environ.get("OPENEDAI_LOG_FORMAT", "").strip() == "json"
