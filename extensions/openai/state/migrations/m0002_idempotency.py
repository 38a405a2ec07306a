"""Keys of requests that must have their effect once."""

from __future__ import annotations

import sqlalchemy as sa
from alembic.operations import Operations


def upgrade(op: Operations) -> None:
    number = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    op.create_table(
        "idempotency",
        sa.Column("owner", sa.Text, primary_key=True),
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("fingerprint", sa.Text, nullable=False),
        sa.Column("holder", sa.Text, nullable=False),
        sa.Column("object", sa.Text),
        sa.Column("until", number, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("idempotency_until", "idempotency", ["until"])
    op.create_index("idempotency_object", "idempotency", ["object"])
