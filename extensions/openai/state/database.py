"""The way to the store's tables: reading, and writing in transactions that are committed when a call returns.

Sources: sqlite.org, "Write-Ahead Logging" and "Transaction"; PostgreSQL's manual, "Advisory Locks".
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Generic, Protocol, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError

from ..errors import StoreUnavailable
from .encryption import OPTION, Encryption
from .statements import execute

log = logging.getLogger("openedai")

T = TypeVar("T")
CLOSED = "The store is closed."
MAX_TOGETHER = 256
"""Writes that share one transaction."""


class Backend(Protocol):
    """One kind of database."""

    engine: Engine
    """Its transactions are begun by SQLAlchemy's; `writer` is the same engine whose transactions exclude each
    other, in other processes too."""
    writer: Engine
    one_connection: bool
    """Whether reading and writing have to take turns."""

    def prepare(self) -> None:
        """Make the tables, or bring them to the newest step. Raises SettingsError."""

    def writing(self) -> AbstractContextManager[Connection]:
        """A connection in one of `writer`'s transactions, which ends with the block; one block at a time."""

    def reason(self, error: BaseException) -> str:
        """Why the database failed, without anything of what was stored in it."""

    def size(self) -> int | None:
        """Bytes that it takes; None where that is not ours to know."""

    def tidy(self) -> None:
        """Give back space, and make what was deleted unreadable."""

    def close(self) -> None: ...


class Database:
    """Thread-safe. What fails in the database itself is raised as StoreUnavailable."""

    def __init__(self, backend: Backend, encryption: Encryption) -> None:
        self.backend = backend
        self.encryption = encryption
        for engine in (backend.engine, backend.writer):
            engine.update_execution_options(**{OPTION: encryption})
        self._lock = threading.Lock()
        self._waiting: list[_Write[object]] = []
        self._turn = threading.RLock()
        self._problem: str | None = None
        self._closed = False

    @property
    def problem(self) -> str | None:
        """Why the last write failed, in a few words; None while writing works."""
        return self._problem

    @property
    def waiting(self) -> int:
        """How many writes wait for the transaction that they will share."""
        return len(self._waiting)

    def write(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a transaction; what it returns, once that is committed.

        What it raises undoes what it did and is raised here. Writes that come meanwhile share the next
        transaction, so `work` must not wait for anything.
        """
        mine = _Write(work)
        with self._lock:
            self._waiting.append(mine)  # type: ignore[arg-type]  # each gets its own result back
        with self._turn:
            # The thread before may have done it together with its own.
            while not mine.done:
                with self._lock:
                    batch = self._waiting[:MAX_TOGETHER]
                    del self._waiting[:MAX_TOGETHER]
                self._commit(batch)
        return mine.result()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection for reading, in one transaction."""
        if self._closed:
            raise StoreUnavailable(CLOSED)
        try:
            if self.backend.one_connection:
                with self._turn, self.backend.engine.begin() as connection:
                    yield connection
            else:
                with self.backend.engine.begin() as connection:
                    yield connection
        except SQLAlchemyError as error:
            raise self._unavailable(error) from None

    def tidy(self) -> None:
        """Give back the space of what was deleted, as far as others that read let us."""
        with self._turn:
            try:
                self.backend.tidy()
            except SQLAlchemyError as error:
                raise self._unavailable(error) from None

    def size(self) -> int | None:
        """Bytes that it takes; None where that is not ours to know. Raises StoreUnavailable."""
        try:
            with self._turn:
                return self.backend.size()
        except SQLAlchemyError as error:
            raise self._unavailable(error) from None

    def close(self) -> None:
        """Later calls raise StoreUnavailable."""
        with self._turn:
            self._closed = True
            self.backend.close()

    def _commit(self, batch: list[_Write[object]]) -> None:
        if self._closed:
            for each in batch:
                each.fail(StoreUnavailable(CLOSED))
            return
        try:
            with self.backend.writing() as connection:
                for each in batch:
                    each.run(connection, alone=len(batch) == 1)
        except _Undone:  # the only one there was
            batch[0].done = True
            return
        except SQLAlchemyError as error:
            failure = self._unavailable(error)
            self._problem = self.backend.reason(error)
            for each in batch:
                each.fail(failure)
            return
        except BaseException:  # the thread was interrupted
            for each in batch:
                each.fail(StoreUnavailable("The store was interrupted."))
            raise
        if self._problem is not None:
            log.info("the store can be written again")
            self._problem = None
        for each in batch:
            each.done = True

    def _unavailable(self, error: SQLAlchemyError) -> StoreUnavailable:
        reason = self.backend.reason(error)
        if self._problem is None:
            log.error("the store failed: %s", reason)
        return StoreUnavailable(
            "Stored objects cannot be read or written now; the operator can find details in the log."
        )


class _Undone(Exception):
    """The work failed by itself, not the database."""


class _Write(Generic[T]):
    """One call of `write`."""

    def __init__(self, work: Callable[[Connection], T]) -> None:
        self._work = work
        self._result: T
        self._error: Exception | None = None
        self.done = False

    def run(self, connection: Connection, *, alone: bool) -> None:
        """Do it. Raises SQLAlchemyError where the database fails: some failures of SQLite end the whole
        transaction, so that nothing may be done in it any more."""
        if not alone:
            execute(connection, "SAVEPOINT one")
        try:
            self._result = self._work(connection)
        except IntegrityError as error:
            self._error = error
        except DBAPIError:
            raise
        except Exception as error:
            self._error = error
        if alone:
            if self._error is not None:
                raise _Undone
            return
        if self._error is not None:
            execute(connection, "ROLLBACK TO SAVEPOINT one")
        execute(connection, "RELEASE SAVEPOINT one")

    def fail(self, error: Exception) -> None:
        self._error = error
        self.done = True

    def result(self) -> T:
        if self._error is not None:
            raise self._error
        return self._result
