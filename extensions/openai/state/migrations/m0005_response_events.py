"""The events in which a stored response was streamed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic.operations import Operations


def upgrade(op: Operations) -> None:
    op.add_column("responses", sa.Column("events", sa.LargeBinary))
