"""Batches in the store: a line has one result, whoever claims it, and nothing stays under way for ever."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from extensions.openai.errors import BatchEnded, RateLimited, StoredObjectNotFound
from extensions.openai.state import batch_lines, batches
from extensions.openai.state.batch_lines import LEASE_SECONDS
from extensions.openai.state.operations.consistency import check
from extensions.openai.state.pages import PageQuery
from extensions.openai.state.retention import Retention, Sweeper
from extensions.openai.state.store import Store
from extensions.openai.state.stored_batch import Batch, LineResult, NewBatch, NewLine, Tokens
from extensions.openai.state.users import erase
from tests.state.conftest import Open, lasting

DAY = 86400
CALLER: dict[str, Any] = {"name": "me", "weight": 1}


class Clock:
    """What the store takes for the time."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    for module in (batches, batch_lines):
        monkeypatch.setattr(module, "time", SimpleNamespace(time=made.time))
    return made


def create(store: Store, clock: Clock, count: int = 0, owner: str = "me") -> Batch:
    """One with so many lines, which is in progress if there are any."""
    new = NewBatch("/v1/responses", "file-1", "24h", int(clock.now) + DAY, CALLER)
    made = store.batches.create(owner, new)
    if count:
        # Those that begin alike are those with the same last digit.
        found = [NewLine(n, n * 10, 9, f"name {n}", str(n % 10)) for n in range(1, count + 1)]
        assert store.batches.hold(made, "x")
        assert store.batches.lines.index(made, "x", found) == []
        store.batches.begin(made, "x", count, "m")
    return store.batches.get(owner, made.id)


def keep(store: Store, batch: Batch, holder: str, number: int, *, good: bool = True) -> bool:
    result = LineResult(number, f'"{number}"'.encode(), good, Tokens(4, 3, 2, 1))
    return store.batches.lines.keep(batch, holder, result)


def numbers(store: Store, batch: Batch, holder: str, most: int = 100) -> list[int]:
    return [line.number for line in store.batches.lines.claim(batch, holder, most)]


def written(store: Store, file: str | None) -> list[str]:
    return b"".join(store.files.read("me", str(file))).decode().split()


def test_lines_that_begin_alike_are_claimed_one_after_the_other(store: Store, clock: Clock) -> None:
    batch = create(store, clock, 20)
    claimed = numbers(store, batch, "a", 7) + numbers(store, batch, "b", 13)
    assert claimed == sorted(range(1, 21), key=lambda n: (n % 10, n))
    assert numbers(store, batch, "c") == []


def test_each_line_has_one_result(store: Store, clock: Clock) -> None:
    batch = create(store, clock, 3)
    assert numbers(store, batch, "a") == [1, 2, 3]
    clock.now += LEASE_SECONDS - 1
    assert numbers(store, batch, "b") == []
    store.batches.lines.renew("a", [(batch, 1)], [])
    clock.now += 1  # and `a` is slow
    assert numbers(store, batch, "b") == [2, 3]
    assert not keep(store, batch, "a", 2) and keep(store, batch, "b", 2)
    assert not keep(store, batch, "b", 2)
    assert keep(store, batch, "a", 1) and keep(store, batch, "b", 3, good=False)
    done = store.batches.get("me", batch.id)
    assert (done.status, done.completed, done.failed) == ("completed", 2, 1)
    assert done.tokens == Tokens(12, 9, 6, 3)
    assert written(store, done.output_file) == ['"2"', '"1"']
    assert written(store, done.error_file) == ['"3"']
    assert done.times.keys() == {"in_progress", "finalizing", "completed"}
    assert check(store.database).faults == ()


def test_claims_end_though_the_clock_is_set_back(store: Store, clock: Clock) -> None:
    looked_through, batch = create(store, clock), create(store, clock, 2)
    assert numbers(store, batch, "a") == [1, 2] and store.batches.hold(looked_through, "a")
    clock.now -= 30  # as clocks of two machines may differ
    assert numbers(store, batch, "b") == [] and not store.batches.hold(looked_through, "b")
    clock.now -= 3600
    assert [line.number for line in store.batches.lines.left(batch, 9)] == [1, 2]
    assert numbers(store, batch, "b", 1) == [1] and store.batches.hold(looked_through, "b")
    store.batches.lines.end(batch, [LineResult(2, b"x", False)])
    assert not keep(store, batch, "a", 2) and store.batches.get("me", batch.id).failed == 1


