"""Files, and their contents in chunks."""

from __future__ import annotations

import sqlalchemy as sa
from alembic.operations import Operations


def upgrade(op: Operations) -> None:
    number = sa.BigInteger().with_variant(sa.Integer, "sqlite")

    def create(name: str, *columns: sa.Column[object]) -> None:
        op.create_table(
            name,
            sa.Column("seq", number, primary_key=True, autoincrement=True),
            sa.Column("id", sa.Text, nullable=False, unique=True),
            sa.Column("owner", sa.Text, nullable=False),
            sa.Column("created", number, nullable=False),
            sa.Column("bytes", number, nullable=False),
            sa.Column("end_user", sa.Text),
            sa.Column("safety_identifier", sa.Text),
            *columns,
            sqlite_autoincrement=True,
        )
        op.create_index(f"{name}_owner", name, ["owner", "seq"])
        op.create_index(f"{name}_created", name, ["created"])
        for person in ("end_user", "safety_identifier"):
            there = sa.text(f"{person} IS NOT NULL")
            op.create_index(
                f"{name}_{person}", name, [person], sqlite_where=there, postgresql_where=there
            )

    create(
        "files",
        sa.Column("purpose", sa.Text, nullable=False),
        sa.Column("complete", sa.Boolean, nullable=False),
        sa.Column("expires", number),
        sa.Column("about", sa.LargeBinary, nullable=False),
    )
    op.create_index("files_expires", "files", ["expires"])
    create(
        "file_chunks",
        sa.Column("file", sa.Text, nullable=False),
        sa.Column("at", number, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
    )
    op.create_index("file_chunks_file", "file_chunks", ["file", "at"], unique=True)
