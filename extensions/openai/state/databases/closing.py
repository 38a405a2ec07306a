"""The end of a database's connections."""

from __future__ import annotations

from sqlalchemy import Engine, event
from sqlalchemy.pool import ConnectionPoolEntry


def close_all(engine: Engine) -> None:
    """Close its connections: those that other threads use, when they give them back."""
    event.listen(engine, "checkin", _close)
    engine.dispose()


def _close(_connection: object, entry: ConnectionPoolEntry) -> None:
    entry.invalidate()