def test_a_released_line_is_free(store: Store, clock: Clock) -> None:
    batch = create(store, clock, 1)
    assert numbers(store, batch, "a") == [1]
    store.batches.lines.release(batch, "b", 1)
    assert numbers(store, batch, "b") == []
    store.batches.lines.release(batch, "a", 1)
    assert numbers(store, batch, "b") == [1] and not keep(store, batch, "a", 1)


def test_one_server_looks_after_a_batch(store: Store, clock: Clock) -> None:
    batch = create(store, clock)
    assert store.batches.hold(batch, "a") and store.batches.hold(batch, "a")
    clock.now += LEASE_SECONDS - 1
    assert not store.batches.hold(batch, "b")
    store.batches.lines.renew("a", [], [batch])
    clock.now += LEASE_SECONDS - 1
    assert not store.batches.hold(batch, "b")
    store.batches.let_go(batch, "b")
    assert not store.batches.hold(batch, "b")
    store.batches.let_go(batch, "a")
    assert store.batches.hold(batch, "b")
    store.batches.cancel("me", batch.id)
    assert not store.batches.hold(batch, "b")  # it is another status by now


def test_no_line_begins_that_may_not(store: Store, clock: Clock) -> None:
    batch = create(store, clock, 4)
    assert numbers(store, batch, "a", 1) == [1]
    store.batches.pause(batch.id, paused=True)
    assert numbers(store, batch, "a", 1) == []
    store.batches.pause(batch.id, paused=False)
    assert numbers(store, batch, "a", 1) == [2]
    clock.now += DAY
    assert numbers(store, batch, "a", 1) == []
    clock.now -= DAY
    store.batches.cancel("me", batch.id)
    assert numbers(store, batch, "a", 1) == []


@lasting
def test_a_pause_is_there_after_a_restart(open_store: Open, clock: Clock) -> None:
    before = open_store()
    batch = create(before, clock, 2)
    before.batches.pause(batch.id, paused=True)
    before.close()
    after = open_store()
    assert after.batches.get("me", batch.id).paused and numbers(after, batch, "a") == []
    after.batches.pause(batch.id, paused=False)
    assert numbers(after, batch, "a") == [1, 2]


@pytest.mark.parametrize("ending", ["cancelled", "expired"])
def test_it_ends_when_no_line_is_answered(store: Store, clock: Clock, ending: str) -> None:
    batch = create(store, clock, 3)
    assert numbers(store, batch, "a", 2) == [1, 2] and keep(store, batch, "a", 1)
    if ending == "cancelled":
        store.batches.cancel("me", batch.id)
    else:
        store.batches.expire(batch)
    batch = store.batches.get("me", batch.id)
    left = store.batches.lines.left(batch, 10)
    assert [line.number for line in left] == [3]
    store.batches.lines.end(batch, [LineResult(n, b"x", False) for n in (1, 2, 3)])
    store.batches.end(batch)
    assert store.batches.get("me", batch.id).status == batch.status  # of 2 there may be a result
    assert keep(store, batch, "a", 2)
    store.batches.end(batch)
    done = store.batches.get("me", batch.id)
    assert (done.status, done.completed, done.failed) == (ending, 2, 1)
    assert written(store, done.error_file) == ["x"]
    with pytest.raises(BatchEnded):
        store.batches.pause(batch.id, paused=True)


def test_a_file_that_was_taken_away_is_begun_again(store: Store, clock: Clock) -> None:
    batch = create(store, clock, 2)
    numbers(store, batch, "a")
    keep(store, batch, "a", 1)
    store.files.delete("me", str(store.batches.get("me", batch.id).output_file))
    keep(store, batch, "a", 2)
    done = store.batches.get("me", batch.id)
    assert done.status == "completed" and written(store, done.output_file) == ['"2"']


