"""What each key and user has used, kept in a small database, minute by minute.

A request's line is on disk a tenth of a second after its answer has ended: a thread of its own writes
whatever has come meanwhile, in one transaction. A process that is killed loses no more than that; a failed
write is tried again soon, and with each next request. Several servers may share the file.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UsageUnreadable
from ..limits.rate_limits import short_user
from ..observability.record import RequestRecord
from ..system.data_folder import make_private

log = logging.getLogger("openedai")

FILE = "usage.sqlite3"
DAY = 86400

SCHEMA = """
CREATE TABLE IF NOT EXISTS usage (
    minute INTEGER NOT NULL, kind TEXT NOT NULL, key TEXT NOT NULL, user TEXT NOT NULL, model TEXT NOT NULL,
    requests INTEGER NOT NULL, input INTEGER NOT NULL, cached INTEGER NOT NULL, output INTEGER NOT NULL,
    PRIMARY KEY (minute, kind, key, user, model)
) WITHOUT ROWID;
"""
ADD = """
INSERT INTO usage VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET requests = requests + excluded.requests, input = input + excluded.input,
    cached = cached + excluded.cached, output = output + excluded.output
"""
COLUMNS = ("key", "user", "model")
AMOUNTS: Mapping[str, str] = {
    "audio_transcriptions": "seconds",
    "audio_speeches": "characters",
    "images": "images",
}
"""Kinds of requests that count something else than tokens: it stands in the column `input`."""
_KINDS = ", ".join(f"'{kind}'" for kind in AMOUNTS)
SUMS = (
    f"sum(requests), sum(CASE WHEN kind IN ({_KINDS}) THEN 0 ELSE input END), sum(cached), sum(output), "
    f"sum(CASE WHEN kind IN ({_KINDS}) THEN input ELSE 0 END)"
)

Line = tuple[int, str, str, str, str]
"""minute (Unix seconds), kind, key, user ('' for none), model."""
Counts = tuple[int, int, int, int]
"""requests, and tokens of prompts, of those cached, and of answers; see AMOUNTS."""


@dataclass(frozen=True, slots=True)
class UsageRow:
    """Usage in one bucket of time; a column that the query does not group by is None."""

    start: int
    key: str | None
    user: str | None
    model: str | None
    requests: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    amount: int = 0
    """Seconds, characters or pictures; of one kind only if one is asked for."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which lines count; an empty one leaves all in."""

    keys: Sequence[str] = ()
    users: Sequence[str] = ()
    models: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class WriterTimes:
    """Seconds that the thread that writes waits for something."""

    idle: float = 5.0
    """Without a request, after which it ends, until the next one."""
    busy: float = 10.0
    """For another server that writes."""
    flushing: float = 5.0
    """That a reader waits for it."""
    gathering: float = 0.1
    """From a request to the transaction that it and others share."""
    pauses: tuple[float, ...] = (0.0, 0.2, 1.0, 5.0, 30.0)
    """Before each attempt to write."""


DEFAULT_TIMES = WriterTimes()


