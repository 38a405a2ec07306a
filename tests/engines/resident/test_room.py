"""Who makes room for a model: decisions over plain values."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extensions.openai.engines.resident.room import (
    Held,
    Room,
    is_impossible,
    making_room,
    to_wait_for,
)

OLD, NEW = Held("old", 3, 1.0), Held("new", 3, 2.0)
BUSY, PINNED = Held("busy", 3, 0.0, is_busy=True), Held("pinned", 3, 0.0, pinned=True)


def names(going: tuple[Held, ...] | None) -> list[str] | None:
    return None if going is None else [each.name for each in going]


@pytest.mark.parametrize(
    ("size", "held", "room", "going"),
    [
        (3, [], Room(), []),
        (3, [OLD, NEW], Room(), []),
        (3, [OLD, NEW], Room(models=3), []),
        (3, [OLD, NEW], Room(models=2), ["old"]),
        (3, [NEW, OLD], Room(models=1), ["old", "new"]),
        (3, [OLD, NEW], Room(bytes=9), []),
        (3, [OLD, NEW], Room(bytes=8), ["old"]),
        (6, [OLD, NEW], Room(bytes=8), ["old", "new"]),
        (9, [OLD, NEW], Room(bytes=8), None),
        (3, [BUSY], Room(models=1), None),
        (3, [PINNED], Room(models=1), None),
        (3, [BUSY, NEW], Room(models=2), ["new"]),
        (3, [PINNED, NEW], Room(bytes=6), ["new"]),
    ],
)
def test_the_least_recently_used_idle_ones_go(
    size: int, held: list[Held], room: Room, going: list[str] | None
) -> None:
    assert names(making_room(size, held, room)) == going


def test_a_small_one_stays_where_a_large_one_is_enough() -> None:
    small, large = Held("small", 1, 1.0), Held("large", 8, 2.0)
    assert names(making_room(8, [small, large], Room(bytes=9))) == ["large"]


def test_busy_ones_are_waited_for_and_pinned_ones_not() -> None:
    assert names(to_wait_for(3, [BUSY, PINNED], Room(models=2))) == ["busy"]
    assert names(to_wait_for(3, [BUSY, OLD], Room(models=1))) == ["old", "busy"]
    assert names(to_wait_for(3, [PINNED], Room(models=1))) == []


def test_what_never_fits() -> None:
    assert is_impossible(3, [PINNED, OLD], Room(models=1))
    assert is_impossible(7, [], Room(bytes=6))
    assert is_impossible(4, [PINNED], Room(bytes=6))
    assert not is_impossible(3, [PINNED, OLD, BUSY], Room(bytes=6))


MODELS = st.lists(
    st.builds(
        Held, st.uuids().map(str), st.integers(1, 9), st.floats(0, 9), st.booleans(), st.booleans()
    ),
    max_size=6,
)


@given(st.integers(1, 9), MODELS, st.integers(0, 5), st.integers(0, 30))
def test_nothing_goes_in_vain(size: int, held: list[Held], models: int, most: int) -> None:
    room = Room(models, most)
    going = making_room(size, held, room)
    if going is None:
        idle = [each for each in held if not (each.is_busy or each.pinned)]
        staying = [each.bytes for each in held if each not in idle]
        assert not room.holds([size, *staying])
        return
    assert not any(each.is_busy or each.pinned for each in going)
    staying = [each.bytes for each in held if each not in going]
    assert room.holds([size, *staying])
    assert all(not room.holds([size, *staying, each.bytes]) for each in going)
