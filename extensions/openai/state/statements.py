"""Statements that every stored chat runs: SQLAlchemy compiles them once, and the driver runs them.

To run one through SQLAlchemy costs several times what the database itself takes for it (docs/performance.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Boolean, Connection, Select, Table, insert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import Executable


class Statement:
    """Thread-safe. Values reach the driver as they are: text, bytes, whole numbers, truth and None."""

    def __init__(self, statement: Executable, columns: Sequence[str] | None = None) -> None:
        """`columns`: of an INSERT, those that values are given for."""
        self._statement = statement
        self._columns = columns
        self._compiled: dict[str, SQLCompiler] = {}

    def run(self, connection: Connection, values: Mapping[str, Any]) -> Any:
        """The driver's cursor after it. Raises DBAPIError, as SQLAlchemy would."""
        compiled = self._for(connection)
        names = compiled.positiontup
        return execute(
            connection,
            compiled.string,
            values if names is None else [values[name] for name in names],
        )

    def _for(self, connection: Connection) -> SQLCompiler:
        dialect = connection.dialect
        compiled = self._compiled.get(dialect.name)
        if compiled is None:
            made = self._statement.compile(dialect=dialect, column_keys=self._columns)  # type: ignore[attr-defined]
            assert isinstance(made, SQLCompiler)
            compiled = self._compiled[dialect.name] = made
        return compiled


class Insert:
    """Puts rows into a table that numbers them by its column `seq`. Thread-safe."""

    def __init__(self, table: Table) -> None:
        self._names = [column.name for column in table.columns if column.name != "seq"]
        self._statement = Statement(insert(table), self._names)

    def run(self, connection: Connection, values: Mapping[str, Any]) -> int:
        """The row's number; a column without a value is NULL."""
        row = {name: values.get(name) for name in self._names}
        cursor = self._statement.run(connection, row)
        # Where the statement does not return the number, the driver knows it.
        seq: int = cursor.lastrowid if cursor.description is None else cursor.fetchone()[0]
        return seq


class Selection:
    """Reads rows. Thread-safe."""

    def __init__(self, which: Select[Any]) -> None:
        self._statement = Statement(which)
        columns = which.selected_columns
        self._names = [column.name for column in columns]
        self._truths = [column.name for column in columns if isinstance(column.type, Boolean)]

    def rows(self, connection: Connection, values: Mapping[str, Any]) -> list[dict[str, Any]]:
        """By the names of their columns. Raises DBAPIError."""
        read = self._statement.run(connection, values).fetchall()
        found = [dict(zip(self._names, row, strict=True)) for row in read]
        for row in found:
            for name in self._truths:
                row[name] = bool(row[name])  # SQLite has numbers for them
        return found


def execute(connection: Connection, statement: str, values: Any = ()) -> Any:
    """Run SQL of the driver's own; its cursor. Raises DBAPIError, as SQLAlchemy would."""
    cursor = connection.connection.cursor()
    dbapi = connection.dialect.loaded_dbapi
    try:
        cursor.execute(statement, values)
    except dbapi.Error as error:
        raise DBAPIError.instance(
            statement,
            None,  # what is stored is not told
            error,
            dbapi.Error,
            hide_parameters=True,
            dialect=connection.dialect,
        ) from None
    return cursor
