"""Stored chat completions, what each owner has, and where deleted objects stood."""

from __future__ import annotations

import sqlalchemy as sa
from alembic.operations import Operations


def upgrade(op: Operations) -> None:
    number = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    op.create_table(
        "chat_completions",
        sa.Column("seq", number, primary_key=True, autoincrement=True),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("created", number, nullable=False),
        sa.Column("bytes", number, nullable=False),
        sa.Column("end_user", sa.Text),
        sa.Column("safety_identifier", sa.Text),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("metadata", sa.Text, nullable=False),
        sa.Column("messages", sa.LargeBinary, nullable=False),
        sa.Column("completion", sa.LargeBinary, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("chat_completions_owner", "chat_completions", ["owner", "seq"])
    op.create_index("chat_completions_model", "chat_completions", ["owner", "model", "seq"])
    op.create_index("chat_completions_created", "chat_completions", ["created"])
    for name in ("end_user", "safety_identifier"):
        there = sa.text(f"{name} IS NOT NULL")
        op.create_index(
            f"chat_completions_{name}",
            "chat_completions",
            [name],
            sqlite_where=there,
            postgresql_where=there,
        )
    op.create_table(
        "chat_completion_metadata",
        sa.Column("owner", sa.Text, primary_key=True),
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("value", sa.Text, primary_key=True),
        sa.Column(
            "seq",
            number,
            sa.ForeignKey("chat_completions.seq", ondelete="CASCADE"),
            primary_key=True,
            autoincrement=False,
        ),
        sqlite_with_rowid=False,
    )
    op.create_index("chat_completion_metadata_seq", "chat_completion_metadata", ["seq"])
    op.create_table(
        "totals",
        sa.Column("kind", sa.Text, primary_key=True),
        sa.Column("owner", sa.Text, primary_key=True),
        sa.Column("objects", number, nullable=False),
        sa.Column("bytes", number, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "deleted",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("seq", number, nullable=False),
        sa.Column("at", number, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("deleted_at", "deleted", ["at"])
