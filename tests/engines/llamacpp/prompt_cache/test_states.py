"""Copies in memory: bounded, and those whose next use seems furthest away go first."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from extensions.openai.engines.llamacpp.prompt_cache.forgotten import Forgotten
from extensions.openai.engines.llamacpp.prompt_cache.prompt import Prompt
from extensions.openai.engines.llamacpp.prompt_cache.slot_pool import Clock, History
from extensions.openai.engines.llamacpp.prompt_cache.states import State, States


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def forgotten() -> Forgotten:
    return Forgotten()


@pytest.fixture
def states(tmp_path: Path, clock: Clock, forgotten: Forgotten) -> Iterator[States]:
    found = States(tmp_path, 100, clock, forgotten)
    yield found
    found.close()
    assert not list(tmp_path.iterdir())


def add(
    states: States,
    tmp_path: Path,
    prompt: Prompt,
    size: int,
    *,
    shared: bool = False,
    history: History | None = None,
) -> bool:
    if not states.make_room(size, history=history):
        return False
    file = states.new_file()
    (tmp_path / file.name).write_bytes(bytes(size))
    return states.add(
        State(prompt, prompt.size, file, beginning=shared, history=history or History())
    )


def ids(*tokens: int) -> Prompt:
    return Prompt(ids=tokens)


def test_the_longest_one_is_found(states: States, tmp_path: Path) -> None:
    add(states, tmp_path, ids(1, 2), 10, shared=True)
    add(states, tmp_path, ids(1, 2, 3, 4), 10)
    with states.longest(ids(1, 2, 3, 9), more_than=0) as found:
        assert found is not None and found.prompt == ids(1, 2, 3, 4)
    with states.longest(ids(1, 2, 3, 9), more_than=3) as found:
        assert found is None


def test_those_used_last_stay(states: States, tmp_path: Path, clock: Clock) -> None:
    histories = [History() for _ in range(3)]
    for first in (0, 1):
        histories[first].used(clock.tick())
        add(states, tmp_path, ids(first, 0), 40, history=histories[first])
    for first in (0, 2):
        histories[first].used(clock.tick())
    assert add(states, tmp_path, ids(2, 0), 40, history=histories[2])
    assert [states.holds(ids(first, 0)) for first in range(3)] == [True, False, True]
    assert states.counts().bytes == 80 <= states.counts().limit
    assert not add(states, tmp_path, ids(4, 0), 101), "more than there may ever be"
    assert states.counts().bytes == 80, "nothing was dropped for it"


def test_none_is_dropped_for_one_that_is_wanted_later(
    states: States, tmp_path: Path, clock: Clock, forgotten: Forgotten
) -> None:
    old, new = History(), History()
    for history in (old, new, History()):
        history.used(clock.tick())
    assert add(states, tmp_path, ids(2, 0), 60, history=new)
    assert not add(states, tmp_path, ids(1, 0), 60, history=old)
    assert add(states, tmp_path, ids(3, 0), 60, shared=True), "others wait for this one"
    assert forgotten.take(ids(2, 0, 1), 1) is new


def test_what_is_being_read_is_not_dropped(states: States, tmp_path: Path) -> None:
    add(states, tmp_path, ids(1, 0), 60)
    with states.longest(ids(1, 0), more_than=0) as found:
        assert found is not None and not states.make_room(60)
        assert states.make_room(60, found), "it goes to the slot whose content comes here"
        states.hit(2)
        states.moved(found)
    assert states.counts().prompts == 0 and states.counts().tokens == 2


def test_a_conversation_replaces_its_beginning_but_not_one_made_to_be_shared(
    states: States, tmp_path: Path
) -> None:
    add(states, tmp_path, ids(1), 10, shared=True)
    add(states, tmp_path, ids(1, 2), 10)
    add(states, tmp_path, ids(1, 2, 3), 10)
    assert states.counts().prompts == 2


def test_files_are_in_memory_and_of_this_process_alone(states: States, tmp_path: Path) -> None:
    add(states, tmp_path, ids(1), 10)
    (link,) = tmp_path.iterdir()
    assert link.is_symlink() and str(link.readlink()).startswith("/proc/self/fd/")
