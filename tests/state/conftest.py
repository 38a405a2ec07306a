"""A store of each kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from extensions.openai.settings import Settings
from extensions.openai.state import batch_users, tables
from extensions.openai.state.store import DEFAULT_TIMES, Store, StoreTimes

Open = Callable[..., Store]
lasting = pytest.mark.parametrize(
    "where", ["sqlite", "postgresql", "encrypted sqlite", "encrypted postgresql"], indirect=True
)
"""Only those that several servers share, and that are there after their end."""


def gone(**counts: int) -> dict[str, int]:
    """What a receipt says of objects that were erased."""
    return dict.fromkeys((*tables.KINDS, *batch_users.KINDS), 0) | counts


@pytest.fixture
def open_store(where: str, tmp_path: Path) -> Iterator[Open]:
    """Open the store, as another server would that is started for the same data."""
    opened: list[Store] = []

    def open(times: StoreTimes = DEFAULT_TIMES, **options: object) -> Store:
        given = {"store": where, "data_folder": str(tmp_path), **options}
        store = Store(Settings(**given), times)  # type: ignore[arg-type]
        store.prepare()
        opened.append(store)
        return store

    yield open
    for store in opened:
        store.close()


@pytest.fixture
def store(open_store: Open) -> Store:
    return open_store()
