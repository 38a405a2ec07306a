"""Batches, and an index of the lines of their files."""

from __future__ import annotations

import sqlalchemy as sa
from alembic.operations import Operations


def upgrade(op: Operations) -> None:
    number = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    op.create_table(
        "batches",
        sa.Column("seq", number, primary_key=True, autoincrement=True),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("created", number, nullable=False),
        sa.Column("bytes", number, nullable=False),
        sa.Column("end_user", sa.Text),
        sa.Column("safety_identifier", sa.Text),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("paused", sa.Boolean, nullable=False),
        sa.Column("ends", number, nullable=False),
        sa.Column("holder", sa.Text),
        sa.Column("until", number, nullable=False),
        sa.Column("input_file", sa.Text, nullable=False),
        sa.Column("output_file", sa.Text),
        sa.Column("error_file", sa.Text),
        *(
            sa.Column(name, number, nullable=False)
            for name in ("total", "completed", "failed", "prompt_tokens", "cached_tokens")
        ),
        sa.Column("completion_tokens", number, nullable=False),
        sa.Column("reasoning_tokens", number, nullable=False),
        sa.Column("about", sa.LargeBinary, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("batches_owner", "batches", ["owner", "seq"])
    op.create_index("batches_created", "batches", ["created"])
    op.create_index("batches_status", "batches", ["status", "seq"])
    for person in ("end_user", "safety_identifier"):
        there = sa.text(f"{person} IS NOT NULL")
        op.create_index(
            f"batches_{person}", "batches", [person], sqlite_where=there, postgresql_where=there
        )
    op.create_table(
        "batch_lines",
        sa.Column(
            "batch",
            number,
            sa.ForeignKey("batches.seq", ondelete="CASCADE"),
            primary_key=True,
            autoincrement=False,
        ),
        sa.Column("number", number, primary_key=True, autoincrement=False),
        sa.Column("at", number, nullable=False),
        sa.Column("length", number, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("prefix", sa.Text, nullable=False),
        sa.Column("done", sa.Boolean, nullable=False),
        sa.Column("holder", sa.Text),
        sa.Column("until", number, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("batch_lines_name", "batch_lines", ["batch", "name"], unique=True)
    op.create_index("batch_lines_next", "batch_lines", ["batch", "done", "prefix", "number"])
