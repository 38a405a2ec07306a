"""Bytes of files in the clear that begin like a mark get the mark of bytes in the clear before them.

Before this step they were written as they were, and those that began with 0 and 1 looked as if they were
encrypted. Their owners, who have no key, tell them from such; those of owners with a key stay as they are.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic.operations import Operations

ENCRYPTED, CLEAR = b"\0\1", b"\0\2"


def upgrade(op: Operations) -> None:
    connection = op.get_bind()
    chunks = sa.table(
        *("file_chunks", sa.column("seq", sa.BigInteger), sa.column("owner", sa.Text)),
        sa.column("data", sa.LargeBinary),
    )
    keys = sa.table("data_keys", sa.column("owner", sa.Text))
    begins = sa.func.substr(chunks.c.data, 1, len(CLEAR), type_=sa.LargeBinary)
    no_key = chunks.c.owner.not_in(sa.select(keys.c.owner))
    which = sa.select(chunks.c.seq).where(
        sa.or_(begins == CLEAR, sa.and_(begins == ENCRYPTED, no_key))
    )
    for seq in connection.execute(which).scalars().all():
        this = chunks.c.seq == seq
        data = connection.execute(sa.select(chunks.c.data).where(this)).scalar_one()
        connection.execute(sa.update(chunks).where(this).values(data=CLEAR + data))
