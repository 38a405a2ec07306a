"""Conversations and their items."""

from __future__ import annotations

import sqlalchemy as sa
from alembic.operations import Operations


def upgrade(op: Operations) -> None:
    number = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    op.create_table(
        "conversations",
        sa.Column("seq", number, primary_key=True, autoincrement=True),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("created", number, nullable=False),
        sa.Column("bytes", number, nullable=False),
        sa.Column("end_user", sa.Text),
        sa.Column("safety_identifier", sa.Text),
        sa.Column("metadata", sa.Text, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "conversation_items",
        sa.Column("seq", number, primary_key=True, autoincrement=True),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("created", number, nullable=False),
        sa.Column("bytes", number, nullable=False),
        sa.Column("end_user", sa.Text),
        sa.Column("safety_identifier", sa.Text),
        sa.Column("conversation", sa.Text, nullable=False),
        sa.Column("item", sa.LargeBinary, nullable=False),
        sqlite_autoincrement=True,
    )
    for table in ("conversations", "conversation_items"):
        op.create_index(f"{table}_owner", table, ["owner", "seq"])
        op.create_index(f"{table}_created", table, ["created"])
        for name in ("end_user", "safety_identifier"):
            there = sa.text(f"{name} IS NOT NULL")
            op.create_index(
                f"{table}_{name}", table, [name], sqlite_where=there, postgresql_where=there
            )
    items = "conversation_items"
    op.create_index(f"{items}_conversation", items, ["conversation", "seq"])
    op.create_index(f"{items}_id", items, ["conversation", "id"], unique=True)
