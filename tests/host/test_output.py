"""What is written for a terminal, a file, and a program that reads JSON."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence

import pytest

from host.output import JsonFormatter, TerminalFormatter, TextFormatter, wants_json
from tests.host.conftest import Host


def record(level: int = logging.INFO, **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("a.b", level, "", 1, "a %s line", ("long",), None)
    vars(made).update(extra)
    return made


def test_a_terminal_gets_the_brief_form() -> None:
    brief = TerminalFormatter().format(record(brief="short"))
    assert brief[8:] == " short" and brief[2] == brief[5] == ":"
    assert TerminalFormatter().format(record())[8:] == " a long line"
    assert TerminalFormatter().format(record(logging.WARNING))[8:] == " WARNING a long line"


def test_a_file_gets_all() -> None:
    assert TextFormatter().format(record(brief="short"))[8:] == " INFO a.b: a long line"


def test_json() -> None:
    line = json.loads(JsonFormatter().format(record()))
    assert line.pop("time").endswith("Z")
    assert line == {"level": "info", "logger": "a.b", "event": "a long line"}


@pytest.mark.parametrize(
    ("argv", "variable", "wanted"),
    [
        ([], "", False),
        ([], "json", True),
        ([], "text", False),
        (["--log-format", "json"], "", True),
        (["--log-format=json"], "", True),
        (["--log-format", "text"], "json", False),
        (["--log-format"], "json", False),
    ],
)
def test_json_is_asked_for(argv: Sequence[str], variable: str, wanted: bool) -> None:
    assert wants_json(argv, {"OPENEDAI_LOG_FORMAT": variable}) is wanted


@pytest.mark.parametrize(
    ("arguments", "event"),
    [
        (["--no-such-flag"], "unknown flag --no-such-flag"),
        (["--model", "none"], "no model 'none'"),
        (["--listen"], "--listen lets other machines in"),
        (["--extensions", "gone"], "no extension gone"),
    ],
)
def test_a_refusal_is_json_where_the_log_is(host: Host, arguments: list[str], event: str) -> None:
    host.model("openedai-tiny/openedai-tiny.gguf")
    done = host.run(*arguments, OPENEDAI_LOG_FORMAT="json")
    (line,) = done.stderr.splitlines()
    found = json.loads(line)
    assert found["event"].startswith(event) and found["level"] == "error"
    assert (done.returncode, done.stdout) == (2, "")
