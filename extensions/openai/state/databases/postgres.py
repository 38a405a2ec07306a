"""The store in a PostgreSQL database, which several servers may share."""

from __future__ import annotations

from contextlib import AbstractContextManager

from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError

from ...settings import SettingsError
from .. import migrations
from .closing import close_all

WRITERS = 0x6F70656E656461  # the number of the advisory lock: "openeda"
MILLISECONDS = 10_000  # that a statement may wait or take
CONNECT_SECONDS = 5


class Postgres:
    """All servers on one database write in turns, so that rows become visible in their order."""

    one_connection = False

    def __init__(self, url: str) -> None:
        """Raises SettingsError for a URL that is none, or without the driver."""
        try:
            self.engine: Engine = create_engine(
                make_url(url).set(drivername="postgresql+psycopg"),
                pool_pre_ping=True,
                pool_size=4,
                max_overflow=28,
                pool_timeout=MILLISECONDS / 1000,
                connect_args={
                    "connect_timeout": CONNECT_SECONDS,
                    "application_name": "openedai",
                    "options": f"-c lock_timeout={MILLISECONDS} -c statement_timeout={MILLISECONDS}",
                },
            )
        except ArgumentError:
            raise SettingsError(
                "setting store: a database looks like postgresql://USER:PASSWORD@HOST:PORT/NAME"
            ) from None
        except ImportError:
            raise SettingsError(
                "setting store: PostgreSQL needs the package psycopg: pip install 'psycopg[binary]>=3.1'"
            ) from None
        self.writer: Engine = self.engine.execution_options(openedai_writes=True)
        event.listen(self.engine, "begin", _take_turn)

    def prepare(self) -> None:
        try:
            with self.writer.begin() as connection:
                connection.execute(text("SET LOCAL statement_timeout = 0"))
                migrations.upgrade(connection)
        except migrations.NewerSchema:
            raise SettingsError(
                "setting store: the database was written by a newer version of this program"
            ) from None
        except DBAPIError as error:
            raise SettingsError(
                f"setting store: cannot use the database: {self.reason(error)}"
            ) from None

    def writing(self) -> AbstractContextManager[Connection]:
        return self.writer.begin()

    def reason(self, error: BaseException) -> str:
        """The kind of failure; the driver's own words may hold values."""
        cause = getattr(error, "orig", None) or error
        state = getattr(cause, "sqlstate", None)
        kind = type(cause).__name__
        if state is None and isinstance(error, DBAPIError):
            return "no connection to the database"
        return f"{kind} ({state})" if state else kind

    def size(self) -> int | None:
        return None

    def tidy(self) -> None:
        """PostgreSQL cleans up by itself."""

    def close(self) -> None:
        close_all(self.engine)


def _take_turn(connection: Connection) -> None:
    if connection.get_execution_options().get("openedai_writes"):
        connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": WRITERS})
