"""Stored responses, and where their items are."""

from __future__ import annotations

import sqlalchemy as sa
from alembic.operations import Operations


def upgrade(op: Operations) -> None:
    number = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    op.create_table(
        "responses",
        sa.Column("seq", number, primary_key=True, autoincrement=True),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("created", number, nullable=False),
        sa.Column("bytes", number, nullable=False),
        sa.Column("end_user", sa.Text),
        sa.Column("safety_identifier", sa.Text),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("previous", sa.Text),
        sa.Column("root", sa.Text, nullable=False),
        sa.Column("hidden", sa.Boolean, nullable=False),
        sa.Column("input", sa.LargeBinary, nullable=False),
        sa.Column("response", sa.LargeBinary, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("responses_owner", "responses", ["owner", "seq"])
    op.create_index("responses_created", "responses", ["created"])
    op.create_index("responses_previous", "responses", ["previous"])
    op.create_index("responses_root", "responses", ["root", "created"])
    for name in ("end_user", "safety_identifier"):
        there = sa.text(f"{name} IS NOT NULL")
        op.create_index(
            f"responses_{name}",
            "responses",
            [name],
            sqlite_where=there,
            postgresql_where=there,
        )
    op.create_table(
        "response_items",
        sa.Column("owner", sa.Text, primary_key=True),
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column(
            "seq",
            number,
            sa.ForeignKey("responses.seq", ondelete="CASCADE"),
            primary_key=True,
            autoincrement=False,
        ),
        sqlite_with_rowid=False,
    )
    op.create_index("response_items_seq", "response_items", ["seq"])
