"""Requests that a client sends again because it does not know whether they had their effect.

Source: the draft "The Idempotency-Key HTTP Header Field" (draft-ietf-httpapi-idempotency-key-header-07): the
first request is done; the same one again gets the first one's answer, 409 while that is under way; another
request with the same key gets 422.

What a server has under way is a lease that it renews. So a server that was killed leaves nothing behind that
would stay under way.
"""

from __future__ import annotations

import secrets
import threading
import time
from dataclasses import dataclass
from functools import partial

from sqlalchemy import ColumnElement, Connection, delete, insert, select, update

from ..errors import IdempotencyMismatch, RequestUnderWay, StoreUnavailable
from .database import Database
from .encryption import encryption_of
from .tables import idempotency as table

LEASE_SECONDS = 30
RENEWAL_SECONDS = 10.0
KEPT_SECONDS = 86400


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to do what a key stands for. `holder` tells it from all others."""

    owner: str
    key: str
    holder: str


class Idempotency:
    """Thread-safe. Everything raises StoreUnavailable where the database fails."""

    def __init__(
        self, database: Database, *, lease: int = LEASE_SECONDS, renewal: float = RENEWAL_SECONDS
    ) -> None:
        """Seconds that what is under way may stay so without being renewed, and between two renewals."""
        self._database = database
        self._lease, self._renewal = lease, renewal
        self._lock = threading.Lock()
        self._held: set[Claim] = set()
        self._renewing = False
        self._closed = threading.Event()

    def begin(self, owner: str, key: str, fingerprint: str) -> Claim | str:
        """The claim to do it now, or the id of the object that was stored when it was done before.

        Raises RequestUnderWay, IdempotencyMismatch."""
        claim = Claim(owner, key, secrets.token_hex(8))

        def work(connection: Connection) -> str | None:
            now = int(time.time())
            written = encryption_of(connection).fingerprint(connection, owner, fingerprint)
            mine = (table.c.owner == owner, table.c.key == key)
            connection.execute(delete(table).where(*mine, table.c.until <= now))
            row = connection.execute(select(table).where(*mine)).one_or_none()
            if row is None:
                connection.execute(
                    insert(table).values(
                        owner=owner,
                        key=key,
                        fingerprint=written,
                        holder=claim.holder,
                        until=now + self._lease,
                    )
                )
                return None
            if row.fingerprint not in (written, fingerprint):
                raise IdempotencyMismatch
            if row.object is None:
                raise RequestUnderWay
            found: str = row.object
            return found

        found = self._database.write(work)
        if found is not None:
            return found
        self._hold(claim)
        return claim

    def release(self, claim: Claim) -> None:
        """The request has ended. Where nothing was stored, the next one with the key is done."""
        with self._lock:
            if claim not in self._held:
                return
            self._held.discard(claim)
        self._database.write(
            lambda connection: connection.execute(
                delete(table).where(*_of(claim), table.c.object.is_(None))
            )
        )

    def forget(self, owner: str, key: str, object: str) -> None:
        """The object that a key stands for is not there any more: the next request with it is done."""
        mine = (table.c.owner == owner, table.c.key == key, table.c.object == object)
        self._database.write(lambda connection: connection.execute(delete(table).where(*mine)))

    def settle(self, claim: Claim) -> None:
        """The object is stored, and the key stands for it."""
        with self._lock:
            self._held.discard(claim)

    def close(self) -> None:
        """Renew nothing any more."""
        self._closed.set()

    def _hold(self, claim: Claim) -> None:
        with self._lock:
            self._held.add(claim)
            if not self._renewing:
                self._renewing = True
                threading.Thread(target=self._renew, name="openai-leases", daemon=True).start()

    def _renew(self) -> None:
        """As long as anything is under way."""
        while not self._closed.wait(self._renewal):
            with self._lock:
                held = list(self._held)
                if not held:
                    self._renewing = False
                    return
            try:
                self._database.write(partial(_extend, held=held, lease=self._lease))
            except StoreUnavailable:
                pass  # it is in the log; the next time may work


def finish(connection: Connection, claim: Claim, object: str) -> None:
    """What was claimed is stored as this object; in the transaction that stores it."""
    until = int(time.time()) + KEPT_SECONDS
    connection.execute(update(table).where(*_of(claim)).values(object=object, until=until))


def _extend(connection: Connection, held: list[Claim], lease: int) -> None:
    until = int(time.time()) + lease
    for claim in held:
        under_way = (*_of(claim), table.c.object.is_(None))
        connection.execute(update(table).where(*under_way).values(until=until))


def _of(claim: Claim) -> tuple[ColumnElement[bool], ...]:
    return (
        table.c.owner == claim.owner,
        table.c.key == claim.key,
        table.c.holder == claim.holder,
    )
