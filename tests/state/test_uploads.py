"""Uploads in every kind of store."""

from __future__ import annotations

import hashlib
import os

import pytest

from extensions.openai.errors import InvalidRequest, StoredObjectNotFound
from extensions.openai.state.files import CHUNK_BYTES, NewFile
from extensions.openai.state.operations.consistency import check
from extensions.openai.state.store import Store

PARTS = [os.urandom(CHUNK_BYTES + 10), b"second", os.urandom(2 * CHUNK_BYTES)]
WHOLE = b"".join(PARTS)
NEW = NewFile("a.bin", "text/plain", "user_data", len(WHOLE))


def test_parts_in_any_order_make_the_file(store: Store) -> None:
    uploads = store.uploads
    made = uploads.create("me", NEW)
    ids = {n: uploads.add("me", made.id, [PARTS[n]], len(PARTS[n]))[0] for n in (2, 0, 1)}
    spare, _ = uploads.add("me", made.id, [b"not wanted"], 10)
    order = [ids[n] for n in (0, 1, 2)]
    for wrong, md5 in (([*order, spare], None), (order[:2], None), (order, "0" * 32)):
        with pytest.raises(InvalidRequest):
            uploads.complete("me", made.id, wrong, md5=md5)
    with pytest.raises(StoredObjectNotFound):
        uploads.complete("you", made.id, order)
    file = uploads.complete("me", made.id, order, md5=hashlib.md5(WHOLE).hexdigest())
    assert b"".join(store.files.read("me", file.id)) == WHOLE
    middle = b"".join(store.files.read("me", file.id, len(PARTS[0]) - 3, 20))
    assert middle == WHOLE[len(PARTS[0]) - 3 :][:20]
    with pytest.raises(StoredObjectNotFound):
        uploads.add("me", made.id, [b"late"], 4)
    assert check(store.database).faults == ()


def test_a_cancelled_one_leaves_nothing(store: Store) -> None:
    made = store.uploads.create("me", NEW)
    store.uploads.add("me", made.id, [PARTS[0]], len(PARTS[0]))
    store.uploads.cancel("me", made.id)
    with pytest.raises(StoredObjectNotFound):
        store.uploads.get("me", made.id)
    report = check(store.database)
    assert report.faults == () and report.objects["files"] == report.objects["file_chunks"] == 0
