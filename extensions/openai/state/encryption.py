"""Encryption at rest: the contents of stored objects, with a key for each owner that a server key encrypts.

What a database holds of a content is a mark, a nonce, and AES-256-GCM. It is bound to its owner, kind, id
and column, so that one that was moved elsewhere does not open. What lists and erasure look for stays as it
is: ids, order, times, sizes, owners, models, end users, names of sessions, metadata.

Without its owner's key a content is void. Erasing an owner destroys the key, so that nothing of it can be
read from what a disk still holds; only a backup of the whole database has the key, too.
"""

from __future__ import annotations

import hmac
import logging
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import orjson
from sqlalchemy import (
    Connection,
    LargeBinary,
    RowMapping,
    bindparam,
    delete,
    func,
    insert,
    select,
    update,
)

from ..errors import StoreUnavailable
from ..settings import SettingsError
from .keyring import Keyring, KeyringFile, NotOurs
from .statements import Statement
from .tables import KINDS, RAW, data_keys

log = logging.getLogger("openedai")

Row = RowMapping | Mapping[str, Any]
OPTION = "openedai_encryption"
"""The option of a connection that says how its contents are encrypted."""
MARK = b"\0\1"
"""No JSON begins so, and nothing that is compressed. The bytes of files may: see CLEAR."""
CLEAR = b"\0\2"
"""Before bytes in the clear that begin with one of the two marks."""
KEY_BYTES, NONCE_BYTES = 32, 12
FIND_KEY = Statement(select(data_keys.c.key).where(data_keys.c.owner == bindparam("of")))
CONTENTS: Mapping[str, tuple[str, ...]] = {
    kind: tuple(str(each.name) for each in table.c if isinstance(each.type, LargeBinary))
    for kind, table in KINDS.items()
}
"""The columns of each kind that are encrypted: all that hold what was said."""
BYTES = frozenset(kind for kind, columns in CONTENTS.items() if RAW.intersection(columns))
"""The kinds that hold any bytes."""
PLACES: Mapping[str, tuple[str, ...]] = {
    "plots": ("chat", "message"),
    "conversation_items": ("conversation",),
    "session_turns": ("session",),
    "memories": ("agent", "end_user"),
    "file_chunks": ("file", "at"),
}
"""The columns that say what else an object belongs to; they never change."""


class Encryption:
    """Encrypts what is written, and decrypts what is read. Thread-safe."""

    def __init__(self, keyring: Callable[[], Keyring], *, encrypts: bool) -> None:
        """`encrypts`: whether new contents are encrypted; what is encrypted already is read in any case."""
        self._keyring = keyring
        self.encrypts = encrypts

    def encrypted(
        self, connection: Connection, kind: str, values: Mapping[str, Any], place: Row
    ) -> Mapping[str, Any]:
        """Values as they are to be written, of an object with these ids. In a transaction that writes."""
        if not self.encrypts:
            return _marked_clear(values)
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        cipher = AESGCM(
            self._key(connection, place["owner"]) or self._made(connection, place["owner"])
        )
        changed = {}
        for column in CONTENTS[kind]:
            content = values.get(column)
            if content is not None:
                nonce = secrets.token_bytes(NONCE_BYTES)
                sealed = cipher.encrypt(nonce, content, _bound(kind, column, place))
                changed[column] = MARK + nonce + sealed
        return {**values, **changed}

    def decrypted(self, connection: Connection, kind: str, rows: Iterable[Row]) -> list[Row]:
        """Rows with their contents. Raises StoreUnavailable for what cannot be decrypted."""
        keys: dict[str, bytes | None] = {}
        found: list[Row] = []
        for row in rows:
            columns = [name for name in CONTENTS[kind] if is_encrypted(row.get(name))]
            if columns:
                owner = row["owner"]
                if owner not in keys:
                    keys[owner] = self._key(connection, owner)
                row = {**row, **_decrypted(kind, columns, row, keys[owner])}
            elif kind in BYTES:
                row = {**row, **{name: clear(row[name]) for name in RAW if name in row}}
            found.append(row)
        return found

    def fingerprint(self, connection: Connection, owner: str, fingerprint: str) -> str:
        """What is written of a fingerprint, so that it does not tell what it was made of."""
        if not self.encrypts:
            return fingerprint
        key = self._key(connection, owner) or self._made(connection, owner)
        return hmac.digest(key, b"fingerprint\0" + fingerprint.encode(), "sha256").hex()

    def rewrap(self, connection: Connection, batch: int) -> int:
        """Encrypt some data keys with the newest server key; how many there were that were not."""
        keyring = self._keyring()
        newest = keyring.newest.hex()
        old = select(data_keys).where(data_keys.c.server_key != newest).limit(batch)
        rows = connection.execute(old).all()
        for row in rows:
            values = _wrapped(keyring, row.owner, keyring.open("data key", row.owner, row.key))
            here = data_keys.c.owner == row.owner
            connection.execute(update(data_keys).where(here).values(**values))
        return len(rows)

    def _key(self, connection: Connection, owner: str) -> bytes | None:
        """The owner's key; None where there is none. Read each time: another process may destroy it."""
        found = FIND_KEY.run(connection, {"of": owner}).fetchone()
        if found is None:
            return None
        try:
            return self._keyring().open("data key", owner, found[0])
        except NotOurs:
            raise _unreadable("data key of an owner") from None

    def _made(self, connection: Connection, owner: str) -> bytes:
        key = secrets.token_bytes(KEY_BYTES)
        values = _wrapped(self._keyring(), owner, key)
        connection.execute(insert(data_keys).values(owner=owner, **values))
        return key


