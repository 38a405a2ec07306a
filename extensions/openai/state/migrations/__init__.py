"""The schema's history: one module for each step, named by its number. Run from code, never by hand.

A step is written once and never changed after it was released. It imports nothing else from here, because
today's tables are not those that it made. The reached step stands where Alembic's own programs look for it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy import Connection

STEPS = (
    "m0001_chat_completions",
    "m0002_idempotency",
    "m0003_responses",
    "m0004_conversations",
    "m0005_response_events",
    "m0006_background",
    "m0007_sessions",
    "m0008_plots",
    "m0009_agents",
    "m0010_memories",
    "m0011_data_keys",
    "m0012_files",
    "m0013_batches",
    "m0014_clear_bytes",
)
"""Modules of this package, each with `upgrade(op)`."""


class NewerSchema(Exception):
    """A later version of this program has changed the schema."""


def number(step: str) -> str:
    """`0001` of `m0001_chat_completions`."""
    return step[1:5]


HEAD = number(STEPS[-1])


def missing(revision: str | None) -> tuple[str, ...]:
    """The steps behind `revision`, None for an empty database. Raises NewerSchema."""
    if revision is not None and revision > HEAD:
        raise NewerSchema
    return tuple(step for step in STEPS if revision is None or number(step) > revision)


def revision_of(connection: Connection) -> str | None:
    """The step that a database has reached; None for an empty one."""
    from sqlalchemy import inspect, text

    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return found


def upgrade(connection: Connection) -> None:
    """Run the steps that are missing, in the transaction that is open. Raises NewerSchema."""
    from alembic.migration import MigrationContext
    from alembic.operations import Operations
    from sqlalchemy import text

    revision = revision_of(connection)
    steps = missing(revision)
    operations = Operations(MigrationContext.configure(connection))
    if revision is None:
        connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)"))
        connection.execute(text("INSERT INTO alembic_version VALUES ('')"))
    for step in steps:
        import_module(f"{__name__}.{step}").upgrade(operations)
        connection.execute(
            text("UPDATE alembic_version SET version_num = :number"), {"number": number(step)}
        )
