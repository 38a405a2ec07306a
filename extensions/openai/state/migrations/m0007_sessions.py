"""Sessions and their turns."""

from __future__ import annotations

import sqlalchemy as sa
from alembic.operations import Operations


def upgrade(op: Operations) -> None:
    number = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    op.create_table(
        "sessions",
        sa.Column("seq", number, primary_key=True, autoincrement=True),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("created", number, nullable=False),
        sa.Column("bytes", number, nullable=False),
        sa.Column("end_user", sa.Text),
        sa.Column("safety_identifier", sa.Text),
        sa.Column("agent", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("used", number, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "session_turns",
        sa.Column("seq", number, primary_key=True, autoincrement=True),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("created", number, nullable=False),
        sa.Column("bytes", number, nullable=False),
        sa.Column("end_user", sa.Text),
        sa.Column("safety_identifier", sa.Text),
        sa.Column("session", sa.Text, nullable=False),
        sa.Column("messages", sa.LargeBinary, nullable=False),
        sqlite_autoincrement=True,
    )
    for table in ("sessions", "session_turns"):
        op.create_index(f"{table}_owner", table, ["owner", "seq"])
        op.create_index(f"{table}_created", table, ["created"])
        for name in ("end_user", "safety_identifier"):
            there = sa.text(f"{name} IS NOT NULL")
            op.create_index(
                f"{table}_{name}", table, [name], sqlite_where=there, postgresql_where=there
            )
    op.create_index("sessions_name", "sessions", ["owner", "agent", "name"], unique=True)
    op.create_index("sessions_used", "sessions", ["used"])
    op.create_index("session_turns_session", "session_turns", ["session", "seq"])