def encryption_of(connection: Connection) -> Encryption:
    """How the contents of its database are encrypted."""
    found: Encryption = connection.get_execution_options()[OPTION]
    return found


def is_encrypted(content: object) -> bool:
    return isinstance(content, bytes) and content.startswith(MARK)


def clear(content: bytes) -> bytes:
    """A content in the clear, as it was before it was written."""
    return content.removeprefix(CLEAR)


def _marked_clear(values: Mapping[str, Any]) -> Mapping[str, Any]:
    marked = {name: CLEAR + values[name] for name in RAW if _needs_mark(values.get(name))}
    return {**values, **marked} if marked else values


def _needs_mark(content: bytes | None) -> bool:
    return content is not None and content.startswith((MARK, CLEAR))


def check_keys(connection: Connection, file: KeyringFile) -> None:
    """Raises SettingsError where not all that is encrypted can be decrypted with the server's keys."""
    samples = _samples(connection)
    if not samples:
        return
    keyring = file.find()
    if keyring is None:
        raise SettingsError(
            f"setting store: what is stored is encrypted, and its key is missing: there is no {file.path} "
            "(--secret-file names the file with the keys)"
        )
    try:
        for owner, key in samples:
            keyring.open("data key", owner, key)
    except NotOurs:
        raise SettingsError(
            f"setting store: what is stored is encrypted with a key that {file.path} does not hold "
            "(--secret-file names the file with the keys)"
        ) from None


def key_owners(connection: Connection) -> list[str]:
    """The owners who have a key."""
    return list(connection.execute(select(data_keys.c.owner)).scalars())


def destroy_key(connection: Connection, owner: str) -> None:
    """Whatever there may be of the owner's contents, nothing can read it any more."""
    connection.execute(delete(data_keys).where(data_keys.c.owner == owner))


def _samples(connection: Connection) -> Sequence[tuple[str, str]]:
    """An owner's key for each server key."""
    first = select(func.min(data_keys.c.owner)).group_by(data_keys.c.server_key)
    rows = connection.execute(select(data_keys).where(data_keys.c.owner.in_(first)))
    return [(row.owner, row.key) for row in rows]


def _wrapped(keyring: Keyring, owner: str, key: bytes) -> dict[str, str]:
    return {"server_key": keyring.newest.hex(), "key": keyring.seal("data key", owner, key)}


def bound_to(kind: str) -> tuple[str, ...]:
    """The columns that contents of objects are bound to, besides those that have them."""
    return ("owner", "id", *PLACES.get(kind, ()))


def _bound(kind: str, column: str, row: Row) -> bytes:
    return orjson.dumps([kind, column, *(row[name] for name in bound_to(kind))])


def _decrypted(kind: str, columns: Sequence[str], row: Row, key: bytes | None) -> dict[str, bytes]:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    if key is None:
        raise _unreadable(f"{kind} {row['id']}")
    cipher = AESGCM(key)
    found = {}
    for column in columns:
        nonce, sealed = (
            row[column][len(MARK) :][:NONCE_BYTES],
            row[column][len(MARK) + NONCE_BYTES :],
        )
        try:
            found[column] = cipher.decrypt(nonce, sealed, _bound(kind, column, row))
        except (InvalidTag, ValueError):  # the nonce may be cut off
            raise _unreadable(f"{kind} {row['id']}") from None
    return found


def _unreadable(what: str) -> StoreUnavailable:
    log.error("the store: cannot decrypt %s: its key is gone, or it was changed", what)
    return StoreUnavailable(
        "What is stored cannot be decrypted; the operator can find details in the log."
    )
