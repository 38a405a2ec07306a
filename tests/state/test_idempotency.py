"""A request that comes again: done once, and nothing stays under way."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from extensions.openai.errors import IdempotencyMismatch, RequestUnderWay
from extensions.openai.state import idempotency as module
from extensions.openai.state.idempotency import Claim, Idempotency
from extensions.openai.state.retention import Retention, Sweeper
from extensions.openai.state.store import Store
from tests.state.conftest import Open
from tests.state.test_chat_completions import chat


@pytest.fixture
def keys(store: Store) -> Iterator[Idempotency]:
    keys = Idempotency(store.database)
    yield keys
    keys.close()


def claimed(keys: Idempotency, owner: str = "local", key: str = "k", print: str = "p") -> Claim:
    claim = keys.begin(owner, key, print)
    assert isinstance(claim, Claim)
    return claim


def test_the_same_request_gets_what_was_stored(store: Store, keys: Idempotency) -> None:
    claim = claimed(keys)
    with pytest.raises(RequestUnderWay):
        keys.begin("local", "k", "p")
    with pytest.raises(IdempotencyMismatch):
        keys.begin("local", "k", "another")
    store.chat_completions.add("local", chat("a"), claim=claim)
    keys.release(claim)
    assert keys.begin("local", "k", "p") == "a"
    with pytest.raises(IdempotencyMismatch):
        keys.begin("local", "k", "another")


def test_keys_are_their_owners(store: Store, keys: Idempotency) -> None:
    store.chat_completions.add("alice", chat("a"), claim=claimed(keys, "alice"))
    claimed(keys, "bob", print="another")
    claimed(keys, "alice", "k2")


def test_a_request_that_failed_is_done_when_it_comes_again(keys: Idempotency) -> None:
    claim = claimed(keys)
    keys.release(claim)
    again = claimed(keys, print="another")
    keys.release(claim)  # the end of the first one does not end the second
    with pytest.raises(RequestUnderWay):
        keys.begin("local", "k", "another")
    keys.release(again)


def test_what_was_deleted_is_done_again(store: Store, keys: Idempotency) -> None:
    store.chat_completions.add("local", chat("a"), claim=claimed(keys))
    store.chat_completions.delete("local", "a")
    claimed(keys)


def test_a_lease_is_renewed(store: Store) -> None:
    keys = Idempotency(store.database, lease=2, renewal=0.1)
    claim = claimed(keys)
    until = time.monotonic() + 2.6
    while time.monotonic() < until:
        with pytest.raises(RequestUnderWay):
            keys.begin("local", "k", "p")
        time.sleep(0.1)
    keys.release(claim)
    claimed(keys)
    keys.close()


def test_nothing_stays_under_way_when_a_server_is_killed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It renews nothing any more."""
    killed = Idempotency(store.database)
    killed.close()
    claimed(killed)
    with pytest.raises(RequestUnderWay):
        Idempotency(store.database).begin("local", "k", "p")
    now = time.time() + module.LEASE_SECONDS + 1
    monkeypatch.setattr(time, "time", lambda: now)
    claimed(killed)


def test_one_of_many_at_once(open_store: Open, where: str) -> None:
    """On two servers, where the database can be shared."""
    stores = [open_store()] if where == "memory" else [open_store(), open_store()]
    servers = [Idempotency(store.database) for store in stores]
    results: list[object] = []

    def begin(at: int) -> None:
        try:
            results.append(servers[at % len(servers)].begin("local", "k", "p"))
        except RequestUnderWay as error:
            results.append(error)

    threads = [threading.Thread(target=begin, args=(at,)) for at in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert [type(each) for each in results].count(Claim) == 1
    assert len(results) == 12
    for server in servers:
        server.close()


def test_they_are_forgotten_after_a_day(
    store: Store, keys: Idempotency, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.chat_completions.add("local", chat("a"), claim=claimed(keys))
    now = time.time() + module.KEPT_SECONDS + 1
    monkeypatch.setattr(time, "time", lambda: now)
    Sweeper(store.database, lambda: Retention({}, {})).sweep()
    with store.database.read() as connection:
        assert connection.exec_driver_sql("SELECT * FROM idempotency").all() == []
    claimed(keys, print="another")