def test_erasing_ends_it(store: Store, clock: Clock) -> None:
    batch = create(store, clock, 2)
    numbers(store, batch, "a")
    assert erase(store.database, owners={"me"})["batches"] == 1
    assert not keep(store, batch, "a", 1) and store.batches.active() == []
    store.batches.lines.renew("a", [(batch, 1)], [batch])
    store.batches.lines.release(batch, "a", 1)
    store.batches.fail(batch, [])
    assert check(store.database).faults == ()


def test_a_line_that_ends_while_its_owner_is_erased_leaves_nothing(
    store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = create(store, clock, 50)
    left, write = numbers(store, batch, "a"), store.database.write
    answering: list[int] = []

    def write_and_answer(work: Any) -> Any:
        found = write(work)
        if not answering and left:
            answering.append(left.pop())
            keep(store, batch, "a", answering[0])
            answering.clear()
        return found

    monkeypatch.setattr(store.database, "write", write_and_answer)
    erase(store.database, owners={"me"})
    assert 0 < len(left) < 50  # it ends though lines end
    assert store.files.list("me", PageQuery(limit=9)).items == ()
    assert check(store.database).faults == ()


def test_a_server_that_was_slow_does_not_disturb_another(store: Store, clock: Clock) -> None:
    batch, lines = create(store, clock), store.batches.lines
    found = [NewLine(n, n * 10, 9, f"name {n}", "") for n in (1, 2)]
    assert store.batches.hold(batch, "a") and lines.clear(batch, "a")
    assert lines.index(batch, "a", found[:1]) == []
    clock.now += LEASE_SECONDS
    assert store.batches.hold(batch, "b") and lines.clear(batch, "b")
    assert lines.index(batch, "a", found[1:]) is None and not lines.clear(batch, "a")
    assert lines.index(batch, "b", found) == []
    store.batches.begin(batch, "a", 1, "m")
    assert store.batches.get("me", batch.id).status == "validating"
    store.batches.begin(batch, "b", 2, "m")
    assert store.batches.get("me", batch.id).total == 2 and numbers(store, batch, "a") == [1, 2]


@lasting
def test_a_process_of_its_own_answers_its_batches_only(open_store: Open, clock: Clock) -> None:
    server, process, other = (open_store() for _ in range(3))
    process.batch_scope = "this file"
    of_server, of_process = create(server, clock), create(process, clock)
    other.batch_scope = of_server.id

    def seen(store: Store) -> list[str]:
        return [each.id for each in store.batches.active()]

    assert seen(server) == seen(other) == [of_server.id] and seen(process) == [of_process.id]
    assert server.batches.get("me", of_process.id) == of_process
    server.batches.cancel("me", of_process.id)
    assert seen(server) == [of_server.id, of_process.id], "any process ends it"
    clock.now += DAY
    late = create(process, clock)
    clock.now += DAY
    assert seen(server) == seen(process) == [of_server.id, of_process.id, late.id]


def test_the_sweeper_takes_those_that_have_ended(store: Store, clock: Clock) -> None:
    running, ended = create(store, clock, 1), create(store, clock, 1)
    numbers(store, ended, "a")
    keep(store, ended, "a", 1)
    Sweeper(store.database, lambda: Retention({"batches": 1}, {"batches": 1}), pause=0).sweep()
    assert store.batches.get("me", running.id).status == "in_progress"
    with pytest.raises(StoredObjectNotFound):
        store.batches.get("me", ended.id)


def test_a_key_has_so_many_at_once(
    store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "MAX_ACTIVE", 2)
    first, _ = create(store, clock), create(store, clock)
    with pytest.raises(RateLimited):
        create(store, clock)
    create(store, clock, owner="you")
    store.batches.fail(first, [{"code": "empty_file", "message": "", "param": None, "line": None}])
    create(store, clock)
    assert len(store.batches.list("me", PageQuery(limit=9)).items) == 3
