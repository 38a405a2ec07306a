"""The keys that owners' contents are encrypted with, encrypted themselves."""

from __future__ import annotations

import sqlalchemy as sa
from alembic.operations import Operations


def upgrade(op: Operations) -> None:
    op.create_table(
        "data_keys",
        sa.Column("owner", sa.Text, primary_key=True),
        sa.Column("server_key", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sqlite_with_rowid=False,
    )
