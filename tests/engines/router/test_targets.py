"""Which server gets a request, with a clock that tests move."""

from __future__ import annotations

from collections import Counter

import pytest

from extensions.openai.engines.echo import EchoEngine
from extensions.openai.engines.router.targets import (
    FAILURES,
    FIRST_BREAK_S,
    LONGEST_BREAK_S,
    LONGEST_PAUSE_S,
    Target,
    Targets,
)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def targets(clock: Clock, *weights: int) -> Targets:
    engine = EchoEngine()
    return Targets([Target(f"t{at}", engine, weight) for at, weight in enumerate(weights)], clock)


def take(of: Targets, prefix: str = "") -> Target:
    taken = of.take(prefix.encode())
    assert taken is not None
    return taken


def states(of: Targets) -> list[str]:
    return [each.state for each in of.report()]


def test_the_one_with_the_fewest_requests_for_its_weight(clock: Clock) -> None:
    of = targets(clock, 1, 1, 2)
    first = Counter(take(of).name for _ in range(8))
    assert first == {"t0": 2, "t1": 2, "t2": 4}
    for each in of.all:
        if each.name == "t1":
            of.done(each)
            of.done(each)
    assert take(of).name == "t1"


def test_what_begins_alike_goes_to_one(clock: Clock) -> None:
    of = targets(clock, 1, 1, 1)
    homes = {}
    for number in range(300):
        prefix = f"conversation {number}"
        taken = take(of, prefix)
        of.done(taken)
        again = take(of, prefix)
        of.done(again)
        assert taken is again
        homes[prefix] = taken.name
    shares = Counter(homes.values())
    assert all(70 < shares[f"t{at}"] < 130 for at in range(3)), shares
    of.set_health(of.all[1], is_healthy=False)
    for prefix, home in homes.items():
        taken = take(of, prefix)
        of.done(taken)
        assert taken.name == home if home != "t1" else taken.name != "t1", "only its own move"


def test_weights_hold_for_beginnings_too(clock: Clock) -> None:
    of = targets(clock, 1, 3)
    found: Counter[str] = Counter()
    for number in range(400):
        taken = take(of, f"{number}")
        of.done(taken)
        found[taken.name] += 1
    assert 60 < found["t0"] < 140, found


def test_a_beginning_that_all_share_is_spread(clock: Clock) -> None:
    of = targets(clock, 1, 1, 1)
    found = Counter(take(of, "the same").name for _ in range(30))
    assert max(found.values()) <= 13 and min(found.values()) >= 8, found


def test_a_server_that_fails_is_left_alone_and_tried_again(clock: Clock) -> None:
    of = targets(clock, 1, 1)
    bad, good = of.all
    for _ in range(FAILURES):
        taken = of.take(b"", [good])
        assert taken is bad
        of.failed(bad)
    assert states(of) == ["broken", "up"]
    assert {take(of).name for _ in range(5)} == {"t1"}
    clock.now += FIRST_BREAK_S
    assert states(of) == ["up", "up"]
    assert take(of) is bad, "one is sent to try it"
    assert {take(of).name for _ in range(5)} == {"t1"}, "and no other until it has ended"
    of.failed(bad)
    clock.now += FIRST_BREAK_S
    assert states(of)[0] == "broken", "a second break is longer"
    clock.now += FIRST_BREAK_S
    assert take(of) is bad
    of.done(bad)
    assert take(of) is bad and states(of) == ["up", "up"]


def test_breaks_have_a_longest(clock: Clock) -> None:
    of = targets(clock, 1)
    for _ in range(20):
        of.failed(take(of))
    assert states(of) == ["broken"]
    clock.now += LONGEST_BREAK_S
    assert states(of) == ["up"]


def test_the_last_resort_is_one_that_is_broken(clock: Clock) -> None:
    of = targets(clock, 1, 1)
    for each in of.all:
        of.set_health(each, is_healthy=False)
    assert states(of) == ["down", "down"]
    first = take(of)
    second = of.take(b"", [first])
    assert second is not None and second is not first
    assert of.take(b"", [first, second]) is None


def test_a_full_server_is_left_alone_as_long_as_it_says(clock: Clock) -> None:
    of = targets(clock, 1, 1)
    full = take(of)
    of.full(full, 5.0)
    assert {take(of) is full for _ in range(4)} == {False}
    clock.now += 5.0
    assert take(of) is full
    of.full(full, 9999.0)
    clock.now += LONGEST_PAUSE_S
    assert "full" not in states(of)


def test_a_client_that_leaves_says_nothing_of_the_server(clock: Clock) -> None:
    of = targets(clock, 1)
    for _ in range(FAILURES - 1):
        of.failed(take(of))
    of.done(take(of), has_answered=False)
    of.failed(take(of))
    assert states(of) == ["broken"]
