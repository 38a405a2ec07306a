"""Ends a batch whose window is over, or that was cancelled: each line that was not answered gets an error."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import orjson

from ...errors import StoredObjectNotFound
from ...state.batch_users import people_of
from ...state.stored_batch import LineResult
from .indexing import Stopped
from .input_file import BOM
from .results import unanswered

if TYPE_CHECKING:
    from ...state.batches import Batches
    from ...state.files import Files
    from ...state.stored_batch import Batch, IndexedLine

TOGETHER = 100
"""Lines that one transaction ends."""


class Ending:
    """The end of one batch."""

    def __init__(
        self,
        files: Files,
        batches: Batches,
        batch: Batch,
        holder: str,
        *,
        stopped: Callable[[], bool],
    ) -> None:
        """`holder`: this server, which looks after the batch."""
        self._files, self._batches, self._batch = files, batches, batch
        self._holder, self._stopped = holder, stopped

    def make(self) -> None:
        """As far as no server answers its lines any more. Raises Stopped."""
        batch, batches = self._batch, self._batches
        if batch.status == "in_progress":
            batches.expire(batch)
            return
        if not batch.total:  # its file was not looked through to the end
            batches.lines.clear(batch, self._holder)
        ending = "cancelled" if batch.status == "cancelling" else batch.ending
        while found := batches.lines.left(batch, TOGETHER):
            if self._stopped():
                raise Stopped
            batches.lines.end(batch, [self._result(line, ending) for line in found])
        batches.end(batch)

    def _result(self, line: IndexedLine, ending: str) -> LineResult:
        """Without its `custom_id` where the file is gone, or the line was erased."""
        batch = self._batch
        try:
            parts = self._files.read(batch.owner, batch.input_file, line.at, line.length)
            said = b"".join(parts).removeprefix(BOM)
        except StoredObjectNotFound:
            said = b""
        if not said.strip():
            written = unanswered(None, ending)
            return LineResult(line.number, written, False, length=line.length)
        request = orjson.loads(said)
        written = unanswered(request["custom_id"], ending)
        people = people_of(request["body"])
        return LineResult(line.number, written, False, people=people, length=line.length)
