"""The store in a file of SQLite, or in memory."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.pool import PoolProxiedConnection, QueuePool, StaticPool

from .. import migrations
from ..statements import execute
from . import sqlite_file
from .closing import close_all
from .sqlite_file import StoreFileError, Synchronous

log = logging.getLogger("openedai")

READERS = 4  # connections that stay open
PAGES_GIVEN_BACK = 2000  # at once, of 4 KiB
CHECKPOINT_MILLISECONDS = 50  # to wait for readers
EXCLUSIVE = "BEGIN IMMEDIATE"
BEGIN = "openedai_begin"
"""The option of an engine that says how its transactions begin."""


class SqliteFile:
    """A file that several processes of one machine may use."""

    one_connection = False

    def __init__(
        self, path: Path, synchronous: Synchronous, busy: float = sqlite_file.BUSY
    ) -> None:
        """`busy`: seconds to wait for another process that writes."""
        self.path = path
        self.engine = create_engine(
            "sqlite://",
            creator=lambda: sqlite_file.connect(path, synchronous, busy),
            poolclass=QueuePool,
            pool_size=READERS,
            max_overflow=1000,  # as many as there are threads
        )
        self.writer = _exclusive(self.engine)
        self._writing: Connection | None = None

    def prepare(self) -> None:
        sqlite_file.check_place(self.path.parent)
        found = sqlite_file.revision_in(self.path)
        try:
            if found is not None and migrations.missing(found):
                self._copy_before()
            with self.writer.begin() as connection:
                # Another process may have been faster: it finds out what is missing by itself.
                migrations.upgrade(connection)
        except (DBAPIError, sqlite3.Error, OSError) as error:
            raise StoreFileError(
                f"setting store: cannot write {self.path}: {self.reason(error)}"
            ) from None

    def _copy_before(self) -> None:
        target = self.path.with_name(f"{self.path.name}.before-{migrations.HEAD}")
        target.unlink(missing_ok=True)
        sqlite_file.copy(self.path, target)
        log.info("the store gets a newer schema; a copy of it as it was is %s", target)

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """On one connection, which stays: to take one of the pool's costs as much as to store a chat. So
        does a transaction of SQLAlchemy's, which begins only if something is run through it."""
        connection, self._writing = self._writing or self.writer.connect(), None
        try:
            execute(connection, EXCLUSIVE)
            yield connection
            if connection.in_transaction():
                connection.commit()
            else:
                execute(connection, "COMMIT")
        except BaseException:
            connection.close()  # which rolls back
            raise
        self._writing = connection

    def reason(self, error: BaseException) -> str:
        return _reason(error)

    def size(self) -> int | None:
        return sqlite_file.size(self.path)

    def tidy(self) -> None:
        with _failing_as_others("incremental_vacuum, wal_checkpoint"):
            connection = self.engine.raw_connection()
            try:
                _give_back(connection)
                # A reader keeps the log as it is; then it is emptied the next time.
                cursor = connection.cursor()
                cursor.execute(f"PRAGMA busy_timeout = {CHECKPOINT_MILLISECONDS}")
                cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            finally:
                connection.invalidate()  # its timeout is another one

    def close(self) -> None:
        if self._writing is not None:
            self._writing.close()
        close_all(self.engine)


class Memory:
    """A database that ends with the process."""

    one_connection = True

    def __init__(self) -> None:
        self.engine = create_engine("sqlite://", creator=_in_memory, poolclass=StaticPool)
        self.writer = _exclusive(self.engine)

    def prepare(self) -> None:
        with self.writer.begin() as connection:
            migrations.upgrade(connection)

    def writing(self) -> AbstractContextManager[Connection]:
        return self.writer.begin()

    def reason(self, error: BaseException) -> str:
        return _reason(error)

    def size(self) -> int | None:
        with self.engine.begin() as connection:
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
            return int(pages * connection.exec_driver_sql("PRAGMA page_size").scalar_one())

    def tidy(self) -> None:
        with _failing_as_others("incremental_vacuum"):
            _give_back(self.engine.raw_connection())

    def close(self) -> None:
        close_all(self.engine)


def _in_memory() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    sqlite_file.configure(connection)
    return connection


@contextmanager
def _failing_as_others(statement: str) -> Iterator[None]:
    """What the driver raises by itself, as SQLAlchemy would."""
    try:
        yield
    except sqlite3.Error as error:
        raise OperationalError(statement, None, error) from None


def _give_back(connection: PoolProxiedConnection) -> None:
    """Cut free pages off the file. As a script, because Python takes only one step of a statement that has no
    rows."""
    found = connection.driver_connection
    assert isinstance(found, sqlite3.Connection)
    found.executescript(f"PRAGMA incremental_vacuum({PAGES_GIVEN_BACK})")


def _exclusive(engine: Engine) -> Engine:
    """The engine for writing, beside one whose transactions begin when they first read.

    A transaction that reads and then writes fails at once where another has written in between; one that is
    begun as a writer waits for its turn.
    """

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        driver = connection.connection.driver_connection
        assert isinstance(driver, sqlite3.Connection)
        if not driver.in_transaction:
            execute(connection, connection.get_execution_options().get(BEGIN, "BEGIN"))

    return engine.execution_options(**{BEGIN: EXCLUSIVE})


def _reason(error: BaseException) -> str:
    """SQLite's own words hold nothing of what is stored."""
    cause = getattr(error, "orig", None) or error
    if isinstance(cause, OSError):
        return cause.strerror or type(cause).__name__
    return str(cause)
