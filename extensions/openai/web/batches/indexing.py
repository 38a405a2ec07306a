"""Looks through the input file of a batch: finds where its lines are, and what is wrong with them."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from ...errors import StoredObjectNotFound
from ...state.stored_batch import NewLine
from .input_file import LineProblem, RawLine, name_of, parse_line, prefix_of, raw_lines

if TYPE_CHECKING:
    from ...state.batches import Batches
    from ...state.files import Files
    from ...state.stored_batch import Batch

MAX_LINES = 50_000
MAX_BYTES = 200 << 20
MAX_ERRORS = 100
"""Lines that a batch's `errors` name; behind them the file is not looked through any further."""
TOGETHER = 200
"""Lines that one transaction notes."""


class Stopped(Exception):
    """The batch is not wanted any more, another server looks after it, or this one stops."""


class Index:
    """One look through one file."""

    def __init__(
        self,
        files: Files,
        batches: Batches,
        batch: Batch,
        holder: str,
        *,
        max_line: int,
        stopped: Callable[[], bool],
    ) -> None:
        """`holder`: this server, which looks after the batch; `max_line`: bytes of a line."""
        self._files, self._batches, self._batch, self._holder = files, batches, batch, holder
        self._max_line, self._stopped = max_line, stopped
        self._key = secrets.token_bytes(32)
        self._errors: list[dict[str, Any]] = []
        self._new: list[NewLine] = []
        self._model: str | None = None
        self._total = 0

    def make(self) -> None:
        """Then the batch is in progress, or has failed. Raises Stopped."""
        batch, batches = self._batch, self._batches
        self._clear()
        try:
            for line in self._lines():
                self._add(line)
                if len(self._errors) >= MAX_ERRORS:
                    break
            self._note()
        except LineProblem as problem:
            self._errors.append(_shown(problem))
        if not self._total and not self._errors:
            self._errors.append(_shown(LineProblem("empty_file", "The file has no lines.")))
        if self._errors:
            self._clear()
            batches.fail(batch, self._errors[:MAX_ERRORS])
        else:
            batches.begin(batch, self._holder, self._total, self._model)

    def _clear(self) -> None:
        if not self._batches.lines.clear(self._batch, self._holder):
            raise Stopped

    def _lines(self) -> Iterator[RawLine]:
        """Raises LineProblem for a file that has none."""
        owner, id = self._batch.owner, self._batch.input_file
        try:
            file = self._files.get(owner, id)
            if file.purpose != "batch":
                message = f"The purpose of the file is '{file.purpose}', and must be 'batch'."
                raise LineProblem("invalid_purpose", message, "input_file_id")
            if file.size > MAX_BYTES:
                message = f"The file has more than {MAX_BYTES >> 20} MiB."
                raise LineProblem("file_too_large", message, "input_file_id")
            yield from raw_lines(self._files.read(owner, id), self._max_line)
        except StoredObjectNotFound:
            message = f"Cannot find file '{id}'."
            raise LineProblem("invalid_request", message, "input_file_id") from None

    def _add(self, raw: RawLine) -> None:
        if self._stopped():
            raise Stopped
        if self._total == MAX_LINES:
            message = f"The file has more than {MAX_LINES} lines."
            raise LineProblem("too_many_tasks", message, "input_file_id")
        self._total += 1
        try:
            line = parse_line(raw.data, self._batch.endpoint)
        except LineProblem as problem:
            self._errors.append(_shown(problem, raw.number))
            return
        model = line.body.get("model")
        if self._model is None and isinstance(model, str):
            self._model = model
        name, prefix = name_of(line.custom_id, self._key), prefix_of(line.body, self._key)
        self._new.append(NewLine(raw.number, raw.at, raw.length, name, prefix))
        if len(self._new) == TOGETHER:
            self._note()

    def _note(self) -> None:
        new, self._new = self._new, []
        twice = self._batches.lines.index(self._batch, self._holder, new) if new else []
        if twice is None:
            raise Stopped
        for number in twice:
            message = "'custom_id' is that of an earlier line."
            problem = LineProblem("duplicate_custom_id", message, "custom_id")
            self._errors.append(_shown(problem, number))
        self._errors.sort(key=lambda error: error["line"] or 0)


def _shown(problem: LineProblem, number: int | None = None) -> dict[str, Any]:
    return {
        "code": problem.code,
        "message": problem.message,
        "param": problem.param,
        "line": number,
    }
