"""Figures that belong to messages of stored chats."""

from __future__ import annotations

import sqlalchemy as sa
from alembic.operations import Operations


def upgrade(op: Operations) -> None:
    number = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    op.create_table(
        "plots",
        sa.Column("seq", number, primary_key=True, autoincrement=True),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("created", number, nullable=False),
        sa.Column("bytes", number, nullable=False),
        sa.Column("end_user", sa.Text),
        sa.Column("safety_identifier", sa.Text),
        sa.Column("chat", sa.Text, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("figure", sa.LargeBinary, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("plots_owner", "plots", ["owner", "seq"])
    op.create_index("plots_created", "plots", ["created"])
    op.create_index("plots_chat", "plots", ["chat", "message", "seq"])
    for name in ("end_user", "safety_identifier"):
        there = sa.text(f"{name} IS NOT NULL")
        op.create_index(
            f"plots_{name}", "plots", [name], sqlite_where=there, postgresql_where=there
        )
