"""What agents remember of users."""

from __future__ import annotations

import sqlalchemy as sa
from alembic.operations import Operations


def upgrade(op: Operations) -> None:
    number = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    op.create_table(
        "memories",
        sa.Column("seq", number, primary_key=True, autoincrement=True),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("created", number, nullable=False),
        sa.Column("bytes", number, nullable=False),
        sa.Column("end_user", sa.Text),
        sa.Column("safety_identifier", sa.Text),
        sa.Column("agent", sa.Text, nullable=False),
        sa.Column("fact", sa.LargeBinary, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("memories_owner", "memories", ["owner", "seq"])
    op.create_index("memories_created", "memories", ["created"])
    op.create_index("memories_agent", "memories", ["owner", "agent", "end_user", "seq"])
    for name in ("end_user", "safety_identifier"):
        there = sa.text(f"{name} IS NOT NULL")
        op.create_index(
            f"memories_{name}", "memories", [name], sqlite_where=there, postgresql_where=there
        )