class UsageStore:
    """Thread-safe. With no folder it keeps nothing and knows of nothing."""

    def __init__(
        self, folder: Path | None, *, days: int, times: WriterTimes = DEFAULT_TIMES
    ) -> None:
        """`days`: how long lines are kept."""
        self._times = times
        self._path = None if folder is None or not days else folder / FILE
        self._days = days
        self._condition = threading.Condition()
        self._pending: dict[Line, Counts] = {}
        self._writing = False
        self._hurry = threading.Event()
        self._thread: threading.Thread | None = None
        self._broken = False

    @property
    def keeps(self) -> bool:
        """Whether anything is kept."""
        return self._path is not None

    @property
    def is_at_rest(self) -> bool:
        """Whether nothing is being written, so that no thread runs."""
        return self._thread is None

    @property
    def is_broken(self) -> bool:
        """Whether the last write has failed."""
        return self._broken

    def observe(self, record: RequestRecord) -> None:
        """A request has ended. One that no model has answered is no usage."""
        if self._path is None:
            return
        used = [("audio_transcriptions", model, (1, size, 0, 0)) for model, size in record.heard]
        kind, model = record.usage, record.model
        failed = not record.answered and (record.status >= 400 or record.cancelled)
        if model is not None and kind is not None and not failed:
            counts = (1, record.prompt_tokens, record.cached_tokens, record.completion_tokens)
            used.append((kind, model, (1, record.amount, 0, 0) if kind in AMOUNTS else counts))
        if not used:
            return
        minute = int(time.time()) // 60 * 60
        user = short_user(record.user) if record.user else ""
        with self._condition:
            if not self._pending:
                self._condition.notify_all()
            for kind, model, counts in used:
                line = (minute, kind, record.caller.name, user, model)
                self._pending[line] = _sum(self._pending.get(line), counts)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._write, name="openai-usage", daemon=True
                )
                self._thread.start()

    def flush(self) -> None:
        """Wait until all that was observed is written (not for ever)."""
        self._hurry.set()
        with self._condition:
            self._condition.wait_for(
                lambda: not (self._pending or self._writing) or self._broken, self._times.flushing
            )
        self._hurry.clear()

    def spent(self, key: str, user: str | None, since: float) -> int:
        """Tokens of prompts and answers that a key (of its user, if one is named) has used since then.

        Raises UsageUnreadable."""
        chosen = Filter((key,), () if user is None else (user,))
        return sum(
            used.input_tokens + used.output_tokens
            for used in self.read(int(since), int(time.time()) + 60, chosen=chosen)
        )

    def read(
        self,
        start: int,
        end: int,
        *,
        width: int | None = None,
        by: Iterable[str] = (),
        kind: str | None = None,
        chosen: Filter = Filter(),
    ) -> list[UsageRow]:
        """What was used from `start` on and before `end` (Unix seconds, in whole minutes).

        In buckets of `width` seconds, or in one; apart by some of `key`, `user`, `model`. Buckets without
        usage are left out. Raises UsageUnreadable.
        """
        if self._path is None:
            return []
        self.flush()
        by = [column for column in COLUMNS if column in by]
        bucket = f"minute / {int(width)} * {int(width)}" if width else str(int(start))
        where, values = ["minute >= ?", "minute < ?"], [start // 60 * 60, end]
        wanted: dict[str, Sequence[str]] = {
            "kind": (kind,) if kind else (),
            "key": chosen.keys,
            "user": chosen.users,
            "model": chosen.models,
        }
        parameters: list[int | str] = [*values]
        for column, allowed in wanted.items():
            if allowed:
                where.append(f"{column} IN ({', '.join('?' * len(allowed))})")
                parameters += allowed
        query = (
            f"SELECT {bucket} AS bucket, {', '.join(c if c in by else 'NULL' for c in COLUMNS)}, "
            f"{SUMS} FROM usage WHERE {' AND '.join(where)} GROUP BY {', '.join(['bucket', *by])} "
            f"ORDER BY {', '.join(['bucket', *by])}"
        )
        rows = self._fetched(query, parameters)
        return [UsageRow(*row) for row in rows if row[4] is not None]

    def last_used(self) -> dict[str, int]:
        """When each key was last used: the minute, in Unix seconds. Raises UsageUnreadable."""
        if self._path is None:
            return {}
        rows = self._fetched("SELECT key, max(minute) FROM usage GROUP BY key", ())
        return dict(rows)

    def _fetched(self, query: str, parameters: Sequence[int | str]) -> list[Any]:
        try:
            with self._open() as database:
                return database.execute(query, parameters).fetchall()
        except (sqlite3.Error, OSError) as error:
            self._tell(error)
            raise UsageUnreadable(
                "Usage cannot be read at the moment; the operator can find details in the log."
            ) from None

    def _write(self) -> None:
        """Write what comes, until nothing has come for a while, or nothing can be written for long."""
        try:
            for pause in self._times.pauses:
                self._hurry.wait(pause)
                try:
                    with self._open() as database:
                        oldest = time.time() - self._days * DAY
                        database.execute("DELETE FROM usage WHERE minute < ?", (oldest,))
                        database.commit()
                        while self._write_batch(database):
                            pass
                        return
                except (sqlite3.Error, OSError) as error:
                    self._tell(error)
        finally:
            with self._condition:
                if self._thread is threading.current_thread():
                    self._thread = None
                self._condition.notify_all()

    def _write_batch(self, database: sqlite3.Connection) -> bool:
        """One transaction; False when there was nothing to write for so long that the thread may end."""
        with self._condition:
            if not self._condition.wait_for(lambda: self._pending, self._times.idle):
                self._thread = None  # under the lock: the next one starts another thread
                return False
        self._hurry.wait(self._times.gathering)
        with self._condition:
            batch, self._pending = self._pending, {}
            self._writing = True
        try:
            with database:
                database.executemany(ADD, [(*line, *counts) for line, counts in batch.items()])
            self._broken = False
        except sqlite3.Error:
            with self._condition:
                for line, counts in batch.items():
                    self._pending[line] = _sum(self._pending.get(line), counts)
            raise
        finally:
            with self._condition:
                self._writing = False
                self._condition.notify_all()
        return True

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        assert self._path is not None
        make_private(self._path.parent)
        self._path.touch(mode=0o600)
        database = sqlite3.connect(self._path, timeout=self._times.busy)
        try:
            # A process that is killed loses nothing that was written; only a power cut may.
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = NORMAL")
            database.executescript(SCHEMA)
            yield database
        finally:
            database.close()

    def _tell(self, error: sqlite3.Error | OSError) -> None:
        if not self._broken:
            reason = error.strerror if isinstance(error, OSError) else error
            log.error("usage cannot be kept in %s: %s", FILE, reason)
        self._broken = True


def _sum(some: Counts | None, more: Counts) -> Counts:
    if some is None:
        return more
    return (some[0] + more[0], some[1] + more[1], some[2] + more[2], some[3] + more[3])
